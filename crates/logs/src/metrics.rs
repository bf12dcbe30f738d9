//! What the log proxy counts of itself.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $metric:literal, $help:literal;)+) => {
        /// Counters; they only grow while the process lives.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        impl Counters {
            fn write(&self, out: &mut String) {
                let mut last = "";
                $(
                    let name = $metric.split('{').next().unwrap_or($metric);
                    if name != last {
                        // Writing to a string cannot fail.
                        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} counter", $help);
                    }
                    last = name;
                    let _ = writeln!(out, "{} {}", $metric, self.$name.load(Ordering::Relaxed));
                )+
                let _ = last;
            }
        }
    };
}

counters! {
    /// Lines that came in.
    lines_in: "nonna_logs_lines_in_total", "Lines that came in.";
    /// Bytes of lines and fields that came in.
    bytes_in: "nonna_logs_bytes_in_total", "Bytes of lines and fields that came in.";
    /// Records that are in the journal.
    stored: "nonna_logs_records_stored_total", "Records that were acknowledged.";
    /// Lines that became part of a record before.
    folded: "nonna_logs_lines_folded_total", "Lines of stack traces that became part of the record before them.";
    /// Records in which a secret was replaced.
    redacted: "nonna_logs_records_redacted_total", "Records in which a secret was replaced.";
    /// Dropped before they were pushed.
    dropped_before: "nonna_logs_dropped_total{reason=\"intake\"}", "Lines that were lost, by reason.";
    /// Dropped by a service's rate limit.
    dropped_limit: "nonna_logs_dropped_total{reason=\"rate_limit\"}", "Lines that were lost, by reason.";
    /// Dropped by a rule.
    dropped_rule: "nonna_logs_dropped_total{reason=\"rule\"}", "Lines that were lost, by reason.";
    /// Dropped because the journal took no more.
    dropped_disk: "nonna_logs_dropped_total{reason=\"disk\"}", "Lines that were lost, by reason.";
    /// Dropped because a block could not be read.
    damaged: "nonna_logs_damaged_blocks_total", "Blocks that a search could not read.";
    /// Blocks that were written.
    blocks: "nonna_logs_blocks_written_total", "Blocks that were written.";
    /// Bytes of blocks that were written.
    block_bytes: "nonna_logs_block_bytes_written_total", "Bytes of blocks that were written.";
    /// Searches.
    searches: "nonna_logs_searches_total", "Searches that were begun.";
    /// Blocks that searches opened.
    opened: "nonna_logs_blocks_opened_total", "Blocks that searches decompressed.";
    /// Records that slow tails missed.
    missed: "nonna_logs_tail_missed_total", "Records that tails missed by being slow.";
}

/// What is so now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauges {
    pub(crate) segments: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) journal_bytes: u64,
    pub(crate) open_records: u64,
    pub(crate) queue_bytes: u64,
    pub(crate) tails: u64,
    /// Seconds since the oldest record that is in no block arrived.
    pub(crate) lag: f64,
}

/// Prometheus' text format.
pub(crate) fn prometheus(counters: &Counters, gauges: Gauges) -> String {
    let mut out = String::new();
    counters.write(&mut out);
    #[expect(clippy::cast_precision_loss, reason = "bytes and counts on one machine")]
    for (name, help, value) in [
        ("segments", "Segments.", gauges.segments as f64),
        (
            "segment_bytes",
            "Bytes of all segments.",
            gauges.segment_bytes as f64,
        ),
        (
            "journal_bytes",
            "Bytes of the journal.",
            gauges.journal_bytes as f64,
        ),
        (
            "open_records",
            "Records that are in no block yet.",
            gauges.open_records as f64,
        ),
        (
            "queue_bytes",
            "Bytes that wait to be worked on.",
            gauges.queue_bytes as f64,
        ),
        ("tails", "Tails that are open.", gauges.tails as f64),
        (
            "lag_seconds",
            "Age of the oldest record that is in no block.",
            gauges.lag,
        ),
    ] {
        let _ = writeln!(
            out,
            "# HELP nonna_logs_{name} {help}\n# TYPE nonna_logs_{name} gauge\nnonna_logs_{name} {value}"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_once() {
        let text = prometheus(&Counters::default(), Gauges::default());
        let helps: Vec<&str> = text.lines().filter(|l| l.starts_with("# HELP")).collect();
        let mut names: Vec<&str> = helps.iter().filter_map(|l| l.split(' ').nth(2)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), helps.len());
        assert!(text.contains("nonna_logs_dropped_total{reason=\"disk\"} 0\n"));
    }
}
