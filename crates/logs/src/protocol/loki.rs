//! Loki's push API: `PushRequest`, as protobuf and as JSON, and the labels in
//! either.
//!
//! Field numbers: grafana/loki, `pkg/push/push.proto`. JSON: Loki's HTTP API
//! reference, "Ingest logs".

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::{Key, Value, value_of};
use super::otlp::each;
use super::{Collector, Draft, Invalid, time};
use crate::record::Level;
use crate::wire::protobuf::Reader;

/// The labels that name a service, the most telling first, as Loki itself
/// looks for them.
const SERVICE: &[&str] = &[
    "service_name",
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
];
const REPLICA: &[&str] = &["replica", "instance", "pod", "host", "hostname"];
const LEVEL: &[&str] = &["level", "detected_level", "severity"];

/// A stream's labels.
pub type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// Reads a stream's labels as Prometheus writes them: `{app="web", zone="a"}`.
///
/// # Errors
/// Where they are not written so.
pub fn labels(text: &str) -> Result<Labels<'_>, Invalid> {
    let wrong = |why: &str| Invalid(format!("the labels of a stream are not readable: {why}"));
    let inner = text.trim();
    let inner = inner
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'))
        .ok_or_else(|| wrong("they begin with `{` and end with `}`"))?;
    let mut rest = inner.trim_start();
    let mut out = Labels::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(|| wrong("a `=` is missing"))?;
        let after = after
            .trim_start()
            .strip_prefix('"')
            .ok_or_else(|| wrong("a value stands in quotes"))?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, c)) => value.push(c),
                    None => return Err(wrong("a quote is not closed")),
                },
                Some((_, c)) => value.push(c),
                None => return Err(wrong("a quote is not closed")),
            }
        };
        out.insert(Cow::Borrowed(name.trim()), Cow::Owned(value));
        if out.len() > 128 {
            return Err(wrong("there are more than 128"));
        }
        let after = after.get(end + 1..).unwrap_or_default().trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.is_empty() => "",
            None => return Err(wrong("a `,` is missing")),
        };
    }
    Ok(out)
}

fn draft<'a>(labels: &Labels<'a>) -> Draft<'a> {
    let find = |names: &'static [&'static str]| names.iter().copied().find(|name| labels.contains_key(*name));
    let (service, replica) = (find(SERVICE), find(REPLICA));
    let level = find(LEVEL).and_then(|name| Some((name, Level::from_name(labels.get(name)?.as_bytes())?)));
    let mut draft = Draft {
        service: service.and_then(|name| labels.get(name).cloned()),
        replica: replica.and_then(|name| labels.get(name).cloned()),
        level: level.map(|(_, level)| level),
        ..Draft::default()
    };
    for (name, value) in labels {
        let used = [service, replica, level.map(|(name, _)| name)].contains(&Some(&**name));
        // What Loki's own clients add without being asked.
        if !used && name != "__stream_shard__" {
            draft.field(name.clone(), value.clone());
        }
    }
    draft
}

/// Reads a request in protobuf, decompressed.
///
/// # Errors
/// Where it is none.
pub fn protobuf(body: &[u8], out: &mut Collector) -> Result<(), Invalid> {
    let mut request = Reader::new(body);
    while let Some((number, stream)) = request.field()? {
        if number != 1 {
            continue;
        }
        let mut text = "{}";
        let mut fields = Reader::new(stream.bytes());
        while let Some((number, value)) = fields.field()? {
            if number == 1 {
                text = std::str::from_utf8(value.bytes())
                    .map_err(|_| Invalid("the labels of a stream are not UTF-8".to_owned()))?;
            }
        }
        let template = draft(&labels(text)?);
        let mut fields = Reader::new(stream.bytes());
        while let Some((number, value)) = fields.field()? {
            if number == 2 {
                let mut draft = template.clone();
                entry(value.bytes(), &mut draft)?;
                out.add(&draft);
            }
        }
    }
    Ok(())
}

fn entry<'a>(bytes: &'a [u8], draft: &mut Draft<'a>) -> Result<(), Invalid> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => {
                let (mut seconds, mut nanos) = (0_i64, 0_i64);
                let mut time = Reader::new(value.bytes());
                while let Some((number, value)) = time.field()? {
                    match number {
                        1 => seconds = value.number().cast_signed(),
                        2 => nanos = value.number().cast_signed(),
                        _ => {}
                    }
                }
                draft.time = seconds
                    .checked_mul(1_000_000_000)
                    .and_then(|n| n.checked_add(nanos));
            }
            2 => draft.line = Cow::Borrowed(value.bytes()),
            3 => {
                let (mut name, mut text) = (Cow::Borrowed(""), Cow::Borrowed(""));
                let mut pair = Reader::new(value.bytes());
                while let Some((number, value)) = pair.field()? {
                    match number {
                        1 => name = String::from_utf8_lossy(value.bytes()),
                        2 => text = String::from_utf8_lossy(value.bytes()),
                        _ => {}
                    }
                }
                metadata(draft, name, text);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Structured metadata: a field, or the level where the labels name none.
fn metadata<'a>(draft: &mut Draft<'a>, name: Cow<'a, str>, value: Cow<'a, str>) {
    if LEVEL.contains(&&*name)
        && draft.level.is_none()
        && let Some(level) = Level::from_name(value.as_bytes())
    {
        draft.level = Some(level);
    } else {
        draft.field(name, value);
    }
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    streams: &'a RawValue,
}

