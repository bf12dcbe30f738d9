//! The entry of every fuzz target: what takes bytes from outside, or from a
//! disk, and what must hold of it. `fuzz/` runs them under libFuzzer;
//! `tests/fuzz_corpora.rs` runs them over the kept corpora, and over what
//! becomes of those by chance, for a bounded time, with any toolchain.

use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::pipeline::redact::Redactor;
use crate::protocol::syslog_frame::Framer;
use crate::protocol::{Collector, Names, elastic, fluent, lines, loki, otlp, syslog};
use crate::query;
use crate::record::{Batch, MAX_RECORD_BYTES, Source, Stream, escape_into, json_string_into};
use crate::wire::compress::Encoding;
use crate::wire::{msgpack, protobuf};

/// A target: its name, which is that of its corpus, and its entry.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("batch", batch),
    ("block", block),
    ("compress", compress),
    ("config", config),
    ("elastic_bulk", elastic_bulk),
    ("escape", escape),
    ("fluent", fluent),
    ("fluent_ping", fluent_ping),
    ("frame", frame),
    ("lines", json_lines),
    ("loki_json", loki_json),
    ("loki_labels", loki_labels),
    ("loki_protobuf", loki_protobuf),
    ("msgpack", msgpack),
    ("otlp_json", otlp_json),
    ("otlp_protobuf", otlp_protobuf),
    ("protobuf", protobuf),
    ("query", question),
    ("recognise", recognise),
    ("redact", redact),
    ("syslog", syslog_message),
    ("syslog_frame", syslog_frame),
];

/// No body becomes larger than this in a target.
const LIMIT: usize = 1 << 20;

fn collector() -> Collector {
    Collector::new(Names::new(16), "fuzz", "peer")
}

/// What a collector holds is sound, whatever came.
fn check(mut collector: Collector) {
    let expected = collector.len();
    let batches = collector.take();
    let mut records = 0;
    for batch in &batches {
        for record in batch.iter() {
            records += 1;
            assert!(record.line.len() <= MAX_RECORD_BYTES + 64);
            assert!(record.source.service.len() <= Source::MAX_NAME_BYTES);
            assert!(!record.source.service.contains('\n'));
        }
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        assert_eq!(Batch::decode(&bytes).map(|batch| batch.len()), Some(batch.len()));
    }
    assert_eq!(records, expected);
}

/// A batch as the journal holds it.
fn batch(data: &[u8]) {
    if let Some(batch) = Batch::decode(data) {
        for record in batch.iter() {
            let _ = record.fields.count();
        }
    }
}

/// A block of a segment, decompressed.
fn block(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (text, meta) = rest.split_at(rest.len().min(usize::from(*first)));
    for count in [0, 1, 2, 5] {
        let _ = crate::segment::data::read_raw(text, meta, count);
    }
}

/// Every encoding of bodies.
fn compress(data: &[u8]) {
    for encoding in [
        Encoding::Gzip,
        Encoding::Deflate,
        Encoding::Snappy,
        Encoding::Zstd,
    ] {
        if let Ok(decoded) = encoding.decode(data, LIMIT) {
            assert!(decoded.len() <= LIMIT);
        }
    }
}

/// The standalone proxy's configuration.
fn config(data: &[u8]) {
    use crate::standalone::Config;
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(error) = Config::parse("fuzz", text)
    {
        assert!(error.message.starts_with("fuzz:"));
    }
}

fn elastic_bulk(data: &[u8]) {
    let mut out = collector();
    let read = elastic::bulk(data, Some("index"), &mut out);
    if let Ok(answer) = read {
        let _ = answer.json(0, 0).to_string();
        check(out);
    }
    let mut out = collector();
    if elastic::document(data, "index", &mut out).is_ok() {
        check(out);
    }
}

/// Nothing that is shown moves a cursor or looks like two lines.
fn escape(data: &[u8]) {
    let mut text = String::new();
    escape_into(&mut text, data);
    assert!(!text.chars().any(|c| c.is_control() && c != '\t'));
    let mut json = String::new();
    json_string_into(&mut json, data);
    assert!(serde_json::from_str::<String>(&json).is_ok());
}

fn fluent(data: &[u8]) {
    let mut scanner = msgpack::Scanner::default();
    let mut rest = data;
    while let Ok(Some(length)) = scanner.scan(rest) {
        let (message, after) = rest.split_at(length);
        let mut out = collector();
        if fluent::message(message, LIMIT, &mut out).is_ok() {
            check(out);
        }
        rest = after;
    }
}

fn fluent_ping(data: &[u8]) {
    let handshake = fluent::Handshake::new([7; 16], "server");
    if let Ok((good, _)) = handshake.pong(data, b"a key that nobody guesses") {
        assert!(!good);
    }
}

/// A journal's frame.
fn frame(data: &[u8]) {
    if let Some(frame) = crate::frame::Frame::decode(1, data) {
        assert_eq!(frame.end() - frame.first, frame.batch.len() as u64);
    }
}

fn json_lines(data: &[u8]) {
    let mut out = collector();
    lines::body(data, &mut out);
    check(out);
}

fn loki_json(data: &[u8]) {
    let mut out = collector();
    if loki::json(data, &mut out).is_ok() {
        check(out);
    }
}

fn loki_labels(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(labels) = loki::labels(text)
    {
        assert!(labels.len() <= 128);
    }
}

