//! Gitea and Forgejo: "Webhooks" in their documentation, and their API's
//! `repoCreateStatus`. Forgejo sends Gitea's headers beside its own.

use http::HeaderMap;
use nonna_engine::Result;
use serde_json::Value;

use super::{Event, Message, Status, StatusRequest, cut, github, header, pushed, signature, text};

fn either<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    header(headers, &format!("x-gitea-{name}")).or_else(|| header(headers, &format!("x-forgejo-{name}")))
}

pub(super) fn is_authentic(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    either(headers, "signature").is_some_and(|hex| signature::is_right(secret, body, hex))
}

pub(super) fn read(headers: &HeaderMap, value: &Value) -> Result<Message> {
    let event = match either(headers, "event").unwrap_or_default() {
        "push" => pushed(value)?,
        other => Event::Other(format!("the event `{}`", cut(other, 60))),
    };
    Ok(Message {
        delivery: either(headers, "delivery").map(str::to_owned),
        at: None,
        repository: text(value, "/repository/full_name"),
        event,
    })
}

pub(super) fn status(api: &str, path: &str, token: &str, status: &Status<'_>) -> StatusRequest {
    StatusRequest {
        url: format!("{api}/repos/{path}/statuses/{}", status.commit),
        header: ("authorization", format!("token {token}")),
        body: github::status_body(status),
    }
}