#[derive(Deserialize)]
struct Stream<'a> {
    #[serde(borrow, default)]
    stream: Labels<'a>,
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
    // The format of Loki before 1.0, which some clients still send.
    #[serde(borrow, default)]
    labels: Option<Key<'a>>,
    #[serde(borrow, default)]
    entries: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OldEntry<'a> {
    #[serde(borrow)]
    ts: Key<'a>,
    #[serde(borrow)]
    line: Key<'a>,
}

/// Reads a request in JSON.
///
/// # Errors
/// Where it is none.
pub fn json(body: &[u8], out: &mut Collector) -> Result<(), Invalid> {
    let push: Push<'_> = serde_json::from_slice(body)?;
    each(Some(push.streams), |raw| {
        let stream: Stream<'_> = serde_json::from_str(raw.get())?;
        let template = match &stream.labels {
            Some(Key(text)) => draft(&labels(text)?),
            None => draft(&stream.stream),
        };
        each(stream.values, |raw| {
            let mut draft = template.clone();
            let mut at = 0;
            each(Some(raw), |part| {
                match (at, value_of(part)) {
                    // Nanoseconds as a string; some send a number.
                    (0, Value::Text(text) | Value::Json(text)) => {
                        let when = text.parse::<i64>().ok();
                        draft.time = Some(when.ok_or_else(|| {
                            Invalid(format!(
                                "`{}` is not a time in nanoseconds",
                                text.escape_default()
                            ))
                        })?);
                    }
                    (1, Value::Text(text)) => {
                        draft.line = match text {
                            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                        };
                    }
                    (2, Value::Json(_)) => {
                        let pairs: Labels<'_> = serde_json::from_str(part.get())?;
                        for (name, value) in pairs {
                            metadata(&mut draft, name, value);
                        }
                    }
                    _ => {
                        return Err(Invalid(
                            "a value is [\"nanoseconds\", \"line\"] or [\"nanoseconds\", \"line\", {…}]"
                                .to_owned(),
                        ));
                    }
                }
                at += 1;
                Ok(())
            })?;
            if at < 2 {
                return Err(Invalid("a value without a line".to_owned()));
            }
            out.add(&draft);
            Ok(())
        })?;
        each(stream.entries, |raw| {
            let entry: OldEntry<'_> = serde_json::from_str(raw.get())?;
            let mut draft = template.clone();
            draft.time = time::of_text(&entry.ts.0);
            draft.line = Cow::Borrowed(entry.line.0.as_bytes());
            out.add(&draft);
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::collect::testing::{collector, seen};
    use super::*;
    use crate::wire::protobuf::Writer;

    #[test]
    fn labels_are_read_as_prometheus_writes_them() {
        let found = labels(r#"{app="we\"b", zone = "a,b=}" , }"#).unwrap();
        assert_eq!((&*found["app"], &*found["zone"]), ("we\"b", "a,b=}"));
        assert!(labels("{}").unwrap().is_empty());
        for bad in ["", "{", "{a}", "{a=b}", "{a=\"b}", "{a=\"b\" c=\"d\"}"] {
            assert!(labels(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_of_now_and_of_before() {
        let mut out = collector();
        json(br#"{"streams":[{"values":[["1570818238000000000","fizz\"buzz",{"trace_id":"abc","detected_level":"warn"}],["2","b"]],"stream":{"app":"web","host":"h","zone":"a"}},
            {"labels":"{job=\"old\"}","entries":[{"ts":"2023-11-14T22:13:20Z","line":"x"}]}]}"#, &mut out).unwrap();
        let records = seen(&mut out);
        let first = &records[0];
        assert_eq!(
            (
                first.service.as_str(),
                first.replica.as_str(),
                first.line.as_str()
            ),
            ("web", "h", "fizz\"buzz")
        );
        assert_eq!(
            (first.time, first.level),
            (Some(1_570_818_238_000_000_000), Level::Warn)
        );
        assert_eq!(
            (first.fields["trace_id"].as_str(), first.fields["zone"].as_str()),
            ("abc", "a")
        );
        assert_eq!(records[1].fields.len(), 1);
        assert_eq!(
            (records[2].service.as_str(), records[2].time),
            ("old", Some(1_700_000_000_000_000_000))
        );
        for bad in [
            &b"{}"[..],
            br#"{"streams":[{"values":[["x","y"]]}]}"#,
            br#"{"streams":[{"values":[["1"]]}]}"#,
        ] {
            assert!(json(bad, &mut out).is_err());
        }
    }

    #[test]
    fn protobuf_says_the_same() {
        let mut writer = Writer::default();
        writer.message(1, |stream| {
            stream.message(2, |entry| {
                entry.message(1, |time| {
                    time.varint(1, 5);
                    time.varint(2, 6);
                });
                entry.bytes(2, b"line");
                entry.message(3, |pair| {
                    pair.bytes(1, b"k");
                    pair.bytes(2, b"v");
                });
            });
            stream.bytes(1, b"{job=\"j\", level=\"error\"}");
        });
        let mut out = collector();
        protobuf(&writer.finish(), &mut out).unwrap();
        let record = seen(&mut out).remove(0);
        assert_eq!((record.service.as_str(), record.line.as_str()), ("j", "line"));
        assert_eq!((record.time, record.level), (Some(5_000_000_006), Level::Error));
        assert_eq!(record.fields["k"], "v");
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:=a-z0-9]{0,80}") {
            let _ = protobuf(&bytes, &mut collector());
            let _ = json(text.as_bytes(), &mut collector());
            let _ = labels(&text);
        }
    }
}
