//! From a delivery to a deployment: fetched, built, deployed, told.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64_NOPAD};
use nonna_engine::words;
use nonna_engine::{Code, Error, Result};
use nonna_git::forge::State;
use nonna_git::remote::{Credentials, Fetched, Transport};
use nonna_git::{ObjectId, Repository};
use nonna_model::{ConnectionId, Name};
use nonna_store::forge::{
    Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, DeliveryResult, DeliveryState,
    Followed, NewDelivery, Repeats,
};
use nonna_store::records::{Deployment, Idempotency};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{hook, parts, report};
use crate::git::Say;
use crate::git::source::{self, Commit, Order};
use crate::http::{App, deployment_answer};

/// The most that is kept of what is said of a delivery, in bytes.
const LOG: usize = 256 * 1024;
/// How often a fetch is tried, and how long until the next time.
const FETCHES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);

/// Who deploys what a forge told.
pub(super) fn actor(connection: &Connection) -> String {
    format!("{} webhook", connection.forge)
}

/// Sees to a connection's deliveries, in order, in a task of its own.
pub(super) fn wake(app: &Arc<App>, connection: &ConnectionId) {
    {
        let mut busy = app.forges.busy();
        if let Some(more) = busy.get_mut(connection) {
            *more = true;
            return;
        }
        busy.insert(connection.clone(), false);
    }
    let (app, connection) = (Arc::clone(app), connection.clone());
    app.forges.tasks.clone().spawn(async move {
        loop {
            see_to(&app, &connection).await;
            let mut busy = app.forges.busy();
            match busy.get_mut(&connection) {
                Some(more) if *more && !app.closing.is_cancelled() => *more = false,
                _ => {
                    busy.remove(&connection);
                    return;
                }
            }
        }
    });
}

/// Until there are none, or the server stops.
async fn see_to(app: &Arc<App>, connection: &ConnectionId) {
    while !app.closing.is_cancelled() {
        match app.store.take_delivery(connection).await {
            Ok(Some(delivery)) => {
                if !Box::pin(deliver(app, delivery)).await {
                    pause(app).await;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%connection, %error, "deliveries of a forge cannot be read");
                pause(app).await;
            }
        }
    }
}

/// Waits a moment, or until the server stops.
async fn pause(app: &App) {
    tokio::select! {
        () = tokio::time::sleep(PAUSE) => {}
        () = app.closing.cancelled() => {}
    }
}

/// What came of a delivery.
struct End {
    result: DeliveryResult,
    message: String,
    link: Option<String>,
    /// Whether the forge is told.
    told: bool,
}

impl End {
    fn quiet(result: DeliveryResult, message: impl Into<String>) -> Self {
        Self {
            result,
            message: message.into(),
            link: None,
            told: false,
        }
    }
}

/// Collects what is said.
fn collect() -> (Say, JoinHandle<String>) {
    let (say, mut lines) = Say::channel();
    let collecting = tokio::spawn(async move {
        let mut log = String::new();
        while let Some(line) = lines.recv().await {
            if log.len() + line.len() < LOG {
                log.push_str(&line);
                log.push('\n');
            }
        }
        log
    });
    (say, collecting)
}

/// Sees one delivery through; `false` where that cannot be now: the server
/// stops, and the next start goes on, or the store does not answer.
async fn deliver(app: &Arc<App>, mut delivery: Delivery) -> bool {
    let connection = match app.store.connection(&delivery.connection).await {
        Ok(Some(connection)) => connection,
        Ok(None) => return true,
        Err(error) => {
            tracing::error!(connection = %delivery.connection, %error, "a connection cannot be read");
            return false;
        }
    };
    let (say, log) = collect();
    let mut pending = None;
    let result = attempt(app, &connection, &mut delivery, &say, &mut pending).await;
    let stops = result.as_ref().is_err_and(|e| e.code == Code::ServerUnavailable);
    if stops || (result.is_err() && app.closing.is_cancelled()) {
        return false;
    }
    let end = match result {
        Ok(end) => end,
        Err(error) => {
            say.error(&error).await;
            tracing::warn!(connection = %connection.id, number = delivery.number, code = %error.code, %error, "a push told by a forge was not deployed");
            End {
                result: DeliveryResult::Failed,
                message: format!("{} [{}]", error.message, error.code),
                link: None,
                told: true,
            }
        }
    };
    say.line(&end.message).await;
    drop(say);
    let log = log.await.unwrap_or_default();
    let tells = end.told && connection.has_token && delivery.commit.is_some();
    delivery.result = Some(end.result);
    delivery.message = end.message;
    delivery.finished_at = Some(jiff::Timestamp::now().as_millisecond());
    delivery.state = if tells {
        DeliveryState::Reporting
    } else {
        DeliveryState::Done
    };
    if let Err(error) = app.store.update_delivery(&delivery, Some(&log)).await {
        tracing::error!(connection = %connection.id, number = delivery.number, %error, "what came of a delivery could not be kept");
    }
    if tells {
        report::begin(app, delivery, end.link, pending);
    }
    true
}

