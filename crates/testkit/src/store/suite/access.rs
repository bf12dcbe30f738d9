use nonna_engine::Code;
use nonna_store::records::{NewToken, TokenHash};

use super::Setting;

fn hash(byte: u8) -> TokenHash {
    TokenHash([byte; 32])
}

fn token(byte: u8, expires_at: Option<i64>) -> NewToken {
    NewToken {
        hash: hash(byte),
        name: format!("laptop {byte}"),
        expires_at,
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

pub async fn a_token_is_valid_until_it_expires_or_is_revoked(s: &Setting) {
    let now = now();
    let made = s.store.create_token(token(1, Some(now + 1_000))).await.unwrap();
    let forever = s.store.create_token(token(2, None)).await.unwrap();
    let used = s.store.use_token(&hash(1), now).await.unwrap().unwrap();
    assert_eq!((&used.id, used.name.as_str()), (&made.id, "laptop 1"));
    assert_eq!(s.store.use_token(&hash(1), now + 1_000).await.unwrap(), None);
    assert_eq!(s.store.use_token(&hash(3), now).await.unwrap(), None);

    assert!(s.store.revoke_token(&forever.id).await.unwrap());
    assert!(!s.store.revoke_token(&forever.id).await.unwrap());
    assert_eq!(s.store.use_token(&hash(2), now).await.unwrap(), None);
    let listed = s.store.list_tokens().await.unwrap();
    assert_eq!(listed.len(), 2);
    let revoked = listed.iter().find(|t| t.id == forever.id).unwrap();
    assert!(revoked.revoked_at.is_some());
}

pub async fn the_last_use_is_noted_to_the_minute(s: &Setting) {
    let now = now();
    s.store.create_token(token(1, None)).await.unwrap();
    let last = async |at: i64| {
        s.store.use_token(&hash(1), at).await.unwrap();
        s.store.list_tokens().await.unwrap()[0].last_used_at
    };
    assert_eq!(last(now).await, Some(now));
    assert_eq!(last(now + 59_999).await, Some(now));
    assert_eq!(last(now + 60_000).await, Some(now + 60_000));
}

pub async fn a_hash_is_kept_once(s: &Setting) {
    s.store.create_token(token(1, None)).await.unwrap();
    let error = s.store.create_token(token(1, None)).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    assert_eq!(format!("{:?}", hash(1)), "TokenHash(…)");
}

pub async fn a_code_is_redeemed_once(s: &Setting) {
    s.store.create_login_code(&hash(9), 2_000).await.unwrap();
    let wrong = s
        .store
        .redeem_login_code(&hash(8), 1_000, token(1, None))
        .await
        .unwrap_err();
    assert_eq!(wrong.code, Code::Unauthenticated);
    s.store
        .redeem_login_code(&hash(9), 1_000, token(1, None))
        .await
        .unwrap();
    let again = s
        .store
        .redeem_login_code(&hash(9), 1_000, token(2, None))
        .await
        .unwrap_err();
    assert_eq!(again.code, Code::Unauthenticated);
    assert!(s.store.use_token(&hash(1), 1_000).await.unwrap().is_some());
    assert_eq!(s.store.use_token(&hash(2), 1_000).await.unwrap(), None);

    // What it would have bought is refused: the code stays good.
    s.store.create_login_code(&hash(7), 2_000).await.unwrap();
    let taken = s
        .store
        .redeem_login_code(&hash(7), 1_000, token(1, None))
        .await
        .unwrap_err();
    assert_eq!(taken.code, Code::Conflict);
    s.store
        .redeem_login_code(&hash(7), 1_000, token(3, None))
        .await
        .unwrap();
}

pub async fn a_code_expires(s: &Setting) {
    s.store.create_login_code(&hash(9), 2_000).await.unwrap();
    let late = s
        .store
        .redeem_login_code(&hash(9), 2_000, token(1, None))
        .await
        .unwrap_err();
    assert_eq!(late.code, Code::Unauthenticated);
    s.store.create_login_code(&hash(9), 3_000).await.unwrap();
    s.store
        .redeem_login_code(&hash(9), 2_000, token(1, None))
        .await
        .unwrap();
    assert_eq!(s.store.list_tokens().await.unwrap().len(), 1);
}

pub async fn of_many_who_redeem_a_code_one_gets_in(s: &Setting) {
    s.store.create_login_code(&hash(99), 2_000).await.unwrap();
    let all = (1..=16).map(|n| {
        s.store
            .redeem_login_code(&TokenHash([99; 32]), 1_000, token(n, None))
    });
    let results = futures_util::future::join_all(all).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(s.store.list_tokens().await.unwrap().len(), 1);
}
