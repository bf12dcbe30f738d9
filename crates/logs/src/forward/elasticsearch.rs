//! Elasticsearch and OpenSearch, by the bulk API.

use async_trait::async_trait;
use reqwest::header;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{HttpTarget, ask};
use super::{Destination, Failure, Parcel, Taken};
use crate::record::Level;
use crate::search::{Entry, rfc3339};
use crate::wire::compress::gzip;

/// Elasticsearch or OpenSearch. Documents are named by store and number and
/// only ever created, so that one that is sent twice is there once.
#[derive(Debug)]
pub struct Elasticsearch {
    target: HttpTarget,
    index: String,
}

#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl Elasticsearch {
    /// Where records are taken, below the address.
    pub const PATH: &'static str = "/_bulk";
    /// The index, or data stream, where none is named.
    pub const INDEX: &'static str = "logs-nonna-default";

    /// Elasticsearch at this target. `{date}` in the index is the record's day.
    #[must_use]
    pub fn new(target: HttpTarget, index: &str) -> Self {
        Self {
            target,
            index: index.to_owned(),
        }
    }

    fn encode(&self, parcel: Parcel<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        for entry in parcel.entries {
            let mut time = String::new();
            rfc3339(&mut time, entry.time);
            let day = time.get(..10).unwrap_or_default().replace('-', ".");
            let action = json!({ "create": {
                "_index": self.index.replace("{date}", &day),
                "_id": format!("{}-{}", parcel.store, entry.number),
            }});
            body.extend_from_slice(action.to_string().as_bytes());
            body.push(b'\n');
            body.extend_from_slice(document(entry, &time).to_string().as_bytes());
            body.push(b'\n');
        }
        body
    }
}

/// The record in the Elastic Common Schema.
fn document(entry: &Entry, time: &str) -> Value {
    let mut document = json!({
        "@timestamp": time,
        "message": String::from_utf8_lossy(&entry.line),
        "service": { "name": &*entry.source.service },
        "event": { "sequence": entry.number },
    });
    if let Some(document) = document.as_object_mut() {
        if !entry.source.replica.is_empty() {
            document.insert("host".to_owned(), json!({ "name": &*entry.source.replica }));
        }
        if entry.level != Level::Unknown {
            document.insert("log".to_owned(), json!({ "level": entry.level.name() }));
        }
        if let Some(trace) = &entry.trace {
            document.insert("trace".to_owned(), json!({ "id": trace }));
        }
        if !entry.fields.is_empty() {
            // Names with dots would be objects, and clash with one another.
            let labels: Map<String, Value> = entry
                .fields
                .iter()
                .map(|(name, value)| (name.replace('.', "_"), Value::String(value.clone())))
                .collect();
            document.insert("labels".to_owned(), Value::Object(labels));
        }
    }
    document
}

#[async_trait]
impl Destination for Elasticsearch {
    fn kind(&self) -> &'static str {
        "elasticsearch"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let body = gzip(&self.encode(parcel)).map_err(|error| Failure::unavailable(error.to_string()))?;
        let request = self
            .target
            .post("application/x-ndjson", body)
            .header(header::CONTENT_ENCODING, "gzip");
        let answer = ask(request).await?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|error| Failure::unavailable(format!("its answer is not the bulk API's: {error}")))?;
        let mut taken = Taken::default();
        if !answer.errors {
            return Ok(taken);
        }
        if answer.items.len() != parcel.entries.len() {
            return Err(Failure::unavailable(
                "it does not say of each record what became of it",
            ));
        }
        for (place, item) in answer.items.into_iter().enumerate() {
            let Outcome { status, error } = item.create;
            match status {
                // It is there already: it was sent before.
                200..=299 | 409 => {}
                429 | 500..=599 => {
                    return Err(Failure::unavailable(format!("it answers {status} for a record")));
                }
                _ => {
                    let reason = error.get("reason").and_then(Value::as_str).unwrap_or_default();
                    let why: String = reason.chars().filter(|c| !c.is_control()).take(300).collect();
                    taken.refused.push((place, format!("{status}: {why}")));
                }
            }
        }
        Ok(taken)
    }
}
