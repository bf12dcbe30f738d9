//! Answers as Loki writes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::query::Label;
use crate::record::{Source, json_string_into};
use crate::search::Entry;

/// A stream's labels, by name.
pub(super) type Labels = BTreeMap<String, String>;

/// The labels that a source gives its records.
pub(super) fn of_source(source: &Source) -> Labels {
    Label::ALL
        .into_iter()
        .map(|label| (label.name().to_owned(), label.of_source(source).to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// The labels of a record: its source's, its level, and what came beside its
/// line, as Loki answers structured metadata.
pub(super) fn of_entry(entry: &Entry) -> Labels {
    let mut labels = of_source(&entry.source);
    for (name, value) in &entry.fields {
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        labels.entry(name).or_insert_with(|| value.clone());
    }
    if !entry.level.name().is_empty() {
        labels.insert("level".to_owned(), entry.level.name().to_owned());
    }
    labels
}

/// Lines, put together by stream.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_labels: BTreeMap<Labels, Vec<(i64, Vec<u8>)>>,
    entries: usize,
    bytes: usize,
}

impl Streams {
    /// How many bytes an answer may hold, about.
    const MAX_BYTES: usize = 16 * 1024 * 1024;

    /// Adds a line.
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries += 1;
        self.bytes += entry.line.len() + 64;
        let labels = of_entry(&entry);
        self.by_labels
            .entry(labels)
            .or_default()
            .push((entry.time, entry.line));
    }

    /// Whether an answer holds no more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= Self::MAX_BYTES
    }

    /// Whether there is no line.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// `[{"stream":{…},"values":[["1700000000000000000","line"],…]},…]`
    pub(super) fn json(mut self, newest_first: bool) -> String {
        let mut out = String::with_capacity(self.bytes * 5 / 4 + 64);
        out.push('[');
        for (at, (labels, lines)) in self.by_labels.iter_mut().enumerate() {
            // They came in the order of their arrival, and are wanted by time.
            match newest_first {
                true => lines.sort_by_key(|(time, _)| std::cmp::Reverse(*time)),
                false => lines.sort_by_key(|(time, _)| *time),
            }
            if at > 0 {
                out.push(',');
            }
            // Writing to a string cannot fail.
            let _ = write!(out, "{{\"stream\":{},\"values\":[", json!(labels));
            for (at, (time, line)) in lines.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let _ = write!(out, "[\"{time}\",");
                json_string_into(&mut out, line);
                out.push(']');
            }
            out.push_str("]}");
        }
        out.push(']');
        out
    }

    /// The whole answer of a query for lines.
    pub(super) fn answer(self, newest_first: bool) -> String {
        let stats = stats(self.entries as u64, self.bytes as u64);
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"streams\",\"result\":{},\"stats\":{stats}}}}}",
            self.json(newest_first)
        )
    }
}

/// The statistics that clients look for.
pub(super) fn stats(entries: u64, bytes: u64) -> Value {
    json!({
        "summary": {
            "bytesProcessedPerSecond": 0,
            "linesProcessedPerSecond": 0,
            "totalBytesProcessed": bytes,
            "totalLinesProcessed": entries,
            "execTime": 0,
            "queueTime": 0,
            "subqueries": 0,
            "totalEntriesReturned": entries,
        },
        "querier": {},
        "ingester": {},
    })
}

/// `{"status":"success","data":…}`
pub(super) fn success(data: &Value) -> String {
    json!({ "status": "success", "data": data }).to_string()
}
