//! Lines, of JSON or of text, in the body of a request.

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

use super::Shared;
use super::body::{Defaults, Refusal, keep, receive};
use crate::listen::Protocol;
use crate::protocol::lines;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/lines", post(take))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sender {
    service: Option<String>,
    replica: Option<String>,
}

async fn take(State(shared): State<Shared>, request: Request) -> Response {
    let took = async {
        let Query(sender) = Query::<Sender>::try_from_uri(request.uri()).map_err(|error| {
            Refusal::bad(format!(
                "Of the address: {error}; it may say `service` and `replica`."
            ))
        })?;
        let body = receive(&shared, request).await?;
        let defaults = Defaults {
            service: sender.service,
            replica: sender.replica,
        };
        keep(&shared, Protocol::Lines, body, defaults, |bytes, out| {
            lines::body(bytes, out);
            Ok(out.len())
        })
        .await
    };
    match took.await {
        Ok(kept) => axum::Json(serde_json::json!({ "kept": kept })).into_response(),
        Err(refusal) => (
            refusal.status,
            refusal.headers(),
            axum::Json(serde_json::json!({ "error": refusal.message })),
        )
            .into_response(),
    }
}
