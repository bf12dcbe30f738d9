//! Webhooks: who may say something, and what is kept of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use data_encoding::HEXLOWER;
use http::{HeaderMap, StatusCode};
use nonna_api::git::HookAnswer;
use nonna_engine::words::clean;
use nonna_engine::{Code, Error, Result};
use nonna_git::forge::{Event, Forge, Message, Moved};
use nonna_model::ConnectionId;
use nonna_store::forge::{
    Accepted, Connection, ConnectionSecrets, Delivery, DeliveryResult, DeliveryState, NewDelivery, Repeats,
};
use nonna_store::records::NewAudit;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::{deliver, parts};
use crate::http::{Answer, App, Peer, Refusal, read_body};

/// The largest message. Forges name many files, but not all of a large push.
const LARGEST: usize = 5 * 1024 * 1024;
/// How long a message may wait to be read.
const WAIT: Duration = Duration::from_secs(10);
/// How many messages of a webhook are remembered.
pub(super) const REMEMBERED: u32 = 1000;
/// The longest id of a delivery that is kept as it is.
const LONGEST_ID: usize = 128;

/// The one answer to what has no right signature: neither tells whether there
/// is such a webhook.
fn refused() -> Error {
    Error::user(
        Code::Unauthenticated,
        "There is no such webhook, or the message is not signed with its secret.",
    )
    .hint("Enter the webhook's address and secret at the forge as `nonna git connect` printed them, and `application/json` as the content type.")
}

fn busy(message: &str, wait: Duration) -> Refusal {
    Refusal::from(
        Error::user(Code::LimitExceeded, message)
            .hint("Try again in a moment.")
            .retry(),
    )
    .status(StatusCode::TOO_MANY_REQUESTS)
    .retry_after(wait.as_secs().max(1))
}

/// Who sends: behind the server's own edge, whom that names.
fn sender(peer: Option<Peer>, headers: &HeaderMap) -> Option<IpAddr> {
    let address = peer?.0.ip();
    if !address.is_loopback() {
        return Some(address);
    }
    let named = headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok());
    let last = named.and_then(|list| list.rsplit(',').next());
    Some(last.and_then(|last| last.trim().parse().ok()).unwrap_or(address))
}

async fn find(app: &App, id: &str) -> Result<Option<(Connection, ConnectionSecrets)>> {
    let Ok(id) = id.parse::<ConnectionId>() else {
        return Ok(None);
    };
    let connection = app.store.connection(&id).await?;
    let secrets = app.store.connection_secrets(&id).await?;
    Ok(connection.zip(secrets))
}

/// Takes a message in.
pub(crate) async fn receive(
    app: &Arc<App>,
    id: &str,
    peer: Option<Peer>,
    headers: &HeaderMap,
    body: Body,
) -> Answer<(StatusCode, HookAnswer)> {
    let who = (sender(peer, headers), id.chars().take(64).collect::<String>());
    if let Err(wait) = app.forges.wrong.check(&who) {
        return Err(busy("Too many wrong signatures came from your address.", wait));
    }
    let room = tokio::time::timeout(WAIT, app.forges.bodies.acquire()).await;
    let Ok(Ok(_room)) = room else {
        return Err(Refusal::from(
            Error::provider(Code::ServerUnavailable, "The server is busy with other messages.").retry(),
        )
        .retry_after(WAIT.as_secs()));
    };
    let body = read_body(body, LARGEST).await?;
    let found = find(app, id).await?;
    let read = match &found {
        Some((connection, secrets)) => {
            parts(connection)?
                .0
                .read(secrets.webhook.expose_secret(), headers, &body)
        }
        // The same work as for one that is there.
        None => Forge::Github
            .read("no secret at all", headers, &body)
            .and(Err(refused())),
    };
    let message = match (read, &found) {
        (Ok(message), Some(_)) => message,
        (Err(error), Some(_)) if error.code != Code::Unauthenticated => return Err(error.into()),
        _ => {
            app.forges.wrong.failed(who);
            return Err(refused().into());
        }
    };
    let Some((connection, _)) = found else {
        return Err(refused().into());
    };
    if let Err(wait) = app.forges.messages.check(&connection.id) {
        return Err(busy("This webhook sends too many messages.", wait));
    }
    app.forges.messages.failed(connection.id.clone());
    take(app, &connection, message, &body).await
}

/// What becomes of one thing that a message says.
struct Said {
    branch: Option<String>,
    commit: Option<String>,
    /// `Err`: why it is not deployed.
    verdict: std::result::Result<(), String>,
}

