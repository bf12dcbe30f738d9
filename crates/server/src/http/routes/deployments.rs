//! Deployments: one, its events, its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use http::HeaderMap;
use nonna_api::{DeploymentAnswer, Failure, paths};
use nonna_engine::event::{Event, EventKind};
use nonna_engine::{Code, Error};
use nonna_model::DeploymentId;
use nonna_store::records::{Deployment, StoredEvent};
use tokio::sync::broadcast;

use super::super::failure::Answer;
use super::super::input::OfDeployment;
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::answers;
use crate::auth::Permission;

/// How many events are read from the store at once.
const BATCH: u32 = 200;
/// How often a silent stream says that it is alive.
const ALIVE: Duration = Duration::from_secs(15);

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(paths::DEPLOYMENT, Permission::Read, "A deployment.").answers::<DeploymentAnswer>(),
            one,
        )
        .add(
            get(
                paths::DEPLOYMENT_EVENTS,
                Permission::Read,
                "What happens in a deployment, as server-sent events.",
            )
            .answers_kind("text/event-stream"),
            events,
        )
        .add(
            post(
                paths::DEPLOYMENT_CANCEL,
                Permission::Deploy,
                "Cancels a deployment.",
            )
            .answers::<DeploymentAnswer>(),
            cancel,
        )
}

async fn find(app: &App, id: &DeploymentId) -> Answer<Deployment> {
    if let Some(empty) = app.deployments.empty_one(id) {
        return Ok(empty);
    }
    app.store.deployment(id).await?.ok_or_else(|| {
        Error::user(Code::NotFound, format!("There is no deployment {id}."))
            .hint("`nonna deployments` lists those of an environment.")
            .into()
    })
}

async fn one(State(app): State<Arc<App>>, OfDeployment(id): OfDeployment) -> Answer<Json<DeploymentAnswer>> {
    let deployment = find(&app, &id).await?;
    Ok(Json(answers::deployment(&app, deployment)))
}

async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    OfDeployment(id): OfDeployment,
) -> Answer<Json<DeploymentAnswer>> {
    let before = find(&app, &id).await?;
    if before.state.is_finished() {
        return Err(Error::user(
            Code::Conflict,
            format!("The deployment {id} is over: it {}.", past(&before)),
        )
        .hint("To go back to what ran before: `nonna rollback`.")
        .into());
    }
    app.deployments.cancel(&id).await?;
    app.audit(&caller, "deployment.cancel", id.to_string(), None)
        .await;
    one(State(app), OfDeployment(id)).await
}

fn past(deployment: &Deployment) -> &'static str {
    match deployment.state.as_str() {
        "succeeded" => "succeeded",
        "rolled_back" => "was rolled back",
        _ => "failed",
    }
}

/// The number after which a client wants to go on.
fn last_event_id(headers: &HeaderMap) -> Answer<u64> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(0);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Error::user(
                Code::InvalidInput,
                "Last-Event-ID must be the number of an event.",
            )
            .into()
        })
}

/// A stream of events while it is read.
struct Reading {
    app: Arc<App>,
    id: DeploymentId,
    live: Option<broadcast::Receiver<StoredEvent>>,
    after: u64,
    stored: std::vec::IntoIter<StoredEvent>,
    /// The store may have more than was read.
    catch_up: bool,
    over: bool,
}

async fn events(
    State(app): State<Arc<App>>,
    OfDeployment(id): OfDeployment,
    headers: HeaderMap,
) -> Answer<Response> {
    let after = last_event_id(&headers)?;
    // Before the state is looked at: nothing falls in between.
    let live = app.deployments.events().listen(&id);
    find(&app, &id).await?;
    let reading = Reading {
        app: Arc::clone(&app),
        id,
        live: Some(live),
        after,
        stored: Vec::new().into_iter(),
        catch_up: true,
        over: false,
    };
    let closing = app.closing.clone();
    let stream = stream::unfold(reading, Reading::step).take_until(closing.cancelled_owned());
    Ok(respond(stream))
}

/// A stream of server-sent events as an answer.
pub(super) fn respond(stream: impl Stream<Item = Result<SseEvent, Infallible>> + Send + 'static) -> Response {
    let alive = KeepAlive::new().interval(ALIVE).text("alive");
    let mut response = Sse::new(stream).keep_alive(alive).into_response();
    // So that a proxy in between passes each event on at once.
    response
        .headers_mut()
        .insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}

/// What ends a stream that cannot go on.
pub(super) fn error_event(error: Error) -> SseEvent {
    SseEvent::default()
        .event("error")
        .json_data(Failure { error })
        .unwrap_or_default()
}

fn sse(event: &StoredEvent) -> SseEvent {
    SseEvent::default()
        .id(event.sequence.to_string())
        .json_data(&event.event)
        .unwrap_or_default()
}

impl Reading {
    async fn step(mut self) -> Option<(Result<SseEvent, Infallible>, Self)> {
        if self.over {
            return None;
        }
        match self.next().await {
            Ok(Some(event)) => {
                self.after = event.sequence;
                self.over = matches!(event.event.kind, EventKind::Finished { .. });
                Some((Ok(sse(&event)), self))
            }
            Ok(None) => None,
            Err(error) => {
                self.over = true;
                Some((Ok(error_event(error)), self))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<StoredEvent>, Error> {
        loop {
            if let Some(event) = self.stored.next() {
                return Ok(Some(event));
            }
            if self.catch_up {
                let events = self.read().await?;
                self.catch_up = !events.is_empty();
                self.stored = events.into_iter();
                if self.catch_up {
                    continue;
                }
                // All that is kept was told. Where it is over, so is this.
                if let Some(last) = self.last_word().await? {
                    // What is on its way to the store comes before the end.
                    self.app.deployments.events().flush().await;
                    let events = self.read().await?;
                    if events.is_empty() {
                        return Ok(Some(last));
                    }
                    self.stored = events.into_iter();
                    self.catch_up = true;
                    continue;
                }
            }
            let Some(live) = self.live.as_mut() else {
                return Ok(None);
            };
            match live.recv().await {
                Ok(event) if event.sequence <= self.after => {}
                Ok(event) if event.sequence == self.after + 1 => return Ok(Some(event)),
                // Some were missed: they are in the store.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.catch_up = true,
                Err(broadcast::error::RecvError::Closed) => {
                    self.live = None;
                    self.catch_up = true;
                }
            }
        }
    }

    async fn read(&self) -> Result<Vec<StoredEvent>, Error> {
        if self.app.deployments.empty_one(&self.id).is_some() {
            return Ok(Vec::new());
        }
        self.app.store.events_after(&self.id, self.after, BATCH).await
    }

    /// The end of a deployment that is over, where its event is not kept: it
    /// had nothing to do, or the process died in between, or long ago.
    async fn last_word(&self) -> Result<Option<StoredEvent>, Error> {
        let deployment = match self.app.deployments.empty_one(&self.id) {
            Some(empty) => Some(empty),
            None => self.app.store.deployment(&self.id).await?,
        };
        Ok(deployment.and_then(|d| {
            Some(StoredEvent {
                sequence: self.after + 1,
                event: Event {
                    deployment: d.id,
                    at: d.finished_at?,
                    kind: EventKind::Finished { outcome: d.outcome? },
                },
            })
        }))
    }
}
