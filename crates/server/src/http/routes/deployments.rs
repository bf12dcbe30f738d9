//! Deployments: one, its events, its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt};
use http::HeaderMap;
use nonna_api::{DeploymentAnswer, Failure, paths};
use nonna_engine::{Code, Error};
use nonna_model::DeploymentId;
use nonna_store::records::{Deployment, StoredEvent};

use super::super::failure::Answer;
use super::super::input::OfDeployment;
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::answers;
use crate::auth::Permission;

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
pub(super) fn last_event_id(headers: &HeaderMap) -> Answer<u64> {
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

async fn events(
    State(app): State<Arc<App>>,
    OfDeployment(id): OfDeployment,
    headers: HeaderMap,
) -> Answer<Response> {
    let after = last_event_id(&headers)?;
    // Before the state is looked at: nothing falls in between.
    let followed = app.deployments.follow(&id, after);
    find(&app, &id).await?;
    let closing = app.closing.clone();
    let stream = followed
        .map(|event| Ok(event.map_or_else(error_event, |event| sse(&event))))
        .take_until(closing.cancelled_owned());
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