async fn attempt(
    app: &Arc<App>,
    connection: &Connection,
    delivery: &mut Delivery,
    say: &Say,
    pending: &mut Option<JoinHandle<()>>,
) -> Result<End> {
    let branch = delivery.branch.clone().unwrap_or_default();
    let Some(followed) = connection.branches.get(&branch).cloned() else {
        return Ok(End::quiet(
            DeliveryResult::Ignored,
            format!("No environment follows the branch {branch} any more."),
        ));
    };
    let place = (connection.project.clone(), followed.environment.clone());
    let cancel = CancellationToken::new();
    let (deployment, commit) = match known(app, delivery).await? {
        Some((deployment, commit)) => {
            say.line("The server was started again and goes on with the deployment.")
                .await;
            (deployment, commit)
        }
        None => {
            let secrets = secrets(app, &connection.id).await?;
            let (repository, fetched) = fetch(app, connection, &secrets, &branch, say).await?;
            let commit = fetched.commit;
            if let Some(named) = delivery
                .commit
                .as_deref()
                .filter(|named| *named != commit.as_str())
            {
                say.line(&format!(
                    "The branch has moved on since {}: {} is deployed.",
                    named.get(..7).unwrap_or(named),
                    commit.short()
                ))
                .await;
            }
            delivery.commit = Some(commit.to_string());
            if delivery.actor.is_none() && followed.deployed.as_deref() == Some(commit.as_str()) {
                return Ok(End::quiet(
                    DeliveryResult::Unchanged,
                    format!("{} was deployed already.", commit.short()),
                ));
            }
            app.store.update_delivery(delivery, None).await?;
            *pending = report::pending(app, connection, &place, &commit);
            let commit_files = Commit {
                repository: &repository,
                quarantine: None,
                id: &commit,
            };
            let deployment = hand_in(
                app,
                connection,
                delivery,
                &place,
                &followed,
                &commit_files,
                say,
                &cancel,
            )
            .await?;
            (deployment, commit)
        }
    };
    let is_empty = deployment.plan.is_empty();
    let now = source::attend(app, &place, deployment, say, &cancel).await?;
    let change = ConnectionChange::Deployed {
        branch,
        commit: commit.to_string(),
    };
    app.store.change_connection(&connection.id, vec![change]).await?;
    let what = format!("{}/{}", place.0, place.1);
    let (result, message) = if is_empty {
        let message = format!("Nothing that {what} is made of changed.");
        (DeliveryResult::Unchanged, message)
    } else {
        let releases = words::releases(&now.plan).map_or_else(String::new, |text| format!(" {text}"));
        (
            DeliveryResult::Deployed,
            format!("Deployed {what}{releases} from {}.", commit.short()),
        )
    };
    Ok(End {
        result,
        message,
        link: first_url(app, now),
        told: true,
    })
}

/// The deployment that an earlier process began for this delivery.
async fn known(app: &App, delivery: &Delivery) -> Result<Option<(Deployment, ObjectId)>> {
    let (Some(id), Some(commit)) = (&delivery.deployment, &delivery.commit) else {
        return Ok(None);
    };
    let commit: ObjectId = commit
        .parse()
        .map_err(|_| Error::bug("A delivery's commit cannot be read."))?;
    Ok(app
        .store
        .deployment(id)
        .await?
        .map(|deployment| (deployment, commit)))
}

async fn secrets(app: &App, connection: &ConnectionId) -> Result<ConnectionSecrets> {
    app.store
        .connection_secrets(connection)
        .await?
        .ok_or_else(|| Error::user(Code::NotFound, "The repository was disconnected."))
}

/// Who Nonna is to the forge.
fn credentials(connection: &Connection, secrets: &ConnectionSecrets) -> Result<Credentials> {
    let (forge, url) = parts(connection)?;
    Ok(match (url.transport, &secrets.key, &secrets.token) {
        (Transport::Ssh, Some(key), _) => Credentials::Key {
            private: Zeroizing::new(key.expose_secret().to_owned()),
            known_hosts: connection.host_keys.clone().unwrap_or_default(),
        },
        (Transport::Http | Transport::Https, _, Some(token)) => Credentials::Token {
            user: forge.token_user().to_owned(),
            token: Zeroizing::new(token.expose_secret().to_owned()),
        },
        _ => Credentials::None,
    })
}

