use nonna_engine::Code;
use nonna_model::ConnectionId;
use nonna_store::forge::{
    Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, DeliveryResult, DeliveryState,
    Followed, NewDelivery, Repeats,
};
use secrecy::{ExposeSecret, SecretString};

use super::{Setting, name};

fn connection(s: &Setting, url: &str) -> Connection {
    Connection {
        id: ConnectionId::generate(),
        organization: s.organization.clone(),
        project: s.project.clone(),
        url: url.to_owned(),
        forge: "github".to_owned(),
        api: None,
        branches: [("main".to_owned(), followed("production"))].into(),
        public_key: Some("ssh-ed25519 AAAA nonna".to_owned()),
        has_token: false,
        host_keys: None,
        created_by: "tester".to_owned(),
        created_at: 5,
    }
}

fn followed(environment: &str) -> Followed {
    Followed {
        environment: name(environment),
        services: Vec::new(),
        deployed: None,
    }
}

fn secrets() -> ConnectionSecrets {
    ConnectionSecrets {
        webhook: "hunter2".into(),
        key: Some("private".into()),
        token: None,
    }
}

async fn connected(s: &Setting) -> Connection {
    let new = connection(s, "https://forge.example/a/b");
    s.store.create_connection(new.clone(), secrets()).await.unwrap();
    new
}

fn delivery(of: &ConnectionId, id: &str) -> NewDelivery {
    NewDelivery {
        delivery: Delivery {
            number: 0,
            connection: of.clone(),
            delivery: id.to_owned(),
            actor: None,
            branch: Some("main".to_owned()),
            commit: None,
            state: DeliveryState::Waiting,
            result: None,
            message: String::new(),
            deployment: None,
            received_at: 7,
            finished_at: None,
        },
        digest: format!("body of {id}"),
        repeats: Repeats::Last,
        happened: None,
        keep: 100,
    }
}

