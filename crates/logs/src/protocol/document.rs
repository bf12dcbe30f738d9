//! Records that arrive as an object of names and values: JSON lines,
//! Elasticsearch's documents, Fluent's records.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Draft, time};
use crate::record::Level;

/// A value: a text, or anything else as JSON.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A number, a boolean, a list, an object: as JSON writes it.
    Json(Cow<'a, str>),
}

impl<'a> Value<'a> {
    fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) | Self::Json(text) => text,
        }
    }
}

const LINE: &[&str] = &["message", "msg", "log", "@message", "line"];
const TIME: &[&str] = &["@timestamp", "timestamp", "time", "ts"];
const LEVEL: &[&str] = &["level", "severity", "log.level", "loglevel", "lvl"];
const SERVICE: &[&str] = &["service", "service.name", "service_name"];
const REPLICA: &[&str] = &[
    "replica",
    "host.name",
    "hostname",
    "host",
    "container_name",
    "pod",
];

/// Puts a pair where it belongs in a record: the line, the time, the level,
/// the sender or a field. The first of several that fit counts; the others
/// stay fields.
pub fn put<'a>(draft: &mut Draft<'a>, name: Cow<'a, str>, value: Value<'a>) {
    let is = |names: &[&str]| names.contains(&&*name);
    match value {
        Value::Text(text) if draft.line.is_empty() && is(LINE) => {
            draft.line = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
        }
        value => {
            let text = value.clone().into_text();
            if draft.time.is_none()
                && is(TIME)
                && let Some(at) = time::of_text(&text)
            {
                draft.time = Some(at);
            } else if draft.level.is_none()
                && is(LEVEL)
                && let Some(level) = Level::from_name(text.as_bytes())
            {
                draft.level = Some(level);
            } else if let Value::Text(text) = value {
                if draft.service.is_none() && is(SERVICE) {
                    draft.service = Some(text);
                } else if draft.replica.is_none() && is(REPLICA) {
                    draft.replica = Some(text);
                } else {
                    draft.field(name, text);
                }
            } else if text != "null" {
                draft.field(name, text);
            }
        }
    }
}

/// Reads one JSON object as a record. One without a line in it is its own
/// line.
///
/// # Errors
/// Where this is no JSON object.
pub fn from_json<'a>(text: &'a [u8]) -> Result<Draft<'a>, serde_json::Error> {
    struct Object<'a>(Draft<'a>);
    impl<'de> Visitor<'de> for Object<'de> {
        type Value = Draft<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
            while let Some((name, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                pair(&mut self.0, name.0, value);
            }
            Ok(self.0)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut draft = json.deserialize_map(Object(Draft::default()))?;
    json.end()?;
    if draft.line.is_empty() {
        draft.line = Cow::Borrowed(text.trim_ascii());
    }
    Ok(draft)
}

/// A key, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The text of a JSON string, or any other JSON as it stands.
pub(super) fn value_of(raw: &RawValue) -> Value<'_> {
    match serde_json::from_str::<Key<'_>>(raw.get()) {
        Ok(Key(text)) => Value::Text(text),
        Err(_) => Value::Json(Cow::Borrowed(raw.get())),
    }
}

fn pair<'a>(draft: &mut Draft<'a>, name: Cow<'a, str>, raw: &'a RawValue) {
    let value = value_of(raw);
    // The Elastic Common Schema nests what others write with dots.
    let nested = matches!(&*name, "host" | "service" | "log" | "fields");
    if nested
        && let Value::Json(json) = &value
        && json.starts_with('{')
        && let Ok(inner) =
            serde_json::from_str::<std::collections::BTreeMap<Key<'a>, &'a RawValue>>(raw.get())
    {
        for (key, raw) in inner {
            let full = if name == "fields" {
                key.0
            } else {
                Cow::Owned(format!("{name}.{}", key.0))
            };
            put(draft, full, value_of(raw));
        }
        return;
    }
    put(draft, name, value);
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Key<'_> {}
impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::collect::testing::{collector, seen};
    use super::*;

    #[test]
    fn what_means_something_is_put_where_it_belongs() {
        let mut out = collector();
        let text = br#"{"@timestamp":"2023-11-14T22:13:20Z","log":{"level":"WARN"},"message":"a\nb","service":{"name":"api"},"host":{"name":"h1"},"n":5,"tags":["x"],"none":null,"fields":{"k":"v"},"time":"noon"}"#;
        out.add(&from_json(text).unwrap());
        out.add(&from_json(br#" {"a":1} "#).unwrap());
        let records = seen(&mut out);
        let first = &records[0];
        assert_eq!((first.line.as_str(), first.level), ("a\nb", Level::Warn));
        assert_eq!((first.service.as_str(), first.replica.as_str()), ("api", "h1"));
        assert_eq!(first.time, Some(1_700_000_000_000_000_000));
        let fields: Vec<(&str, &str)> = first.fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(
            fields,
            [("k", "v"), ("n", "5"), ("tags", "[\"x\"]"), ("time", "noon")]
        );
        assert_eq!(records[1].line, "{\"a\":1}");
        for bad in [&b"[]"[..], b"{}x", b"{\"a\":}", b"", b"\xff"] {
            assert!(from_json(bad).is_err());
        }
    }
}