async fn fetch(
    app: &App,
    connection: &Connection,
    secrets: &ConnectionSecrets,
    branch: &str,
    say: &Say,
) -> Result<(Repository, Fetched)> {
    let git = app.git()?;
    let (_, url) = parts(connection)?;
    let who = credentials(connection, secrets)?;
    let stopped = || Error::provider(Code::ServerUnavailable, "The server is stopping.").retry();
    let _room = tokio::select! {
        room = app.forges.fetches.acquire() => room.map_err(|_| stopped())?,
        () = app.closing.cancelled() => return Err(stopped()),
    };
    say.line(&format!("Fetching {branch} of {url}")).await;
    let most = app.config.build.context_limit;
    let repository = git.home.ensure_forge(connection.id.as_str(), most).await?;
    let mut tries = 0;
    let fetched = loop {
        tries += 1;
        let fetched = tokio::select! {
            fetched = git.home.fetch(&repository, &url, branch, &who, most) => fetched,
            () = app.closing.cancelled() => return Err(stopped()),
        };
        match fetched {
            Err(error) if error.retryable && tries < FETCHES => {
                say.line(&format!("{} Trying again.", error.message)).await;
                tokio::select! {
                    () = tokio::time::sleep(PAUSE * tries) => {}
                    () = app.closing.cancelled() => return Err(stopped()),
                }
            }
            result => break result?,
        }
    };
    if let (None, Some(keys)) = (&connection.host_keys, &fetched.known_hosts) {
        for key in fingerprints(keys) {
            say.line(&format!("{} is known from now on by the key {key}", url.host))
                .await;
            tracing::info!(connection = %connection.id, host = %url.host, %key, "host key taken");
        }
        let change = ConnectionChange::HostKeys(keys.clone());
        app.store.change_connection(&connection.id, vec![change]).await?;
    }
    Ok((repository, fetched))
}

/// The fingerprints of the keys in a `known_hosts` file, as `ssh` prints them.
pub(crate) fn fingerprints(known_hosts: &str) -> Vec<String> {
    known_hosts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (kind, key) = (words.next()?, words.next()?);
            let key = BASE64.decode(key.as_bytes()).ok()?;
            Some(format!(
                "{kind} SHA256:{}",
                BASE64_NOPAD.encode(&Sha256::digest(&key))
            ))
        })
        .collect()
}

#[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
async fn hand_in(
    app: &Arc<App>,
    connection: &Connection,
    delivery: &mut Delivery,
    place: &(Name, Name),
    followed: &Followed,
    commit: &Commit<'_>,
    say: &Say,
    cancel: &CancellationToken,
) -> Result<Deployment> {
    say.line(&format!(
        "Deploying {} ({}) to {}/{}",
        delivery.branch.as_deref().unwrap_or_default(),
        commit.id.short(),
        place.0,
        place.1
    ))
    .await;
    let who = delivery.actor.clone().unwrap_or_else(|| actor(connection));
    let key = format!("forge-{}-{}-{}", connection.id, delivery.number, commit.id);
    let order = Order {
        place,
        services: &followed.services,
        actor: &who,
        idempotency: Some(Idempotency {
            request: key.clone(),
            key,
        }),
    };
    let submitted = tokio::select! {
        submitted = source::submit(app, order, commit, say, cancel) => submitted?,
        () = app.closing.cancelled() => {
            return Err(Error::provider(Code::ServerUnavailable, "The server is stopping.").retry());
        }
    };
    if !submitted.plan.is_empty() {
        delivery.deployment = Some(submitted.id.clone());
        app.store.update_delivery(delivery, None).await?;
    }
    Ok(submitted)
}

pub(super) fn first_url(app: &App, deployment: Deployment) -> Option<String> {
    let answer = deployment_answer(app, deployment);
    answer.urls.into_values().flatten().next()
}

/// Deploys a branch as it is on the forge now, because a user says so.
pub(crate) async fn by_hand(
    app: &Arc<App>,
    connection: &Connection,
    branch: &str,
    who: &str,
) -> Result<Delivery> {
    let now = jiff::Timestamp::now();
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|e| Error::provider(Code::Bug, "The system gives no random numbers.").said(e.to_string()))?;
    let id = format!("by hand {}", data_encoding::HEXLOWER.encode(&random));
    let new = NewDelivery {
        delivery: Delivery {
            number: 0,
            connection: connection.id.clone(),
            delivery: id.clone(),
            actor: Some(who.to_owned()),
            branch: Some(branch.to_owned()),
            commit: None,
            state: DeliveryState::Waiting,
            result: None,
            message: String::new(),
            deployment: None,
            received_at: now.as_millisecond(),
            finished_at: None,
        },
        digest: id,
        repeats: Repeats::None,
        happened: None,
        keep: hook::REMEMBERED,
    };
    match app.store.accept_delivery(new).await? {
        Some(Accepted::New(delivery) | Accepted::Late(delivery)) => {
            wake(app, &connection.id);
            Ok(delivery)
        }
        Some(Accepted::Replay) => Err(Error::bug("a random number came twice")),
        None => Err(Error::user(Code::NotFound, "The repository was disconnected.")),
    }
}

/// How a delivery's end is told as a commit's status.
pub(super) fn state(result: Option<DeliveryResult>) -> State {
    match result {
        Some(DeliveryResult::Failed) => State::Failure,
        Some(_) => State::Success,
        None => State::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_shown_as_ssh_shows_them() {
        // GitHub's, as it publishes it.
        let line =
            "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n";
        assert_eq!(
            fingerprints(line),
            ["ssh-ed25519 SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"]
        );
        assert_eq!(fingerprints("nonsense\n\n# x y %%%\n"), [] as [&str; 0]);
    }
}
