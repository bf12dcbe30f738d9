//! OTLP/HTTP: `/v1/logs`, in protobuf and in JSON.
//!
//! Format: OpenTelemetry's "OTLP Specification", section "OTLP/HTTP".

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};

use super::Shared;
use super::body::{Defaults, Refusal, header_text, keep, receive};
use crate::listen::Protocol;
use crate::protocol::otlp;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/logs", post(logs))
}

async fn logs(State(shared): State<Shared>, request: Request) -> Response {
    let kind = header_text(request.headers(), header::CONTENT_TYPE);
    let json = kind.starts_with(JSON);
    if !json && !kind.starts_with(PROTOBUF) {
        let message = format!("The content type must be `{PROTOBUF}` or `{JSON}`.");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    let took = async {
        let body = receive(&shared, request).await?;
        let parse = if json { otlp::json } else { otlp::protobuf };
        keep(&shared, Protocol::Otlp, body, Defaults::default(), parse).await
    };
    match took.await {
        Ok(()) if json => ([(header::CONTENT_TYPE, JSON)], "{}").into_response(),
        Ok(()) => ([(header::CONTENT_TYPE, PROTOBUF)], otlp::answer(0, "")).into_response(),
        Err(refusal) => refused(&refusal, json),
    }
}

/// The number that gRPC has for it.
fn grpc_code(status: StatusCode) -> u64 {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => 8,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::REQUEST_TIMEOUT => 4,
        status if status.is_server_error() => 13,
        _ => 3,
    }
}

fn refused(refusal: &Refusal, json: bool) -> Response {
    let code = grpc_code(refusal.status);
    if json {
        let body = serde_json::json!({ "code": code, "message": refusal.message });
        let kind = [(header::CONTENT_TYPE, JSON)];
        return (refusal.status, refusal.headers(), kind, body.to_string()).into_response();
    }
    let kind = [(header::CONTENT_TYPE, PROTOBUF)];
    let body = otlp::status(code, &refusal.message);
    (refusal.status, refusal.headers(), kind, body).into_response()
}
