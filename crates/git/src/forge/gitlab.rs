//! GitLab: "Webhooks", "Webhook events", "Commits API: set the pipeline status
//! of a commit". Its messages carry the secret itself.

use http::HeaderMap;
use nonna_engine::Result;
use serde_json::{Value, json};

use super::{
    DESCRIPTION, Event, Message, State, Status, StatusRequest, cut, encoded, header, pushed, signature, text,
};

pub(super) fn is_authentic(secret: &str, headers: &HeaderMap) -> bool {
    header(headers, "x-gitlab-token").is_some_and(|given| signature::is_same(secret, given))
}

pub(super) fn read(headers: &HeaderMap, value: &Value) -> Result<Message> {
    let event = match header(headers, "x-gitlab-event").unwrap_or_default() {
        "Push Hook" => pushed(value)?,
        other => Event::Other(format!("the event `{}`", cut(other, 60))),
    };
    // The event's UUID is shared by the hooks that one event sets off; the
    // idempotency key is the delivery's own.
    let delivery = header(headers, "idempotency-key").or_else(|| header(headers, "x-gitlab-event-uuid"));
    Ok(Message {
        delivery: delivery.map(str::to_owned),
        at: None,
        repository: text(value, "/project/path_with_namespace"),
        event,
    })
}

pub(super) fn status(api: &str, path: &str, token: &str, status: &Status<'_>) -> StatusRequest {
    StatusRequest {
        url: format!("{api}/projects/{}/statuses/{}", encoded(path), status.commit),
        header: ("private-token", token.to_owned()),
        body: json!({
            "state": match status.state {
                State::Pending => "running",
                State::Success => "success",
                State::Failure => "failed",
            },
            "target_url": status.link,
            "description": cut(status.description, DESCRIPTION),
            "name": status.context,
        }),
    }
}