fn judge(connection: &Connection, message: &Message) -> Vec<Said> {
    let ignored = |why: String| {
        vec![Said {
            branch: None,
            commit: None,
            verdict: Err(why),
        }]
    };
    if let (Ok((forge, url)), Some(about)) = (parts(connection), &message.repository)
        && !forge.repository(&url).eq_ignore_ascii_case(about)
    {
        return ignored(format!(
            "The message is about {}, and this webhook is of {}: nothing is done.",
            clean(about),
            connection.url
        ));
    }
    match &message.event {
        Event::Ping => {
            let branches: Vec<&str> = connection.branches.keys().map(String::as_str).collect();
            ignored(format!(
                "The webhook works. Pushes to {} are deployed.",
                branches.join(", ")
            ))
        }
        Event::Other(what) => ignored(format!(
            "Only pushes of branches are deployed, and this is {}.",
            clean(what)
        )),
        Event::Pushed(moved) => moved.iter().map(|one| judge_moved(connection, one)).collect(),
    }
}

fn judge_moved(connection: &Connection, moved: &Moved) -> Said {
    let branch = clean(&moved.branch);
    let verdict = match (&moved.commit, connection.branches.get(&moved.branch)) {
        (_, None) => Err(format!("No environment follows the branch {branch}.")),
        (None, Some(followed)) => Err(format!(
            "The branch {branch} was deleted: {}/{} goes on serving what it serves.",
            connection.project, followed.environment
        )),
        (Some(_), Some(_)) => Ok(()),
    };
    Said {
        branch: Some(moved.branch.clone()),
        commit: moved.commit.as_ref().map(ToString::to_string),
        verdict,
    }
}

/// What a delivery is known by.
fn delivery_id(message: &Message, digest: &str, branch: Option<&str>) -> String {
    let id = match &message.delivery {
        Some(id) if !id.is_empty() => id.as_str(),
        _ => digest,
    };
    let whole = match branch {
        Some(branch) => format!("{id} {branch}"),
        None => id.to_owned(),
    };
    if whole.len() <= LONGEST_ID {
        whole
    } else {
        HEXLOWER.encode(&Sha256::digest(whole.as_bytes()))
    }
}

