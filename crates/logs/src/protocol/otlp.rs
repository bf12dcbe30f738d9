//! OTLP/HTTP's logs: `ExportLogsServiceRequest`, as protobuf and as JSON.
//!
//! Field numbers: opentelemetry-proto, `opentelemetry/proto/logs/v1/logs.proto`,
//! `common/v1/common.proto`, `resource/v1/resource.proto` and
//! `collector/logs/v1/logs_service.proto`. JSON: the same names in camelCase,
//! ids in hexadecimal, 64-bit numbers as strings (OTLP specification, "JSON
//! Protobuf Encoding").

use std::borrow::Cow;
use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::document::Key;
use super::{Collector, Draft, Invalid};
use crate::record::Level;
use crate::wire::Malformed;
use crate::wire::protobuf::{Reader, Value, Writer};

/// How deep a body or an attribute may be nested.
const MAX_DEPTH: usize = 16;

/// What a resource says of all records under it.
#[derive(Debug, Default, Clone)]
struct Resource<'a> {
    service: Option<Cow<'a, str>>,
    replica: Option<Cow<'a, str>>,
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Resource<'a> {
    fn put(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match &*name {
            "service.name" => self.service = Some(value),
            "service.instance.id" => self.replica = Some(value),
            "host.name" | "k8s.pod.name" if self.replica.is_none() => self.replica = Some(value),
            _ if self.fields.len() < 128 => self.fields.push((name, value)),
            _ => {}
        }
    }

    fn draft(&self) -> Draft<'a> {
        let mut draft = Draft {
            service: self.service.clone(),
            replica: self.replica.clone(),
            ..Draft::default()
        };
        for (name, value) in &self.fields {
            draft.field(name.clone(), value.clone());
        }
        draft
    }
}

/// Reads a request in protobuf.
///
/// # Errors
/// Where it is none.
pub fn protobuf(body: &[u8], out: &mut Collector) -> Result<(), Invalid> {
    let mut request = Reader::new(body);
    while let Some((number, value)) = request.field()? {
        if number != 1 {
            continue;
        }
        let mut resource = Resource::default();
        // The resource may stand behind what it describes.
        let mut fields = Reader::new(value.bytes());
        while let Some((number, value)) = fields.field()? {
            if number == 1 {
                let mut attributes = Reader::new(value.bytes());
                while let Some((number, value)) = attributes.field()? {
                    if number == 1 {
                        let (name, value) = pair(value.bytes())?;
                        resource.put(name, value);
                    }
                }
            }
        }
        let mut fields = Reader::new(value.bytes());
        while let Some((number, value)) = fields.field()? {
            if number == 2 {
                scope(value.bytes(), &resource, out)?;
            }
        }
    }
    Ok(())
}

fn scope<'a>(bytes: &'a [u8], resource: &Resource<'a>, out: &mut Collector) -> Result<(), Malformed> {
    let mut name = None;
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.field()? {
        if number == 1 {
            let mut scope = Reader::new(value.bytes());
            while let Some((number, value)) = scope.field()? {
                if number == 1 {
                    name = Some(String::from_utf8_lossy(value.bytes()));
                }
            }
        }
    }
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.field()? {
        if number == 2 {
            let mut draft = resource.draft();
            if let Some(name) = &name {
                draft.field("otel.scope.name", name.clone());
            }
            record(value.bytes(), &mut draft)?;
            out.add(&draft);
        }
    }
    Ok(())
}

fn record<'a>(bytes: &'a [u8], draft: &mut Draft<'a>) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    let mut observed = 0;
    let mut text = Cow::Borrowed("");
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => draft.time = time(value.number()),
            2 => draft.level = severity(value.number()),
            3 => text = String::from_utf8_lossy(value.bytes()),
            5 => {
                draft.line = match any(value.bytes(), 0)? {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                }
            }
            6 => {
                let (name, value) = pair(value.bytes())?;
                draft.field(name, value);
            }
            9 => id(draft, "trace_id", value.bytes()),
            10 => id(draft, "span_id", value.bytes()),
            11 => observed = value.number(),
            12 => draft.field("event.name", String::from_utf8_lossy(value.bytes())),
            _ => {}
        }
    }
    draft.time = draft.time.or_else(|| time(observed));
    severity_text(draft, text);
    Ok(())
}

fn severity(number: u64) -> Option<Level> {
    let level = Level::from_otlp(u32::try_from(number).unwrap_or(0));
    (level != Level::Unknown).then_some(level)
}

