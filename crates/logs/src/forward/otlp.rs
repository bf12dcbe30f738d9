//! OTLP over HTTP.

use std::collections::BTreeMap;

use async_trait::async_trait;
use data_encoding::HEXLOWER_PERMISSIVE;
use reqwest::header;

use super::http::{HttpTarget, ask};
use super::{Destination, Failure, Parcel, Taken};
use crate::record::{Level, Source};
use crate::search::Entry;
use crate::wire::compress::gzip;
use crate::wire::protobuf::{Reader, Writer};

/// A collector, or whatever else takes OTLP over HTTP.
#[derive(Debug)]
pub struct Otlp {
    target: HttpTarget,
}

impl Otlp {
    /// Where records are taken, below the address.
    pub const PATH: &'static str = "/v1/logs";

    /// A collector at this target.
    #[must_use]
    pub fn new(target: HttpTarget) -> Self {
        Self { target }
    }
}

fn attribute(writer: &mut Writer, number: u32, name: &str, value: &str) {
    writer.message(number, |pair| {
        pair.bytes(1, name.as_bytes());
        pair.message(2, |any| any.bytes(1, value.as_bytes()));
    });
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut sources: BTreeMap<(&str, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let Source { service, replica, .. } = &*entry.source;
        sources.entry((service, replica)).or_default().push(entry);
    }
    let mut writer = Writer::default();
    for ((service, replica), entries) in sources {
        writer.message(1, |of_resource| {
            of_resource.message(1, |resource| {
                attribute(resource, 1, "service.name", service);
                if !replica.is_empty() {
                    attribute(resource, 1, "service.instance.id", replica);
                }
            });
            of_resource.message(2, |scope| {
                for entry in entries {
                    scope.message(2, |record| write(entry, record));
                }
            });
        });
    }
    writer.finish()
}

fn severity(level: Level) -> u64 {
    match level {
        Level::Unknown => 0,
        Level::Trace => 1,
        Level::Debug => 5,
        Level::Info => 9,
        Level::Notice => 10,
        Level::Warn => 13,
        Level::Error => 17,
        Level::Fatal => 21,
    }
}

fn id(text: Option<&str>, length: usize) -> Option<Vec<u8>> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text?.as_bytes()).ok()?;
    (bytes.len() == length).then_some(bytes)
}

fn write(entry: &Entry, record: &mut Writer) {
    record.fixed64(1, entry.time.max(0).cast_unsigned());
    record.fixed64(11, entry.time.max(0).cast_unsigned());
    if entry.level != Level::Unknown {
        record.varint(2, severity(entry.level));
        record.bytes(3, entry.level.name().as_bytes());
    }
    record.message(5, |any| {
        any.bytes(1, String::from_utf8_lossy(&entry.line).as_bytes());
    });
    let field = |name: &str| {
        let found = entry.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let trace = id(entry.trace.as_deref(), 16);
    let span = id(field("span_id"), 8);
    for (name, value) in &entry.fields {
        let has_place = (name == "trace_id" && trace.is_some()) || (name == "span_id" && span.is_some());
        if !has_place {
            attribute(record, 6, name, value);
        }
    }
    if let Some(trace) = &trace {
        record.bytes(9, trace);
    }
    if let Some(span) = &span {
        record.bytes(10, span);
    }
}

/// What a collector says that it will never take: how many, and why.
fn partial(answer: &[u8]) -> Option<(u64, String)> {
    let mut fields = Reader::new(answer);
    while let Some((number, value)) = fields.field().ok()? {
        if number == 1 {
            let (mut rejected, mut why) = (0, String::new());
            let mut partial = Reader::new(value.bytes());
            while let Some((number, value)) = partial.field().ok()? {
                match number {
                    1 => rejected = value.number(),
                    2 => why = String::from_utf8_lossy(value.bytes()).chars().take(300).collect(),
                    _ => {}
                }
            }
            return Some((rejected, why));
        }
    }
    None
}

#[async_trait]
impl Destination for Otlp {
    fn kind(&self) -> &'static str {
        "otlp"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let body = gzip(&encode(parcel.entries)).map_err(|error| Failure::unavailable(error.to_string()))?;
        let request = self
            .target
            .post("application/x-protobuf", body)
            .header(header::CONTENT_ENCODING, "gzip");
        let answer = ask(request).await?;
        let (rejected, why) = partial(&answer).unwrap_or_default();
        Ok(Taken {
            unnamed: rejected.min(parcel.entries.len() as u64),
            why,
            ..Taken::default()
        })
    }
}