fn loki_protobuf(data: &[u8]) {
    let mut out = collector();
    if loki::protobuf(data, &mut out).is_ok() {
        check(out);
    }
}

fn msgpack(data: &[u8]) {
    // The scanner and the reader agree where a value ends.
    let scanned = msgpack::Scanner::default().scan(data);
    let mut reader = msgpack::Reader::new(data);
    if let (Ok(Some(length)), Ok(value)) = (&scanned, reader.skip()) {
        assert_eq!(*length, value.len());
    }
    let mut json = String::new();
    if msgpack::Reader::new(data).json(&mut json).is_ok() {
        assert!(
            serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(),
            "{json}"
        );
    }
}

fn otlp_json(data: &[u8]) {
    let mut out = collector();
    if otlp::json(data, &mut out).is_ok() {
        check(out);
    }
}

fn otlp_protobuf(data: &[u8]) {
    let mut out = collector();
    if otlp::protobuf(data, &mut out).is_ok() {
        check(out);
    }
}

fn protobuf(data: &[u8]) {
    let mut reader = protobuf::Reader::new(data);
    let mut taken = 0;
    while let Ok(Some((_, value))) = reader.field() {
        taken += value.bytes().len();
    }
    assert!(taken <= data.len());
}

/// A question, and that asking it does no harm.
fn question(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(expr) = query::parse(text) {
        let source = Source::new("shop/production/web", "web.1", Stream::Stdout);
        let batch = Batch::of_lines(&source, [data, b"status=500 error", b"{\"a\":{\"b\":1}}"]);
        for record in batch.iter() {
            let _ = expr.matches(&record);
        }
    }
}

fn recognise(data: &[u8]) {
    let source = Source::new("a", "", Stream::Stdout);
    let batch = Batch::of_lines(&source, [data]);
    let mut recogniser = crate::recognise::Recogniser::default();
    for record in batch.iter() {
        let _ = recogniser.level(record.line);
        let _ = recogniser.times.find(record.line, 1_700_000_000_000_000_000);
        let _ = crate::recognise::trace_id(&record);
        let _ = crate::recognise::field(record.line, record.fields, "a.b");
    }
}

/// What was redacted once has nothing left to redact of the same kind, and
/// nothing is invented.
fn redact(data: &[u8]) {
    static REDACTOR: OnceLock<Option<Redactor>> = OnceLock::new();
    let made = || Redactor::new([&b"hunter2-hunter2"[..]]).ok();
    let Some(redactor) = REDACTOR.get_or_init(made) else {
        return;
    };
    let mut out = Vec::new();
    crate::pipeline::redact_line(redactor, data, &mut out);
    assert!(memchr::memmem::find(&out, b"hunter2-hunter2").is_none());
}

fn syslog_message(data: &[u8]) {
    let clock = syslog::Clock {
        now: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
    };
    let mut out = collector();
    syslog::message(data, &clock, 0, &mut out);
    check(out);
}

/// How a stream comes in pieces changes nothing of its messages.
fn syslog_frame(data: &[u8]) {
    const LONGEST: usize = 64;
    let frames = |step: usize| {
        let mut framer = Framer::new(LONGEST);
        let mut found = Vec::new();
        for piece in data.chunks(step) {
            framer.push(piece);
            while let Some(frame) = framer.next() {
                assert!(frame.bytes.len() <= LONGEST);
                found.push(frame);
            }
        }
        found.extend(framer.finish());
        found
    };
    assert_eq!(frames(1), frames(data.len().max(1)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(path: &str) -> Vec<u8> {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        std::fs::read(corpus.join(path)).unwrap()
    }

    /// From what is refused at once nothing deeper is ever reached.
    #[test]
    fn the_kept_inputs_are_what_they_should_be() {
        assert_eq!(Batch::decode(&kept("batch/two")).unwrap().len(), 2);
        for (name, count) in [("block/two", 2), ("block/stamp", 1), ("block/packed", 1)] {
            let bytes = kept(name);
            let (text, meta) = bytes[1..].split_at(usize::from(bytes[0]));
            assert!(crate::segment::data::read_raw(text, meta, count), "{name}");
        }
        for (name, encoding) in [
            ("gzip", Encoding::Gzip),
            ("deflate", Encoding::Deflate),
            ("snappy", Encoding::Snappy),
            ("zstd", Encoding::Zstd),
        ] {
            let decoded = encoding
                .decode(&kept(&format!("compress/{name}")), LIMIT)
                .unwrap();
            assert!(decoded.starts_with(b"hello hello"), "{name}");
        }
        let mut out = collector();
        for name in ["message", "forward", "packed", "gzip"] {
            fluent::message(&kept(&format!("fluent/{name}")), LIMIT, &mut out).unwrap();
        }
        otlp::protobuf(&kept("otlp_protobuf/one"), &mut out).unwrap();
        otlp::json(&kept("otlp_json/one"), &mut out).unwrap();
        loki::protobuf(&kept("loki_protobuf/two"), &mut out).unwrap();
        loki::json(&kept("loki_json/now"), &mut out).unwrap();
        loki::json(&kept("loki_json/old"), &mut out).unwrap();
        elastic::bulk(&kept("elastic_bulk/two"), None, &mut out).unwrap();
        assert_eq!(out.len(), 1 + 2 + 2 + 2 + 1 + 1 + 2 + 2 + 1 + 2);
    }
}
