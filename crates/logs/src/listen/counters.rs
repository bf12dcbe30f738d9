//! What listeners count.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What senders speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Syslog over UDP, TCP or TLS.
    Syslog = 0,
    /// OTLP over HTTP.
    Otlp = 1,
    /// Loki's push API.
    Loki = 2,
    /// Elasticsearch's API.
    Elasticsearch = 3,
    /// Lines, of JSON or of text.
    Lines = 4,
    /// Fluent's forward protocol.
    Fluent = 5,
    /// Any of those over HTTP, as long as it is not known which.
    Http = 6,
}

impl Protocol {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Syslog, "syslog"),
        (Self::Otlp, "otlp"),
        (Self::Loki, "loki"),
        (Self::Elasticsearch, "elasticsearch"),
        (Self::Lines, "lines"),
        (Self::Fluent, "fluent"),
        (Self::Http, "http"),
    ];

    /// Its name, as metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

#[derive(Debug, Default)]
struct Counts {
    records: AtomicU64,
    bytes: AtomicU64,
    invalid: AtomicU64,
    refused: AtomicU64,
    unauthenticated: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
}

/// Counts of all listeners of a process, by protocol.
#[derive(Debug, Default)]
pub struct ListenCounters {
    of: [Counts; 7],
}

impl ListenCounters {
    fn of(&self, protocol: Protocol) -> &Counts {
        // The numbers of the protocols are those of the places.
        let [syslog, otlp, loki, elasticsearch, lines, fluent, http] = &self.of;
        match protocol {
            Protocol::Syslog => syslog,
            Protocol::Otlp => otlp,
            Protocol::Loki => loki,
            Protocol::Elasticsearch => elasticsearch,
            Protocol::Lines => lines,
            Protocol::Fluent => fluent,
            Protocol::Http => http,
        }
    }

    pub(super) fn records(&self, protocol: Protocol, records: usize, bytes: usize) {
        let counts = self.of(protocol);
        counts.records.fetch_add(records as u64, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn invalid(&self, protocol: Protocol) {
        self.of(protocol).invalid.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, protocol: Protocol) {
        self.of(protocol).refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unauthenticated(&self, protocol: Protocol) {
        self.of(protocol).unauthenticated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(&self, protocol: Protocol) {
        self.of(protocol).connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn turned_away(&self, protocol: Protocol) {
        self.of(protocol)
            .connections_refused
            .fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages of a protocol could not be read.
    #[must_use]
    pub fn invalid_messages(&self, protocol: Protocol) -> u64 {
        self.of(protocol).invalid.load(Ordering::Relaxed)
    }

    /// Adds them in Prometheus' text format.
    pub fn prometheus(&self, out: &mut String) {
        type Get = fn(&Counts) -> &AtomicU64;
        let metrics: [(&str, &str, Get); 7] = [
            ("records", "Records that listeners took in.", |c| &c.records),
            ("bytes", "Bytes of messages that listeners took in.", |c| &c.bytes),
            ("invalid", "Messages that could not be read.", |c| &c.invalid),
            (
                "refused",
                "Messages that were sent back because there was no room for them.",
                |c| &c.refused,
            ),
            ("unauthenticated", "Senders that were not let in.", |c| {
                &c.unauthenticated
            }),
            ("connections", "Connections that were accepted.", |c| {
                &c.connections
            }),
            (
                "connections_refused",
                "Connections that were closed because there were too many.",
                |c| &c.connections_refused,
            ),
        ];
        for (name, help, get) in metrics {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "# HELP nonna_logs_listen_{name}_total {help}\n# TYPE nonna_logs_listen_{name}_total counter"
            );
            for (protocol, label) in Protocol::ALL {
                let value = get(self.of(protocol)).load(Ordering::Relaxed);
                let _ = writeln!(
                    out,
                    "nonna_logs_listen_{name}_total{{protocol=\"{label}\"}} {value}"
                );
            }
        }
    }
}
