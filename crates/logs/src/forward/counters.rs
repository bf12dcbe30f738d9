//! What forwarders count.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts of one forwarder.
#[derive(Debug, Default)]
pub struct ForwardCounters {
    /// Records that the destination took.
    pub sent: AtomicU64,
    /// Records that it will never take; they are set aside.
    pub refused: AtomicU64,
    /// Records that were gone from the store before it could take them.
    pub lost: AtomicU64,
    /// Times that it was asked in vain.
    pub failures: AtomicU64,
    /// The number of the next record.
    pub position: AtomicU64,
    /// The destination does not take anything at the moment.
    pub down: AtomicBool,
}

/// Adds the counts of all forwarders, by name, in Prometheus' text format.
/// `next` is the number of the next record that the store will have.
pub(crate) fn prometheus(forwarders: &[(String, Arc<ForwardCounters>)], next: u64, out: &mut String) {
    type Get = fn(&ForwardCounters, u64) -> u64;
    let metrics: [(&str, &str, &str, Get); 6] = [
        (
            "sent_total",
            "counter",
            "Records that a destination took.",
            |c, _| c.sent.load(Ordering::Relaxed),
        ),
        (
            "refused_total",
            "counter",
            "Records that a destination will never take; they are set aside.",
            |c, _| c.refused.load(Ordering::Relaxed),
        ),
        (
            "lost_total",
            "counter",
            "Records that were gone from the store before a destination took them.",
            |c, _| c.lost.load(Ordering::Relaxed),
        ),
        (
            "failures_total",
            "counter",
            "Times that a destination was asked in vain.",
            |c, _| c.failures.load(Ordering::Relaxed),
        ),
        (
            "lag_records",
            "gauge",
            "Records that are kept and that a destination has still to get.",
            |c, next| next.saturating_sub(c.position.load(Ordering::Relaxed)),
        ),
        ("up", "gauge", "Whether a destination takes records.", |c, _| {
            u64::from(!c.down.load(Ordering::Relaxed))
        }),
    ];
    for (name, kind, help, get) in metrics {
        if forwarders.is_empty() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "# HELP nonna_logs_forward_{name} {help}\n# TYPE nonna_logs_forward_{name} {kind}"
        );
        for (forward, counters) in forwarders {
            let value = get(counters, next);
            let _ = writeln!(out, "nonna_logs_forward_{name}{{forward=\"{forward}\"}} {value}");
        }
    }
}
