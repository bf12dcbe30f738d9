//! Counters, kept per worker so that no two threads write one, and read
//! together.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the latency histogram, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// One worker's counters of one service. Only that worker writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    /// By class: 1xx to 5xx.
    classes: [AtomicU64; 5],
    received: AtomicU64,
    sent: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    latency_us: AtomicU64,
    started: AtomicU64,
}

fn add(counter: &AtomicU64, amount: u64) {
    // One writer: no locked instruction is needed.
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// The counters of one service.
#[derive(Debug)]
pub(crate) struct ServiceMetrics {
    shards: Vec<Shard>,
}

impl ServiceMetrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers.max(1)).map(|_| Shard::default()).collect(),
        }
    }

    pub(crate) fn started(&self, worker: usize) {
        if let Some(shard) = self.shards.get(worker) {
            add(&shard.started, 1);
        }
    }

    pub(crate) fn ended(&self, worker: usize, status: u16, took: Duration, received: u64, sent: u64) {
        let Some(shard) = self.shards.get(worker) else {
            return;
        };
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        add(&shard.classes[class], 1);
        if received != 0 {
            add(&shard.received, received);
        }
        add(&shard.sent, sent);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(LATENCY_BOUNDS_US.len());
        add(&shard.buckets[bucket], 1);
        add(&shard.latency_us, us);
    }

    pub(crate) fn snapshot(&self, label: &str) -> ServiceSnapshot {
        let sum = |read: &dyn Fn(&Shard) -> u64| self.shards.iter().map(read).sum::<u64>();
        let classes: [u64; 5] = std::array::from_fn(|i| sum(&|shard| shard.classes[i].load(Relaxed)));
        let ended: u64 = classes.iter().sum();
        ServiceSnapshot {
            label: label.to_owned(),
            requests: classes,
            in_flight: sum(&|shard| shard.started.load(Relaxed)).saturating_sub(ended),
            received: sum(&|shard| shard.received.load(Relaxed)),
            sent: sum(&|shard| shard.sent.load(Relaxed)),
            latency_buckets: (0..=LATENCY_BOUNDS_US.len())
                .map(|i| sum(&|shard| shard.buckets[i].load(Relaxed)))
                .collect(),
            latency_sum: Duration::from_micros(sum(&|shard| shard.latency_us.load(Relaxed))),
        }
    }
}

/// The counters of one service at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSnapshot {
    /// The service's label.
    pub label: String,
    /// Answered requests by class of status: 1xx to 5xx.
    pub requests: [u64; 5],
    /// Requests that are not answered to the end yet.
    pub in_flight: u64,
    /// Bytes of request bodies.
    pub received: u64,
    /// Bytes of answer bodies.
    pub sent: u64,
    /// How many requests took at most [`LATENCY_BOUNDS_US`] (each bucket by
    /// itself, the last: longer).
    pub latency_buckets: Vec<u64>,
    /// All latencies together.
    pub latency_sum: Duration,
}

/// The edge's counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// By service, ordered by label.
    pub services: Vec<ServiceSnapshot>,
    /// Requests that no route matched, or that were refused before routing.
    pub unrouted: ServiceSnapshot,
    /// Open client connections.
    pub connections: u64,
    /// Access records that were dropped.
    pub access_dropped: u64,
}

impl Snapshot {
    /// In Prometheus' text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        let all = || self.services.iter().chain(std::iter::once(&self.unrouted));
        head(
            &mut out,
            "nonna_edge_requests_total",
            "counter",
            "Requests answered, by class of status.",
        );
        for service in all() {
            let label = escaped(&service.label);
            for (class, count) in service.requests.iter().enumerate() {
                let class = class + 1;
                let _ = writeln!(
                    out,
                    "nonna_edge_requests_total{{service=\"{label}\",status=\"{class}xx\"}} {count}"
                );
            }
        }
        type Read = fn(&ServiceSnapshot) -> u64;
        let gauges: [(&str, &str, &str, Read); 3] = [
            (
                "nonna_edge_requests_in_flight",
                "gauge",
                "Requests not answered to the end yet.",
                |s| s.in_flight,
            ),
            (
                "nonna_edge_received_bytes_total",
                "counter",
                "Bytes of request bodies.",
                |s| s.received,
            ),
            (
                "nonna_edge_sent_bytes_total",
                "counter",
                "Bytes of answer bodies.",
                |s| s.sent,
            ),
        ];
        for (name, kind, help, read) in gauges {
            head(&mut out, name, kind, help);
            for service in all() {
                let _ = writeln!(
                    out,
                    "{name}{{service=\"{}\"}} {}",
                    escaped(&service.label),
                    read(service)
                );
            }
        }
        let name = "nonna_edge_request_duration_seconds";
        head(
            &mut out,
            name,
            "histogram",
            "From a request's head to the end of its answer.",
        );
        for service in all() {
            let label = escaped(&service.label);
            let mut so_far = 0;
            for (count, bound) in service.latency_buckets.iter().zip(LATENCY_BOUNDS_US) {
                so_far += count;
                let le = Duration::from_micros(bound).as_secs_f64();
                let _ = writeln!(out, "{name}_bucket{{service=\"{label}\",le=\"{le}\"}} {so_far}");
            }
            let total: u64 = service.latency_buckets.iter().sum();
            let _ = writeln!(out, "{name}_bucket{{service=\"{label}\",le=\"+Inf\"}} {total}");
            let _ = writeln!(
                out,
                "{name}_sum{{service=\"{label}\"}} {}",
                service.latency_sum.as_secs_f64()
            );
            let _ = writeln!(out, "{name}_count{{service=\"{label}\"}} {total}");
        }
        head(
            &mut out,
            "nonna_edge_connections",
            "gauge",
            "Open client connections.",
        );
        let _ = writeln!(out, "nonna_edge_connections {}", self.connections);
        head(
            &mut out,
            "nonna_edge_access_dropped_total",
            "counter",
            "Access records dropped.",
        );
        let _ = writeln!(out, "nonna_edge_access_dropped_total {}", self.access_dropped);
        out
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = ServiceMetrics::new(2);
        metrics.started(0);
        metrics.started(1);
        metrics.ended(1, 204, Duration::from_millis(3), 10, 20);
        let service = metrics.snapshot("a\"b");
        assert_eq!((service.requests, service.in_flight), ([0, 1, 0, 0, 0], 1));
        assert_eq!(service.latency_buckets[3], 1);
        let text = Snapshot {
            services: vec![service],
            unrouted: ServiceMetrics::new(1).snapshot(""),
            connections: 3,
            access_dropped: 0,
        }
        .prometheus();
        assert!(text.contains("nonna_edge_requests_total{service=\"a\\\"b\",status=\"2xx\"} 1\n"));
        assert!(
            text.contains("nonna_edge_request_duration_seconds_bucket{service=\"a\\\"b\",le=\"0.005\"} 1\n")
        );
        assert!(text.contains("nonna_edge_connections 3\n"));
    }
}