/// The level's own name, which counts where its number is missing and is kept
/// where it says something else.
fn severity_text<'a>(draft: &mut Draft<'a>, text: Cow<'a, str>) {
    let named = Level::from_name(text.as_bytes());
    draft.level = draft.level.or(named);
    if named != draft.level {
        draft.field("severity_text", text);
    }
}

fn time(nanoseconds: u64) -> Option<i64> {
    i64::try_from(nanoseconds).ok().filter(|at| *at != 0)
}

fn id(draft: &mut Draft<'_>, name: &'static str, bytes: &[u8]) {
    // All zeroes: not valid, by the data model.
    if matches!(bytes.len(), 8 | 16) && bytes.iter().any(|b| *b != 0) {
        draft.field(name, HEXLOWER.encode(bytes));
    }
}

fn pair(bytes: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), Malformed> {
    let (mut name, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => name = String::from_utf8_lossy(field.bytes()),
            2 => value = any(field.bytes(), 0)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// An `AnyValue`: a text as it is, the rest as JSON.
fn any(bytes: &[u8], depth: usize) -> Result<Cow<'_, str>, Malformed> {
    if depth == 0 {
        let mut reader = Reader::new(bytes);
        // A text is by far the most frequent, and costs no copy.
        if let Some((1, Value::Bytes(text))) = reader.field()?
            && reader.field()?.is_none()
        {
            return Ok(String::from_utf8_lossy(text));
        }
    }
    let mut json = String::new();
    any_json(bytes, depth, &mut json)?;
    if depth == 0 && json == "null" {
        json.clear();
    }
    Ok(Cow::Owned(json))
}

fn any_json(bytes: &[u8], depth: usize, out: &mut String) -> Result<(), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed {
            what: "a value is nested too deeply",
            at: 0,
        });
    }
    let mut last = None;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        last = Some(field);
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match last {
        Some((1, text)) => out.push_str(&quoted(&String::from_utf8_lossy(text.bytes()))),
        Some((2, value)) => out.push_str(if value.number() != 0 { "true" } else { "false" }),
        Some((3, value)) => out.push_str(&value.number().cast_signed().to_string()),
        Some((4, value)) => {
            out.push_str(&serde_json::Value::from(f64::from_bits(value.number())).to_string());
        }
        Some((5, list)) => {
            out.push('[');
            let mut values = Reader::new(list.bytes());
            let mut first = true;
            while let Some((number, value)) = values.field()? {
                if number == 1 {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    any_json(value.bytes(), depth + 1, out)?;
                }
            }
            out.push(']');
        }
        Some((6, list)) => {
            out.push('{');
            let mut pairs = Reader::new(list.bytes());
            let mut first = true;
            while let Some((number, value)) = pairs.field()? {
                if number != 1 {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                let (mut name, mut inner) = (Cow::Borrowed(""), &[][..]);
                let mut reader = Reader::new(value.bytes());
                while let Some((number, field)) = reader.field()? {
                    match number {
                        1 => name = String::from_utf8_lossy(field.bytes()),
                        2 => inner = field.bytes(),
                        _ => {}
                    }
                }
                out.push_str(&quoted(&name));
                out.push(':');
                any_json(inner, depth + 1, out)?;
            }
            out.push('}');
        }
        Some((7, bytes)) => out.push_str(&quoted(&BASE64.encode(bytes.bytes()))),
        _ => out.push_str("null"),
    }
    Ok(())
}

/// The answer to a request in protobuf: empty where all was taken.
#[must_use]
pub fn answer(rejected: u64, message: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    if rejected > 0 {
        writer.message(1, |partial| {
            partial.varint(1, rejected);
            partial.bytes(2, message.as_bytes());
        });
    }
    writer.finish()
}

/// A `google.rpc.Status`, which is the answer to a refused request.
#[must_use]
pub fn status(code: u64, message: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.varint(1, code);
    writer.bytes(2, message.as_bytes());
    writer.finish()
}

/// Calls a function with each element of a JSON array, which is never whole in
/// memory.
struct Each<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> Result<(), Invalid>> DeserializeSeed<'de> for Each<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&'de RawValue) -> Result<(), Invalid>> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            (self.0)(element).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

