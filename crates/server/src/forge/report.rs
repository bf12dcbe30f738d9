//! Commit statuses: told to the forge, again if it does not listen, and never
//! a reason for a deployment to fail.

use std::sync::Arc;
use std::time::Duration;

use nonna_engine::words::clean;
use nonna_engine::{Error, Result};
use nonna_git::ObjectId;
use nonna_git::forge::{Forge, State, Status, StatusRequest};
use nonna_model::Name;
use nonna_store::forge::{Connection, Delivery, DeliveryState};
use reqwest::{StatusCode, header};
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;

use super::{api, deliver, parts};
use crate::http::App;

/// How long a connection, and a request with its answer, may take.
const CONNECT: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(20);
/// How often a status is told at most.
const TRIES: u32 = 8;
/// How long until it is told again, the first time; twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that a forge may have us wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How many bytes of a refusal are shown.
const SHOWN: usize = 300;

/// Tells forges.
pub(super) struct Reporter {
    http: reqwest::Client,
}

/// Why a forge was not told.
struct Untold {
    said: String,
    /// After how long it may be told again; `None`: never.
    again: Option<Option<Duration>>,
}

impl Reporter {
    pub(super) fn new() -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("nonna/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            // A token goes where the user said and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| Error::bug("The HTTP client cannot be made.").said(error.to_string()))?;
        Ok(Self { http })
    }

    async fn tell(&self, request: &StatusRequest) -> std::result::Result<(), Untold> {
        let (name, value) = &request.header;
        let sent = self
            .http
            .post(&request.url)
            .header(*name, value)
            .header(header::ACCEPT, "application/json")
            .json(&request.body)
            .send()
            .await;
        let response = sent.map_err(|error| Untold {
            said: chain(&error),
            again: Some(None),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
        let may_again = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            // GitHub's way of saying that there are too many requests.
            || (status == StatusCode::FORBIDDEN && wait.is_some());
        let text = read_some(response).await;
        Err(Untold {
            said: format!("{status}: {text}").replace(value.as_str(), "…"),
            again: may_again.then_some(wait),
        })
    }
}

/// An error with its causes, and no address.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

async fn read_some(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN {
        match response.chunk().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            _ => break,
        }
    }
    bytes.truncate(SHOWN);
    clean(&String::from_utf8_lossy(&bytes)).into_owned()
}

/// Tells a status until the forge has it, or will not; why not, then.
async fn insist(app: &App, request: &StatusRequest, tries: u32) -> Option<String> {
    let mut pause = PAUSE;
    let mut last = String::new();
    for attempt in 1..=tries {
        match app.forges.reporter.tell(request).await {
            Ok(()) => return None,
            Err(untold) => {
                last = untold.said;
                let Some(wait) = untold.again else {
                    return Some(last);
                };
                if attempt < tries {
                    tokio::time::sleep(wait.unwrap_or(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
    Some(last)
}

struct Told<'a> {
    place: (&'a Name, &'a Name),
    commit: &'a ObjectId,
    state: State,
    description: &'a str,
    link: Option<&'a str>,
}

/// The request that tells it; `None` where there is no token.
async fn request(app: &App, connection: &Connection, told: &Told<'_>) -> Result<Option<StatusRequest>> {
    let Some(token) = app
        .store
        .connection_secrets(&connection.id)
        .await?
        .and_then(|secrets| secrets.token)
    else {
        return Ok(None);
    };
    let (forge, url): (Forge, _) = parts(connection)?;
    let context = format!("nonna/{}/{}", told.place.0, told.place.1);
    let status = Status {
        commit: told.commit,
        state: told.state,
        context: &context,
        description: told.description,
        link: told.link,
    };
    Ok(Some(forge.status(
        &api(connection),
        forge.repository(&url),
        token.expose_secret(),
        &status,
    )))
}

/// Tells that a deployment is under way, once, while it is. How it ends is told
/// after that.
pub(super) fn pending(
    app: &Arc<App>,
    connection: &Connection,
    place: &(Name, Name),
    commit: &ObjectId,
) -> Option<JoinHandle<()>> {
    if !connection.has_token {
        return None;
    }
    let (app, connection) = (Arc::clone(app), connection.clone());
    let (place, commit) = (place.clone(), commit.clone());
    Some(app.forges.tasks.clone().spawn(async move {
        let description = format!("Deploying to {}/{}", place.0, place.1);
        let told = Told {
            place: (&place.0, &place.1),
            commit: &commit,
            state: State::Pending,
            description: &description,
            link: None,
        };
        let telling = async {
            match request(&app, &connection, &told).await {
                Ok(Some(request)) => insist(&app, &request, 1).await,
                Ok(None) => None,
                Err(error) => Some(error.to_string()),
            }
        };
        tokio::select! {
            untold = telling => if let Some(said) = untold {
                tracing::warn!(connection = %connection.id, %commit, said, "a forge was not told that a deployment is under way");
            },
            () = app.closing.cancelled() => {}
        }
    }))
}

/// Tells what came of a delivery, in a task of its own, after what was told
/// while it was under way.
pub(super) fn begin(
    app: &Arc<App>,
    delivery: Delivery,
    link: Option<String>,
    pending: Option<JoinHandle<()>>,
) {
    let app = Arc::clone(app);
    app.forges.tasks.clone().spawn(async move {
        if let Some(pending) = pending {
            let _ = pending.await;
        }
        tokio::select! {
            () = report(&app, delivery, link) => {}
            // The next start tells it.
            () = app.closing.cancelled() => {}
        }
    });
}

/// Tells what an earlier process did not come to tell.
pub(super) async fn again(app: &Arc<App>, delivery: Delivery) -> Result<()> {
    let deployment = match &delivery.deployment {
        Some(id) => app.store.deployment(id).await?,
        None => None,
    };
    let link = deployment.and_then(|deployment| deliver::first_url(app, deployment));
    begin(app, delivery, link, None);
    Ok(())
}

async fn report(app: &Arc<App>, mut delivery: Delivery, link: Option<String>) {
    let untold = match tell(app, &delivery, link).await {
        Ok(untold) => untold,
        Err(error) => Some(error.to_string()),
    };
    if let Some(said) = untold {
        tracing::warn!(connection = %delivery.connection, number = delivery.number, said, "a forge was not told what came of a push");
        delivery.message = format!("{} (The forge took no status: {said})", delivery.message);
    }
    delivery.state = DeliveryState::Done;
    if let Err(error) = app.store.update_delivery(&delivery, None).await {
        tracing::error!(connection = %delivery.connection, number = delivery.number, %error, "what came of a delivery could not be kept");
    }
}

async fn tell(app: &Arc<App>, delivery: &Delivery, link: Option<String>) -> Result<Option<String>> {
    let (Some(connection), Some(branch), Some(commit)) = (
        app.store.connection(&delivery.connection).await?,
        &delivery.branch,
        &delivery.commit,
    ) else {
        return Ok(None);
    };
    let Some(followed) = connection.branches.get(branch) else {
        return Ok(None);
    };
    let commit: ObjectId = commit
        .parse()
        .map_err(|_| Error::bug("A delivery's commit cannot be read."))?;
    let told = Told {
        place: (&connection.project, &followed.environment),
        commit: &commit,
        state: deliver::state(delivery.result),
        description: &delivery.message,
        link: link.as_deref(),
    };
    match request(app, &connection, &told).await? {
        Some(request) => Ok(insist(app, &request, TRIES).await),
        None => Ok(None),
    }
}
