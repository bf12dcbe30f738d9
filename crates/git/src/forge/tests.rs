use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const COMMIT: &str = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn signed(body: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body).as_ref())
}

fn moved(message: &Message) -> Vec<(&str, Option<&str>)> {
    match &message.event {
        Event::Pushed(moved) => moved
            .iter()
            .map(|m| (m.branch.as_str(), m.commit.as_ref().map(ObjectId::as_str)))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn githubs_own_example_of_a_signature_is_right() {
    // "Validating webhook deliveries", testing the validation.
    let right = headers(&[(
        "x-hub-signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )]);
    assert!(github::is_authentic(SECRET, &right, b"Hello, World!"));
    assert!(!github::is_authentic(SECRET, &right, b"Hello, World?"));
    assert!(!github::is_authentic("another", &right, b"Hello, World!"));
}

#[test]
fn a_push_is_read_of_every_forge() {
    let like_github = format!(
        r#"{{"ref":"refs/heads/main","after":"{COMMIT}","repository":{{"full_name":"a/b","pushed_at":1700000000}},"project":{{"path_with_namespace":"a/b"}}}}"#
    );
    let bitbucket = format!(
        r#"{{"repository":{{"full_name":"a/b"}},"push":{{"changes":[{{"new":{{"type":"branch","name":"main","target":{{"hash":"{COMMIT}"}}}},"old":null}}]}}}}"#
    );
    let sign = signed(like_github.as_bytes());
    let sign_bitbucket = format!("sha256={}", signed(bitbucket.as_bytes()));
    let with_kind = format!("sha256={sign}");
    let cases: [(Forge, HeaderMap, &str); 5] = [
        (
            Forge::Github,
            headers(&[
                ("x-github-event", "push"),
                ("x-github-delivery", "d1"),
                ("x-hub-signature-256", &with_kind),
            ]),
            &like_github,
        ),
        (
            Forge::Gitlab,
            headers(&[
                ("x-gitlab-event", "Push Hook"),
                ("idempotency-key", "d1"),
                ("x-gitlab-token", SECRET),
            ]),
            &like_github,
        ),
        (
            Forge::Gitea,
            headers(&[
                ("x-gitea-event", "push"),
                ("x-gitea-delivery", "d1"),
                ("x-gitea-signature", &sign),
            ]),
            &like_github,
        ),
        (
            Forge::Gitea,
            headers(&[
                ("x-forgejo-event", "push"),
                ("x-forgejo-delivery", "d1"),
                ("x-forgejo-signature", &sign),
            ]),
            &like_github,
        ),
        (
            Forge::Bitbucket,
            headers(&[
                ("x-event-key", "repo:push"),
                ("x-request-uuid", "d1"),
                ("x-hub-signature", &sign_bitbucket),
            ]),
            &bitbucket,
        ),
    ];
    for (forge, mut headers, body) in cases {
        let message = forge.read(SECRET, &headers, body.as_bytes()).unwrap();
        assert_eq!(moved(&message), [("main", Some(COMMIT))], "{forge}");
        assert_eq!(message.delivery.as_deref(), Some("d1"), "{forge}");
        assert_eq!(message.repository.as_deref(), Some("a/b"), "{forge}");
        for bad in ["", "sha256=", "00", "sha256=zz"] {
            for name in [
                "x-hub-signature-256",
                "x-hub-signature",
                "x-gitea-signature",
                "x-forgejo-signature",
                "x-gitlab-token",
            ] {
                if headers.contains_key(name) {
                    headers.insert(
                        name.parse::<HeaderName>().unwrap(),
                        HeaderValue::from_str(bad).unwrap(),
                    );
                }
            }
            let error = forge.read(SECRET, &headers, body.as_bytes()).unwrap_err();
            assert_eq!(error.code, Code::Unauthenticated, "{forge} {bad}");
        }
        assert!(forge.read("", &headers, body.as_bytes()).is_err());
    }
}

#[test]
fn what_is_no_push_of_a_branch_is_told_apart() {
    let read = |event: &str, body: &str| {
        github::read(
            &headers(&[("x-github-event", event)]),
            &serde_json::from_str(body).unwrap(),
        )
        .unwrap()
    };
    assert_eq!(read("ping", "{}").event, Event::Ping);
    assert!(matches!(read("issues", "{}").event, Event::Other(_)));
    let zero = "0".repeat(40);
    let deleted = read("push", &format!(r#"{{"ref":"refs/heads/x","after":"{zero}"}}"#));
    assert_eq!(moved(&deleted), [("x", None)]);
    let tag = read("push", &format!(r#"{{"ref":"refs/tags/v1","after":"{COMMIT}"}}"#));
    assert!(matches!(tag.event, Event::Other(_)));
    let odd = read(
        "push",
        &format!(r#"{{"ref":"refs/heads/--upload-pack=x","after":"{COMMIT}"}}"#),
    );
    assert!(matches!(odd.event, Event::Other(_)));
}

#[test]
fn statuses_go_where_the_forges_take_them() {
    let commit: ObjectId = COMMIT.parse().unwrap();
    let long = "x".repeat(400);
    let status = Status {
        commit: &commit,
        state: State::Failure,
        context: "nonna/shop/production",
        description: &long,
        link: Some("https://nonna.example.org/"),
    };
    let url = |forge: Forge| forge.status("https://api", "a/b", "t", &status).url;
    assert_eq!(
        url(Forge::Github),
        format!("https://api/repos/a/b/statuses/{COMMIT}")
    );
    assert_eq!(
        url(Forge::Gitea),
        format!("https://api/repos/a/b/statuses/{COMMIT}")
    );
    assert_eq!(
        url(Forge::Gitlab),
        format!("https://api/projects/a%2Fb/statuses/{COMMIT}")
    );
    assert_eq!(
        url(Forge::Bitbucket),
        format!("https://api/repositories/a/b/commit/{COMMIT}/statuses/build")
    );
    for forge in Forge::ALL {
        let request = forge.status("https://api", "a/b", "t", &status);
        let description = request.body["description"].as_str().unwrap();
        assert_eq!(description.chars().count(), DESCRIPTION);
        assert!(!request.url.contains(long.as_str()));
    }
}

#[test]
fn apis_are_found_by_the_address() {
    let api = |forge: Forge, url: &str| forge.api(&url.parse().unwrap());
    assert_eq!(
        api(Forge::Github, "git@github.com:a/b.git"),
        "https://api.github.com"
    );
    assert_eq!(
        api(Forge::Github, "https://ghe.corp:8443/a/b"),
        "https://ghe.corp:8443/api/v3"
    );
    assert_eq!(
        api(Forge::Gitlab, "ssh://git@gitlab.corp:2222/a/b"),
        "https://gitlab.corp/api/v4"
    );
    assert_eq!(
        api(Forge::Gitea, "https://example.org/gitea/a/b.git"),
        "https://example.org/gitea/api/v1"
    );
    assert_eq!(
        api(Forge::Gitea, "https://codeberg.org/a/b.git"),
        "https://codeberg.org/api/v1"
    );
    assert_eq!(Forge::of_host("codeberg.org"), Some(Forge::Gitea));
    assert_eq!(Forge::of_host("git.example.org"), None);
}

#[test]
fn repositories_are_named_as_the_forge_names_them() {
    let of = |forge: Forge, url: &str| forge.repository(&url.parse().unwrap()).to_owned();
    assert_eq!(of(Forge::Github, "git@github.com:a/b.git"), "a/b");
    assert_eq!(of(Forge::Gitea, "https://example.org/gitea/a/b"), "a/b");
    assert_eq!(of(Forge::Gitlab, "https://gitlab.com/a/b/c"), "a/b/c");
    assert_eq!(of(Forge::Gitea, "http://127.0.0.1/a.git"), "a");
}

#[test]
fn a_status_without_a_link_has_one_where_it_must() {
    let commit: ObjectId = COMMIT.parse().unwrap();
    let status = Status {
        commit: &commit,
        state: State::Pending,
        context: "nonna/shop/production",
        description: "under way",
        link: None,
    };
    let url =
        |forge: Forge, field: &str| forge.status("https://api", "a/b", "t", &status).body[field].clone();
    assert!(url(Forge::Github, "target_url").is_null());
    assert_eq!(
        url(Forge::Bitbucket, "url"),
        format!("https://bitbucket.org/a/b/commits/{COMMIT}")
    );
}

proptest! {
    #[test]
    fn no_body_makes_any_forge_panic(body in prop::collection::vec(any::<u8>(), 0..300), event in "[a-z :]{0,20}") {
        for forge in Forge::ALL {
            let headers = headers(&[
                ("x-github-event", "push"), ("x-gitlab-event", "Push Hook"), ("x-gitea-event", "push"), ("x-event-key", "repo:push"),
                ("x-event", event.trim()), ("x-gitlab-token", SECRET), ("x-gitea-signature", &signed(&body)),
                ("x-hub-signature", &format!("sha256={}", signed(&body))), ("x-hub-signature-256", &format!("sha256={}", signed(&body))),
            ]);
            let _ = forge.read(SECRET, &headers, &body);
        }
    }

    #[test]
    fn what_is_read_of_json_is_safe_to_use(name in "\\PC{0,40}", after in "[0-9a-f]{38,41}") {
        let value = serde_json::json!({
            "ref": format!("refs/heads/{name}"), "after": after,
            "push": {"changes": [{"new": {"type": "branch", "name": name, "target": {"hash": after}}}]},
        });
        let github = github::read(&headers(&[("x-github-event", "push")]), &value);
        let bitbucket = bitbucket::read(&headers(&[("x-event-key", "repo:push")]), &value);
        for message in [github, bitbucket].into_iter().flatten() {
            if let Event::Pushed(moved) = message.event {
                for one in moved {
                    prop_assert!(crate::names::is_name(&one.branch));
                }
            }
        }
    }
}
