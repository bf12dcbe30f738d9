//! GitHub: "Validating webhook deliveries", "Webhook events and payloads",
//! "REST API endpoints for commit statuses".

use http::HeaderMap;
use nonna_engine::Result;
use serde_json::{Value, json};

use super::{
    DESCRIPTION, Event, Message, State, Status, StatusRequest, cut, header, pushed, signature, text,
};

pub(super) fn is_authentic(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    header(headers, "x-hub-signature-256")
        .and_then(|value| value.strip_prefix("sha256="))
        .is_some_and(|hex| signature::is_right(secret, body, hex))
}

pub(super) fn read(headers: &HeaderMap, value: &Value) -> Result<Message> {
    let event = match header(headers, "x-github-event").unwrap_or_default() {
        "ping" => Event::Ping,
        "push" => pushed(value)?,
        other => Event::Other(format!("the event `{}`", cut(other, 60))),
    };
    // Seconds in a push, a text elsewhere.
    let at = value.pointer("/repository/pushed_at").and_then(Value::as_i64);
    Ok(Message {
        delivery: header(headers, "x-github-delivery").map(str::to_owned),
        at: at.map(|seconds| seconds.saturating_mul(1000)),
        repository: text(value, "/repository/full_name"),
        event,
    })
}

/// The body that GitHub and Gitea both take.
pub(super) fn status_body(status: &Status<'_>) -> Value {
    json!({
        "state": match status.state {
            State::Pending => "pending",
            State::Success => "success",
            State::Failure => "failure",
        },
        "target_url": status.link,
        "description": cut(status.description, DESCRIPTION),
        "context": status.context,
    })
}

pub(super) fn status(api: &str, path: &str, token: &str, status: &Status<'_>) -> StatusRequest {
    StatusRequest {
        url: format!("{api}/repos/{path}/statuses/{}", status.commit),
        header: ("authorization", format!("Bearer {token}")),
        body: status_body(status),
    }
}