async fn accept(s: &Setting, new: NewDelivery) -> Delivery {
    match s.store.accept_delivery(new).await.unwrap().unwrap() {
        Accepted::New(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

fn plain(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret)
}

pub async fn a_connection_is_kept_and_its_secrets_apart(s: &Setting) {
    let new = connected(s).await;
    assert_eq!(s.store.connection(&new.id).await.unwrap(), Some(new.clone()));
    let opened = s.store.connection_secrets(&new.id).await.unwrap().unwrap();
    assert_eq!(opened.webhook.expose_secret(), "hunter2");
    assert_eq!(plain(opened.key.as_ref()), Some("private"));
    assert_eq!(plain(opened.token.as_ref()), None);
    assert!(!format!("{opened:?}").contains("hunter2"));
    let nobody = ConnectionId::generate();
    assert_eq!(s.store.connection(&nobody).await.unwrap(), None);
    assert!(s.store.connection_secrets(&nobody).await.unwrap().is_none());
    assert!(
        s.store
            .change_connection(&nobody, Vec::new())
            .await
            .unwrap()
            .is_none()
    );
}

pub async fn a_repository_is_connected_to_a_project_once(s: &Setting) {
    let first = connected(s).await;
    let again = connection(s, &first.url);
    let refused = s
        .store
        .create_connection(again.clone(), secrets())
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(s.store.connection_secrets(&again.id).await.unwrap().is_none());
    let other = connection(&s.at("blog", "production"), &first.url);
    let second = connection(s, "https://forge.example/a/a");
    for new in [&other, &second] {
        s.store.create_connection(new.clone(), secrets()).await.unwrap();
    }
    let all = s.store.list_connections(&s.organization, None).await.unwrap();
    assert_eq!(all, [other, second.clone(), first.clone()]);
    let of = s
        .store
        .list_connections(&s.organization, Some(&s.project))
        .await
        .unwrap();
    assert_eq!(of, [second, first]);
}

pub async fn changes_of_a_connection_are_made_together(s: &Setting) {
    let new = connected(s).await;
    let changes = vec![
        ConnectionChange::Follow("develop".to_owned(), followed("staging")),
        ConnectionChange::Unfollow("main".to_owned()),
        ConnectionChange::Token(Some("t0ken".into())),
        ConnectionChange::WebhookSecret("another".into()),
        ConnectionChange::Api(Some("https://api.example".to_owned())),
        ConnectionChange::HostKeys("host one".to_owned()),
        ConnectionChange::HostKeys("host two".to_owned()),
    ];
    let changed = s
        .store
        .change_connection(&new.id, changes)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changed.branches.keys().collect::<Vec<_>>(), ["develop"]);
    assert_eq!(changed.api.as_deref(), Some("https://api.example"));
    assert_eq!(
        changed.host_keys.as_deref(),
        Some("host one"),
        "the first ones stay"
    );
    assert!(changed.has_token);
    assert_eq!(s.store.connection(&new.id).await.unwrap(), Some(changed));
    let opened = s.store.connection_secrets(&new.id).await.unwrap().unwrap();
    assert_eq!(plain(opened.token.as_ref()), Some("t0ken"));
    assert_eq!(opened.webhook.expose_secret(), "another");
    assert_eq!(plain(opened.key.as_ref()), Some("private"));
}

pub async fn what_was_deployed_stays_known_while_the_same_follows(s: &Setting) {
    let new = connected(s).await;
    let change = async |change| {
        s.store
            .change_connection(&new.id, vec![change])
            .await
            .unwrap()
            .unwrap()
    };
    let deployed = |c: &Connection| c.branches["main"].deployed.clone();
    let noted = change(ConnectionChange::Deployed {
        branch: "main".to_owned(),
        commit: "abc".to_owned(),
    })
    .await;
    assert_eq!(deployed(&noted).as_deref(), Some("abc"));
    let same = change(ConnectionChange::Follow(
        "main".to_owned(),
        followed("production"),
    ))
    .await;
    assert_eq!(deployed(&same).as_deref(), Some("abc"));
    let other = change(ConnectionChange::Follow("main".to_owned(), followed("staging"))).await;
    assert_eq!(deployed(&other), None);
    let nothing = change(ConnectionChange::Deployed {
        branch: "gone".to_owned(),
        commit: "abc".to_owned(),
    })
    .await;
    assert_eq!(nothing, other);
}

pub async fn a_removed_connection_leaves_nothing(s: &Setting) {
    let new = connected(s).await;
    let kept = accept(s, delivery(&new.id, "d1")).await;
    assert!(s.store.remove_connection(&new.id).await.unwrap());
    assert!(!s.store.remove_connection(&new.id).await.unwrap());
    assert_eq!(s.store.connection(&new.id).await.unwrap(), None);
    assert!(s.store.connection_secrets(&new.id).await.unwrap().is_none());
    assert_eq!(s.store.unfinished_deliveries().await.unwrap(), []);
    assert!(!s.store.update_delivery(&kept, Some("late")).await.unwrap());
    assert_eq!(
        s.store.accept_delivery(delivery(&new.id, "d2")).await.unwrap(),
        None
    );
}

pub async fn a_delivery_is_accepted_once(s: &Setting) {
    let new = connected(s).await;
    let first = accept(s, delivery(&new.id, "d1")).await;
    let replay = s.store.accept_delivery(delivery(&new.id, "d1")).await.unwrap();
    assert_eq!(replay, Some(Accepted::Replay));
    let mut other = delivery(&new.id, "d1");
    other.digest = "another body".to_owned();
    assert_eq!(
        s.store.accept_delivery(other).await.unwrap(),
        Some(Accepted::Replay)
    );
    let second = accept(s, delivery(&new.id, "d2")).await;
    assert!(second.number > first.number);
    // Another connection's are its own.
    let elsewhere = connection(s, "https://forge.example/c/d");
    s.store
        .create_connection(elsewhere.clone(), secrets())
        .await
        .unwrap();
    accept(s, delivery(&elsewhere.id, "d1")).await;
    // Of many at once that are the same, one is accepted.
    let all = (0..16).map(|_| s.store.accept_delivery(delivery(&new.id, "d3")));
    let results = futures_util::future::join_all(all).await;
    let accepted = results
        .iter()
        .filter(|r| matches!(r, Ok(Some(Accepted::New(_)))))
        .count();
    assert_eq!(accepted, 1);
}

pub async fn the_same_body_is_a_replay_where_it_should_be(s: &Setting) {
    let new = connected(s).await;
    let with = |id: &str, body: &str, repeats| NewDelivery {
        digest: body.to_owned(),
        repeats,
        ..delivery(&new.id, id)
    };
    let is_new = async |new| {
        matches!(
            s.store.accept_delivery(new).await.unwrap(),
            Some(Accepted::New(_))
        )
    };
    assert!(is_new(with("1", "a", Repeats::Last)).await);
    assert!(!is_new(with("2", "a", Repeats::Last)).await);
    assert!(is_new(with("3", "b", Repeats::Last)).await);
    assert!(is_new(with("4", "a", Repeats::Last)).await);
    assert!(!is_new(with("5", "b", Repeats::Any)).await);
    assert!(is_new(with("6", "a", Repeats::None)).await);
}

pub async fn an_older_push_is_over_at_once(s: &Setting) {
    let new = connected(s).await;
    let at = |id: &str, happened| NewDelivery {
        happened: Some(happened),
        ..delivery(&new.id, id)
    };
    accept(s, at("1", 2_000)).await;
    accept(s, at("2", 2_000)).await;
    let late = match s.store.accept_delivery(at("3", 1_000)).await.unwrap() {
        Some(Accepted::Late(late)) => late,
        other => panic!("{other:?}"),
    };
    assert_eq!(late.state, DeliveryState::Done);
    assert_eq!(late.result, Some(DeliveryResult::Superseded));
    // It is remembered all the same, and overtakes nothing.
    assert_eq!(
        s.store.accept_delivery(at("3", 1_000)).await.unwrap(),
        Some(Accepted::Replay)
    );
    let open = s.store.unfinished_deliveries().await.unwrap();
    assert_eq!(
        open.iter().map(|d| d.delivery.as_str()).collect::<Vec<_>>(),
        ["2"]
    );
    // Another branch has a time of its own.
    let mut other = at("4", 1_000);
    other.delivery.branch = Some("develop".to_owned());
    accept(s, other).await;
}

pub async fn a_later_delivery_overtakes_those_that_wait(s: &Setting) {
    let new = connected(s).await;
    accept(s, delivery(&new.id, "1")).await;
    let running = s.store.take_delivery(&new.id).await.unwrap().unwrap();
    let waiting = accept(s, delivery(&new.id, "2")).await;
    let mut other = delivery(&new.id, "3");
    other.delivery.branch = Some("develop".to_owned());
    let other = accept(s, other).await;
    let mut ignored = delivery(&new.id, "4");
    ignored.delivery.state = DeliveryState::Done;
    ignored.delivery.result = Some(DeliveryResult::Ignored);
    accept(s, ignored).await;
    let last = accept(s, delivery(&new.id, "5")).await;
    let open = s.store.unfinished_deliveries().await.unwrap();
    let numbers: Vec<u64> = open.iter().map(|d| d.number).collect();
    assert_eq!(numbers, [running.number, other.number, last.number]);
    let (over, _) = s.store.delivery(&new.id, waiting.number).await.unwrap().unwrap();
    assert_eq!(over.result, Some(DeliveryResult::Superseded));
    assert!(over.finished_at.is_some());
}

pub async fn deliveries_are_taken_in_order_and_resumed(s: &Setting) {
    let new = connected(s).await;
    let first = accept(s, delivery(&new.id, "1")).await;
    let taken = s.store.take_delivery(&new.id).await.unwrap().unwrap();
    assert_eq!(
        (taken.number, taken.state),
        (first.number, DeliveryState::Running)
    );
    accept(s, delivery(&new.id, "2")).await;
    // One that runs is given again, until it is over: a start goes on with it.
    assert_eq!(s.store.take_delivery(&new.id).await.unwrap(), Some(taken.clone()));
    let mut told = taken.clone();
    told.state = DeliveryState::Reporting;
    told.result = Some(DeliveryResult::Deployed);
    told.commit = Some("abc".to_owned());
    assert!(s.store.update_delivery(&told, Some("line\n")).await.unwrap());
    let next = s.store.take_delivery(&new.id).await.unwrap().unwrap();
    assert_eq!(next.delivery, "2");
    assert_eq!(
        s.store.unfinished_deliveries().await.unwrap(),
        [told.clone(), next.clone()]
    );
    told.state = DeliveryState::Done;
    told.finished_at = Some(9);
    s.store.update_delivery(&told, None).await.unwrap();
    let kept = s.store.delivery(&new.id, told.number).await.unwrap();
    assert_eq!(kept, Some((told.clone(), "line\n".to_owned())), "its log stays");
    assert_eq!(
        s.store.list_deliveries(&new.id, None, 10).await.unwrap(),
        [next.clone(), told.clone()]
    );
    assert_eq!(
        s.store
            .list_deliveries(&new.id, Some(next.number), 10)
            .await
            .unwrap(),
        [told]
    );
    assert_eq!(s.store.list_deliveries(&new.id, None, 1).await.unwrap(), [next]);
    let nobody = ConnectionId::generate();
    assert_eq!(s.store.take_delivery(&nobody).await.unwrap(), None);
    assert_eq!(s.store.delivery(&nobody, 1).await.unwrap(), None);
}

pub async fn only_so_many_deliveries_are_remembered(s: &Setting) {
    let new = connected(s).await;
    accept(s, delivery(&new.id, "runs")).await;
    s.store.take_delivery(&new.id).await.unwrap();
    let few = |id: String| NewDelivery {
        keep: 3,
        ..delivery(&new.id, &id)
    };
    for number in 0..10 {
        accept(s, few(format!("d{number}"))).await;
    }
    let kept = s.store.list_deliveries(&new.id, None, 100).await.unwrap();
    let ids: Vec<&str> = kept.iter().map(|d| d.delivery.as_str()).collect();
    assert_eq!(
        ids,
        ["d9", "d8", "d7", "runs"],
        "what is under way is never forgotten"
    );
    let replay = s.store.accept_delivery(few("d8".to_owned())).await.unwrap();
    assert_eq!(replay, Some(Accepted::Replay));
    // What was forgotten never gets a number that was used.
    assert!(accept(s, few("d0".to_owned())).await.number > kept[0].number);
}
