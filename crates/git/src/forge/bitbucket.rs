//! Bitbucket Cloud: "Manage webhooks", "Event payloads", "Commit statuses".

use http::HeaderMap;
use nonna_engine::Result;
use serde_json::{Value, json};

use super::{DESCRIPTION, Event, Message, Moved, State, Status, StatusRequest, cut, header, signature, text};
use crate::names::is_name;

/// The longest key of a status.
const KEY: usize = 40;

pub(super) fn is_authentic(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    header(headers, "x-hub-signature")
        .and_then(|value| value.strip_prefix("sha256="))
        .is_some_and(|hex| signature::is_right(secret, body, hex))
}

fn branch(change: &Value) -> Option<Moved> {
    let of = |side: &str| {
        let side = change.get(side)?;
        let is_branch = matches!(side.get("type")?.as_str()?, "branch" | "named_branch");
        let name = side.get("name")?.as_str()?;
        (is_branch && is_name(name)).then(|| (name.to_owned(), text(side, "/target/hash")))
    };
    match of("new") {
        Some((branch, hash)) => Some(Moved {
            branch,
            commit: Some(hash?.parse().ok()?),
        }),
        None if change.get("new").is_none_or(Value::is_null) => {
            of("old").map(|(branch, _)| Moved { branch, commit: None })
        }
        None => None,
    }
}

pub(super) fn read(headers: &HeaderMap, value: &Value) -> Result<Message> {
    let event = match header(headers, "x-event-key").unwrap_or_default() {
        "diagnostics:ping" => Event::Ping,
        "repo:push" => {
            let changes = value.pointer("/push/changes").and_then(Value::as_array);
            let moved: Vec<Moved> = changes.into_iter().flatten().filter_map(branch).collect();
            if moved.is_empty() {
                Event::Other("no branch moved".to_owned())
            } else {
                Event::Pushed(moved)
            }
        }
        other => Event::Other(format!("the event `{}`", cut(other, 60))),
    };
    Ok(Message {
        delivery: header(headers, "x-request-uuid").map(str::to_owned),
        at: None,
        repository: text(value, "/repository/full_name"),
        event,
    })
}

pub(super) fn status(api: &str, path: &str, token: &str, status: &Status<'_>) -> StatusRequest {
    StatusRequest {
        url: format!(
            "{api}/repositories/{path}/commit/{}/statuses/build",
            status.commit
        ),
        header: ("authorization", format!("Bearer {token}")),
        body: json!({
            "key": cut(status.context, KEY),
            "name": status.context,
            "state": match status.state {
                State::Pending => "INPROGRESS",
                State::Success => "SUCCESSFUL",
                State::Failure => "FAILED",
            },
            // It must have one.
            "url": status.link.map_or_else(
                || format!("https://bitbucket.org/{path}/commits/{}", status.commit),
                str::to_owned,
            ),
            "description": cut(status.description, DESCRIPTION),
        }),
    }
}
