//! Elasticsearch's bulk API: pairs of lines, an action and a document; an
//! answer for each.
//!
//! Format: Elasticsearch's REST reference, "Bulk index or delete documents".

use serde::Deserialize;
use serde_json::{Value, json};

use super::document::{Key, from_json};
use super::{Collector, Invalid};

/// The most actions of one request.
const MAX_ACTIONS: usize = 100_000;

/// What became of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    action: &'static str,
    index: String,
    id: Option<String>,
    wrong: Option<(&'static str, String)>,
}

/// What became of a request.
#[derive(Debug, Default)]
pub struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    #[serde(rename = "_index", borrow, default)]
    index: Option<Key<'a>>,
    #[serde(rename = "_id", borrow, default)]
    id: Option<Key<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Action<'a> {
    #[serde(borrow)]
    Index(Meta<'a>),
    #[serde(borrow)]
    Create(Meta<'a>),
    #[serde(borrow)]
    Update(Meta<'a>),
    #[serde(borrow)]
    Delete(Meta<'a>),
}

/// Reads a request; `index` is the one in its path. A document names its
/// service, or else its index does.
///
/// # Errors
/// Where an action cannot be read: what follows would be misunderstood.
pub fn bulk(body: &[u8], index: Option<&str>, out: &mut Collector) -> Result<Answer, Invalid> {
    let mut lines = body.split(|byte| *byte == b'\n').enumerate();
    let mut answer = Answer::default();
    while let Some((at, line)) = lines.next() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let action: Action<'_> = serde_json::from_slice(line).map_err(|error| {
            Invalid(format!(
                "Malformed action/metadata line [{}], expected `index`, `create`, `update` or `delete`: {error}",
                at + 1
            ))
        })?;
        if answer.items.len() >= MAX_ACTIONS {
            return Err(Invalid(format!("one request has {MAX_ACTIONS} actions at most")));
        }
        let (action, meta) = match action {
            Action::Index(meta) => ("index", meta),
            Action::Create(meta) => ("create", meta),
            Action::Update(meta) => ("update", meta),
            Action::Delete(meta) => ("delete", meta),
        };
        let named = meta.index.as_ref().map(|key| &*key.0).or(index).unwrap_or("logs");
        let mut item = Item {
            action,
            index: named.chars().take(255).collect(),
            id: meta.id.map(|key| key.0.chars().take(512).collect()),
            wrong: None,
        };
        let document = if action == "delete" { None } else { lines.next() };
        item.wrong = match (action, document) {
            ("index" | "create", Some((_, document))) => match from_json(document) {
                Ok(mut draft) => {
                    if draft.service.is_none() {
                        draft.service = Some(item.index.clone().into());
                    } else {
                        draft.field("_index", item.index.clone());
                    }
                    out.add(&draft);
                    None
                }
                Err(error) => Some((
                    "document_parsing_exception",
                    format!("the document is no JSON object: {error}"),
                )),
            },
            ("index" | "create", None) => {
                return Err(Invalid("the last action has no document behind it".to_owned()));
            }
            _ => Some((
                "illegal_argument_exception",
                "log records are never changed or removed one by one: use `index` or `create`".to_owned(),
            )),
        };
        answer.items.push(item);
    }
    Ok(answer)
}

/// Reads a single document, which names its service or else has its index's.
///
/// # Errors
/// Where it is no JSON object.
pub fn document(bytes: &[u8], index: &str, out: &mut Collector) -> Result<(), Invalid> {
    let mut draft = from_json(bytes)?;
    if draft.service.is_none() {
        draft.service = Some(index.into());
    } else {
        draft.field("_index", index);
    }
    out.add(&draft);
    Ok(())
}

impl Answer {
    /// The body of the answer. `prefix` makes ids for those that have none.
    #[must_use]
    pub fn json(&self, took_ms: u128, prefix: u64) -> Value {
        let items: Vec<Value> = self
            .items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                let id = item.id.clone().unwrap_or_else(|| format!("{prefix:x}-{at}"));
                let result = match &item.wrong {
                    None => json!({
                        "_index": item.index, "_id": id, "_version": 1, "result": "created",
                        "_shards": {"total": 1, "successful": 1, "failed": 0},
                        "_seq_no": at, "_primary_term": 1, "status": 201,
                    }),
                    Some((kind, reason)) => json!({
                        "_index": item.index, "_id": id, "status": 400,
                        "error": {"type": kind, "reason": reason},
                    }),
                };
                json!({ item.action: result })
            })
            .collect();
        json!({
            "took": took_ms,
            "errors": self.items.iter().any(|item| item.wrong.is_some()),
            "items": items,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::collect::testing::{collector, seen};
    use super::*;

    #[test]
    fn each_action_has_its_answer() {
        let mut out = collector();
        let body = b"{\"index\":{\"_index\":\"logs-web\",\"_id\":\"1\"}}\n{\"message\":\"a\",\"x\":1}\n{\"create\":{}}\nnot json\n{\"delete\":{\"_id\":\"3\"}}\n{\"create\":{}}\n{\"message\":\"b\",\"service.name\":\"api\"}\n";
        let answer = bulk(body, Some("path"), &mut out).unwrap().json(3, 255);
        let records = seen(&mut out);
        assert_eq!(
            (records[0].service.as_str(), records[0].line.as_str()),
            ("logs-web", "a")
        );
        assert_eq!(
            (records[1].service.as_str(), records[1].fields["_index"].as_str()),
            ("api", "path")
        );
        let status: Vec<u64> = answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                item.as_object().unwrap().values().next().unwrap()["status"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(status, [201, 400, 400, 201]);
        assert_eq!(answer["errors"], true);
        assert_eq!(answer["items"][3]["create"]["_id"], "ff-3");
        for bad in [&b"{\"other\":{}}\n{}\n"[..], b"{\"index\":{}}", b"[]\n"] {
            assert!(bulk(bad, None, &mut out).is_err());
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "(\\{\"(index|create|delete)\":\\{\\}\\}\n)?[{}\\[\\]\",:\na-z0-9]{0,80}") {
            let _ = bulk(text.as_bytes(), None, &mut collector());
        }
    }
}