/// Calls a function with each element of a list.
///
/// # Errors
/// Where it is no list, and what the function refuses.
pub(super) fn each<'a>(
    raw: Option<&'a RawValue>,
    call: impl FnMut(&'a RawValue) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    match raw {
        Some(raw) if raw.get() != "null" => {
            let mut json = serde_json::Deserializer::from_str(raw.get());
            Each(call).deserialize(&mut json)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// An attribute in JSON.
#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(borrow)]
    key: Key<'a>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

fn attributes<'a>(
    raw: Option<&'a RawValue>,
    mut put: impl FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Result<(), Invalid> {
    each(raw, |raw| {
        let attribute: Attribute<'a> = serde_json::from_str(raw.get())?;
        if let Some(value) = attribute.value {
            put(attribute.key.0, any_of_json(value, true)?);
        }
        Ok(())
    })
}

/// An `AnyValue` in JSON, as [`any`].
fn any_of_json(raw: &RawValue, plain: bool) -> Result<Cow<'_, str>, Invalid> {
    struct One<'a>(Option<(Cow<'a, str>, &'a RawValue)>);
    struct OneVisitor;
    impl<'de> Visitor<'de> for OneVisitor {
        type Value = One<'de>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value such as {\"stringValue\": \"text\"}")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<One<'de>, A::Error> {
            let first = map.next_entry::<Key<'de>, &'de RawValue>()?;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(One(first.map(|(key, raw)| (key.0, raw))))
        }
    }
    let One(value) = serde_json::Deserializer::from_str(raw.get()).deserialize_map(OneVisitor)?;
    let Some((kind, raw)) = value else {
        return Ok(Cow::Borrowed(if plain { "" } else { "null" }));
    };
    Ok(match &*kind {
        "stringValue" | "bytesValue" if plain => serde_json::from_str::<Key<'_>>(raw.get())?.0,
        // A 64-bit number may be written as a string.
        "intValue" => Cow::Borrowed(raw.get().trim_matches('"')),
        "arrayValue" | "kvlistValue" => {
            let inner: Values<'_> = serde_json::from_str(raw.get())?;
            let list = kind == "arrayValue";
            let mut out = String::from(if list { "[" } else { "{" });
            each(inner.values, |raw| {
                if out.len() > 1 {
                    out.push(',');
                }
                if list {
                    out.push_str(&any_of_json(raw, false)?);
                } else {
                    let pair: Attribute<'_> = serde_json::from_str(raw.get())?;
                    out.push_str(&serde_json::Value::from(&*pair.key.0).to_string());
                    out.push(':');
                    out.push_str(&match pair.value {
                        Some(value) => any_of_json(value, false)?,
                        None => Cow::Borrowed("null"),
                    });
                }
                Ok(())
            })?;
            out.push(if list { ']' } else { '}' });
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(raw.get()),
    })
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_logs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    #[serde(borrow, default)]
    resource: Option<Attributed<'a>>,
    #[serde(borrow, default)]
    scope_logs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Attributed<'a> {
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    #[serde(borrow, default)]
    scope: Option<Scope<'a>>,
    #[serde(borrow, default)]
    log_records: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Scope<'a> {
    #[serde(borrow, default)]
    name: Option<Key<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRecord<'a> {
    #[serde(borrow, default)]
    time_unix_nano: Option<&'a RawValue>,
    #[serde(borrow, default)]
    observed_time_unix_nano: Option<&'a RawValue>,
    #[serde(default)]
    severity_number: Option<u64>,
    #[serde(borrow, default)]
    severity_text: Option<Key<'a>>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    trace_id: Option<Key<'a>>,
    #[serde(borrow, default)]
    span_id: Option<Key<'a>>,
    #[serde(borrow, default)]
    event_name: Option<Key<'a>>,
}

/// Reads a request in JSON.
///
/// # Errors
/// Where it is none.
pub fn json(body: &[u8], out: &mut Collector) -> Result<(), Invalid> {
    let request: Request<'_> = serde_json::from_slice(body)?;
    each(request.resource_logs, |raw| {
        let logs: ResourceLogs<'_> = serde_json::from_str(raw.get())?;
        let mut resource = Resource::default();
        if let Some(described) = logs.resource {
            attributes(described.attributes, |name, value| resource.put(name, value))?;
        }
        each(logs.scope_logs, |raw| {
            let scope: ScopeLogs<'_> = serde_json::from_str(raw.get())?;
            let name = scope.scope.and_then(|scope| scope.name);
            each(scope.log_records, |raw| {
                let mut draft = resource.draft();
                if let Some(name) = &name {
                    draft.field("otel.scope.name", name.0.clone());
                }
                json_record(raw, &mut draft)?;
                out.add(&draft);
                Ok(())
            })
        })
    })
}

fn json_record<'a>(raw: &'a RawValue, draft: &mut Draft<'a>) -> Result<(), Invalid> {
    let record: JsonRecord<'a> = serde_json::from_str(raw.get())?;
    let moment = |raw: Option<&RawValue>| time(raw?.get().trim_matches('"').parse().ok()?);
    draft.time = moment(record.time_unix_nano).or_else(|| moment(record.observed_time_unix_nano));
    draft.level = record.severity_number.and_then(severity);
    severity_text(
        draft,
        record.severity_text.map_or(Cow::Borrowed(""), |text| text.0),
    );
    if let Some(body) = record.body {
        draft.line = match any_of_json(body, true)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
    }
    let mut found = Vec::new();
    attributes(record.attributes, |name, value| found.push((name, value)))?;
    for (name, value) in found {
        draft.field(name, value);
    }
    for (name, value) in [("trace_id", record.trace_id), ("span_id", record.span_id)] {
        if let Some(Key(value)) = value
            && value.bytes().any(|b| b != b'0')
        {
            draft.field(name, value.to_ascii_lowercase());
        }
    }
    if let Some(Key(name)) = record.event_name {
        draft.field("event.name", name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::collect::testing::{collector, seen};
    use super::*;

    // The example of the OTLP repository, `examples/logs.json`, shortened.
    const EXAMPLE: &str = r#"{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"my.library"},"logRecords":[
        {"timeUnixNano":"1544712660300000000","severityNumber":10,"severityText":"Information",
         "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174",
         "body":{"stringValue":"Example log record"},
         "attributes":[{"key":"string.attribute","value":{"stringValue":"some \"string\""}},
            {"key":"int.attribute","value":{"intValue":"10"}},{"key":"double","value":{"doubleValue":637.704}},
            {"key":"array","value":{"arrayValue":{"values":[{"stringValue":"many"},{"boolValue":true}]}}},
            {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}]}]}],
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]}}]}"#;

    #[test]
    fn the_example_in_json() {
        let mut out = collector();
        json(EXAMPLE.as_bytes(), &mut out).unwrap();
        let record = seen(&mut out).remove(0);
        assert_eq!(
            (record.service.as_str(), record.line.as_str()),
            ("my.service", "Example log record")
        );
        assert_eq!(record.time, Some(1_544_712_660_300_000_000));
        let fields = &record.fields;
        assert_eq!(fields["trace_id"], "5b8efff798038103d269b633813fc60c");
        assert_eq!(fields["string.attribute"], "some \"string\"");
        assert_eq!(
            (fields["int.attribute"].as_str(), fields["double"].as_str()),
            ("10", "637.704")
        );
        assert_eq!(
            (fields["array"].as_str(), fields["map"].as_str()),
            (r#"["many",true]"#, r#"{"k":"v"}"#)
        );
        assert_eq!(fields["otel.scope.name"], "my.library");
        assert!(json(b"{\"resourceLogs\":5}", &mut out).is_err());
        assert!(json(b"{}", &mut out).is_ok());
    }

    fn attribute(writer: &mut Writer, number: u32, name: &str, value: impl FnOnce(&mut Writer)) {
        writer.message(number, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, value);
        });
    }

    #[test]
    fn protobuf_says_the_same() {
        let mut writer = Writer::default();
        writer.message(1, |logs| {
            logs.message(2, |scope| {
                scope.message(2, |record| {
                    record.fixed64(1, 7);
                    record.varint(2, 17);
                    record.message(5, |body| body.bytes(1, b"oops"));
                    attribute(record, 6, "n", |value| value.varint(3, (-5_i64).cast_unsigned()));
                    attribute(record, 6, "l", |value| {
                        value.message(5, |list| list.message(1, |one| one.bytes(1, b"x")));
                    });
                    record.bytes(9, &[0xab; 16]);
                });
                scope.message(1, |scope| scope.bytes(1, b"lib"));
            });
            logs.message(1, |resource| {
                attribute(resource, 1, "service.name", |value| value.bytes(1, b"api"));
                attribute(resource, 1, "zone", |value| value.bytes(1, b"a"));
            });
        });
        let mut out = collector();
        protobuf(&writer.finish(), &mut out).unwrap();
        let record = seen(&mut out).remove(0);
        assert_eq!((record.service.as_str(), record.line.as_str()), ("api", "oops"));
        assert_eq!((record.time, record.level), (Some(7), Level::Error));
        let fields: Vec<(&str, &str)> = record.fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        let trace = "ab".repeat(16);
        assert_eq!(
            fields,
            [
                ("l", "[\"x\"]"),
                ("n", "-5"),
                ("otel.scope.name", "lib"),
                ("trace_id", &trace),
                ("zone", "a")
            ]
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(proptest::arbitrary::any::<u8>(), 0..200), text in "[{}\\[\\]\",:a-zA-Z0-9]{0,80}") {
            let _ = protobuf(&bytes, &mut collector());
            let _ = json(text.as_bytes(), &mut collector());
        }
    }
}
