//! Loki's push API.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::header;

use super::http::{HttpTarget, ask};
use super::{Destination, Failure, Parcel, Taken};
use crate::record::Level;
use crate::search::Entry;
use crate::wire::compress::snappy;
use crate::wire::protobuf::Writer;

/// Loki: a stream for each service and level; all else is structured metadata,
/// so that labels stay few.
#[derive(Debug)]
pub struct Loki {
    target: HttpTarget,
    labels: BTreeMap<String, String>,
}

impl Loki {
    /// Where Loki takes records, below its address.
    pub const PATH: &'static str = "/loki/api/v1/push";

    /// Loki at this target; every stream gets these labels.
    #[must_use]
    pub fn new(target: HttpTarget, labels: BTreeMap<String, String>) -> Self {
        Self { target, labels }
    }

    fn stream(&self, service: &str, level: Level) -> String {
        let mut labels = self.labels.clone();
        labels.insert("service_name".to_owned(), service.to_owned());
        if level != Level::Unknown {
            labels.insert("level".to_owned(), level.name().to_owned());
        }
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{}={}", label_name(name), quoted(value)))
            .collect();
        format!("{{{}}}", pairs.join(", "))
    }

    fn encode(&self, entries: &[Entry]) -> Vec<u8> {
        let mut streams: BTreeMap<(&str, Level), Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            streams
                .entry((&entry.source.service, entry.level))
                .or_default()
                .push(entry);
        }
        let mut writer = Writer::default();
        for ((service, level), entries) in streams {
            writer.message(1, |stream| {
                stream.bytes(1, self.stream(service, level).as_bytes());
                for entry in entries {
                    stream.message(2, |message| write(entry, message));
                }
            });
        }
        writer.finish()
    }
}

fn write(entry: &Entry, message: &mut Writer) {
    message.message(1, |time| {
        time.varint(1, entry.time.div_euclid(1_000_000_000).cast_unsigned());
        time.varint(2, entry.time.rem_euclid(1_000_000_000).cast_unsigned());
    });
    message.bytes(2, String::from_utf8_lossy(&entry.line).as_bytes());
    let replica = (!entry.source.replica.is_empty()).then_some(("replica", &*entry.source.replica));
    let fields = entry
        .fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in replica.into_iter().chain(fields) {
        message.message(3, |pair| {
            pair.bytes(1, label_name(name).as_bytes());
            pair.bytes(2, value.as_bytes());
        });
    }
}

/// A name as Loki takes it.
fn label_name(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('_'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[async_trait]
impl Destination for Loki {
    fn kind(&self) -> &'static str {
        "loki"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let body = snappy(&self.encode(parcel.entries)).map_err(|_| Failure::TooLarge)?;
        let request = self
            .target
            .post("application/x-protobuf", body)
            .header(header::CONTENT_ENCODING, "snappy");
        ask(request).await?;
        Ok(Taken::default())
    }
}
