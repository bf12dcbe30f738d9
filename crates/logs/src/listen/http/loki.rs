//! Loki's push API.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};

use super::Shared;
use super::body::{Defaults, Refusal, header_text, keep, receive};
use crate::listen::Protocol;
use crate::protocol::loki;
use crate::wire::compress::Encoding;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/api/prom/push", post(push))
}

async fn push(State(shared): State<Shared>, request: Request) -> Response {
    match take(&shared, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        // Loki answers with a line of text.
        Err(refusal) => (
            refusal.status,
            refusal.headers(),
            format!("{}\n", refusal.message),
        )
            .into_response(),
    }
}

async fn take(shared: &Shared, request: Request) -> Result<(), Refusal> {
    let kind = header_text(request.headers(), header::CONTENT_TYPE);
    let json = kind.starts_with("application/json");
    let mut body = receive(shared, request).await?;
    // Protobuf is a block of Snappy whatever the header says of it.
    if !json && !body.is_compressed() {
        body = body.encoded(Encoding::Snappy);
    }
    let parse = if json { loki::json } else { loki::protobuf };
    keep(shared, Protocol::Loki, body, Defaults::default(), parse).await
}