async fn take(
    app: &Arc<App>,
    connection: &Connection,
    message: Message,
    body: &[u8],
) -> Answer<(StatusCode, HookAnswer)> {
    let (forge, _) = parts(connection)?;
    let digest = HEXLOWER.encode(&Sha256::digest(body));
    let repeats = match (forge.signs_body(), message.at, &message.event) {
        // Tried out twice a webhook says the same twice.
        (false, ..) | (_, _, Event::Ping) => Repeats::None,
        (true, Some(_), _) => Repeats::Any,
        (true, None, _) => Repeats::Last,
    };
    let said = judge(connection, &message);
    let several = said.len() > 1;
    let (mut words, mut numbers, mut replays, mut begun) = (Vec::new(), Vec::new(), 0, false);
    let now = jiff::Timestamp::now().as_millisecond();
    for one in &said {
        let apart = one.branch.as_deref().filter(|_| several);
        let (state, result, text) = match &one.verdict {
            Ok(()) => (DeliveryState::Waiting, None, String::new()),
            Err(why) => (DeliveryState::Done, Some(DeliveryResult::Ignored), why.clone()),
        };
        let new = NewDelivery {
            delivery: Delivery {
                number: 0,
                connection: connection.id.clone(),
                delivery: delivery_id(&message, &digest, apart),
                actor: None,
                branch: one.branch.clone(),
                commit: one.commit.clone(),
                state,
                result,
                message: text,
                deployment: None,
                received_at: now,
                finished_at: (state == DeliveryState::Done).then_some(now),
            },
            digest: apart.map_or_else(|| digest.clone(), |branch| format!("{digest} {branch}")),
            repeats,
            happened: message.at,
            keep: REMEMBERED,
        };
        match app.store.accept_delivery(new).await? {
            // Disconnected while it was read.
            None => return Err(refused().into()),
            Some(Accepted::Replay) => replays += 1,
            Some(Accepted::Late(delivery)) => {
                numbers.push(delivery.number);
                words.push(delivery.message);
            }
            Some(Accepted::New(delivery)) => {
                numbers.push(delivery.number);
                match &one.verdict {
                    Err(why) => words.push(why.clone()),
                    Ok(()) => {
                        begun = true;
                        words.push(accepted(app, connection, &delivery).await);
                    }
                }
            }
        }
    }
    if replays > 0 && numbers.is_empty() {
        return Err(Error::user(
            Code::Conflict,
            "This message was received before: it is not taken twice.",
        )
        .hint("To deploy the branch as it is now: `nonna git deploy`.")
        .into());
    }
    if begun {
        deliver::wake(app, &connection.id);
    }
    let status = if begun {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((
        status,
        HookAnswer {
            message: words.join(" "),
            deliveries: numbers,
        },
    ))
}

/// Notes what was accepted and says so.
async fn accepted(app: &App, connection: &Connection, delivery: &Delivery) -> String {
    let branch = delivery.branch.as_deref().unwrap_or_default();
    let environment = connection
        .branches
        .get(branch)
        .map_or("", |followed| followed.environment.as_str());
    let target = format!("{}/{environment}", connection.project);
    let commit = delivery
        .commit
        .as_deref()
        .and_then(|commit| commit.get(..7))
        .unwrap_or("?");
    let entry = NewAudit {
        at: delivery.received_at,
        actor: deliver::actor(connection),
        address: None,
        action: "git.webhook".to_owned(),
        target: target.clone(),
        detail: Some(format!("{branch} → {commit}")),
    };
    if let Err(error) = app.store.append_audit(entry).await {
        tracing::error!(%error, "a line of the audit log could not be kept");
    }
    tracing::info!(connection = %connection.id, number = delivery.number, %target, branch, commit, "push told by a forge");
    format!("{} is deployed to {target}.", clean(branch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<Peer> {
        Some(Peer(text.parse().unwrap()))
    }

    #[test]
    fn only_the_servers_own_edge_names_who_sends() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.1, 203.0.113.7".parse().unwrap());
        let of = |from: &str| sender(peer(from), &headers).unwrap().to_string();
        assert_eq!(of("127.0.0.1:1"), "203.0.113.7");
        assert_eq!(of("192.0.2.9:1"), "192.0.2.9");
        assert_eq!(
            sender(peer("127.0.0.1:1"), &HeaderMap::new())
                .unwrap()
                .to_string(),
            "127.0.0.1"
        );
    }

    fn connection() -> Connection {
        let followed = nonna_store::forge::Followed {
            environment: "production".parse().unwrap(),
            services: Vec::new(),
            deployed: None,
        };
        Connection {
            id: ConnectionId::generate(),
            organization: nonna_model::OrganizationId::generate(),
            project: "shop".parse().unwrap(),
            url: "git@github.com:acme/shop.git".to_owned(),
            forge: "github".to_owned(),
            api: None,
            branches: [("main".to_owned(), followed)].into(),
            public_key: None,
            has_token: false,
            host_keys: None,
            created_by: "tester".to_owned(),
            created_at: 1,
        }
    }

    fn judged(repository: Option<&str>, event: Event) -> Vec<Option<String>> {
        let message = Message {
            delivery: None,
            at: None,
            repository: repository.map(str::to_owned),
            event,
        };
        let said = judge(&connection(), &message);
        said.into_iter().map(|one| one.verdict.err()).collect()
    }

    fn moved(branch: &str, commit: Option<&str>) -> Moved {
        Moved {
            branch: branch.to_owned(),
            commit: commit.map(|c| c.repeat(40).parse().unwrap()),
        }
    }

    #[test]
    fn only_pushes_of_followed_branches_are_deployed_and_the_rest_is_told_why() {
        let push = |branch: &str, commit| Event::Pushed(vec![moved(branch, commit)]);
        assert_eq!(judged(Some("acme/shop"), push("main", Some("a"))), [None]);
        assert_eq!(
            judged(Some("Acme/Shop"), push("main", Some("a"))),
            [None],
            "as forges compare names"
        );
        assert_eq!(judged(None, push("main", Some("a"))), [None]);
        let several = Event::Pushed(vec![moved("x", Some("a")), moved("main", Some("b"))]);
        let judgements = judged(None, several);
        assert!(judgements[0].is_some() && judgements[1].is_none());
        for (repository, event, words) in [
            (Some("acme/other"), push("main", Some("a")), "acme/other"),
            (
                None,
                push("Main", Some("a")),
                "No environment follows the branch Main",
            ),
            (None, push("main", None), "was deleted"),
            (None, Event::Ping, "Pushes to main are deployed"),
            (
                None,
                Event::Other("the tag v1 moved".to_owned()),
                "the tag v1 moved",
            ),
        ] {
            let said = judged(repository, event).remove(0).unwrap();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn nothing_that_a_message_says_steers_a_terminal() {
        let said = judged(Some("acme/\u{1b}[2Jx"), Event::Ping).remove(0).unwrap();
        assert!(!said.contains('\u{1b}'), "{said:?}");
        let said = judged(None, Event::Other("x\u{1b}]0;x\u{7}".to_owned()))
            .remove(0)
            .unwrap();
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }

    #[test]
    fn deliveries_are_known_by_a_short_text_each() {
        let message = |id: Option<&str>| Message {
            delivery: id.map(str::to_owned),
            at: None,
            repository: None,
            event: Event::Ping,
        };
        assert_eq!(delivery_id(&message(Some("a")), "d", None), "a");
        assert_eq!(delivery_id(&message(Some("a")), "d", Some("main")), "a main");
        assert_eq!(delivery_id(&message(None), "d", None), "d");
        assert_eq!(delivery_id(&message(Some("")), "d", None), "d");
        let long = delivery_id(&message(Some(&"x".repeat(5000))), "d", None);
        assert_eq!(long.len(), 64);
    }
}
