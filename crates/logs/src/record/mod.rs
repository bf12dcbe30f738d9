//! What a log record is, and how many of them travel together.

mod batch;
mod escape;

use std::fmt;
use std::sync::Arc;

pub use batch::{Batch, Fields, Record, RecordView, SourceIndex};
pub(crate) use batch::{Mark, put_text, take_text};
pub use escape::{escape_into, json_string_into};

/// The longest line that is kept, in bytes; the rest is cut off, with a mark.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;
/// The most bytes of fields that a record may carry beside its line.
pub const MAX_FIELD_BYTES: usize = 16 * 1024;

/// How serious a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Level {
    /// Nobody said, and the line does not show it.
    #[default]
    Unknown = 0,
    /// The finest.
    Trace = 1,
    /// For whoever looks for a mistake.
    Debug = 2,
    /// What happens as it should.
    Info = 3,
    /// Normal, and worth to be seen (syslog's 5).
    Notice = 4,
    /// Something to look at.
    Warn = 5,
    /// Something failed.
    Error = 6,
    /// The program or the system cannot go on (syslog's 0 to 2).
    Fatal = 7,
}

impl Level {
    /// All of them, by number.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warn,
        Self::Error,
        Self::Fatal,
    ];

    /// The level's name, in small letters; empty where it is unknown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// The level of this number, as it is stored.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// The level that a program calls so, in any case: `warning`, `ERR`, `W`,
    /// `critical`, syslog's and Python's names.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let mut small = [0_u8; 12];
        let small = small.get_mut(..name.len())?;
        small.copy_from_slice(name);
        small.make_ascii_lowercase();
        Some(match &*small {
            b"trace" | b"t" | b"trc" | b"finest" | b"finer" | b"verbose" => Self::Trace,
            b"debug" | b"d" | b"dbg" | b"fine" => Self::Debug,
            b"info" | b"i" | b"inf" | b"information" | b"informational" | b"config" | b"log" => Self::Info,
            b"notice" | b"n" => Self::Notice,
            b"warn" | b"w" | b"warning" | b"wrn" => Self::Warn,
            b"error" | b"e" | b"err" | b"severe" => Self::Error,
            b"fatal" | b"f" | b"ftl" | b"critical" | b"crit" | b"c" | b"alert" | b"emerg" | b"emergency"
            | b"panic" | b"dpanic" => Self::Fatal,
            _ => return None,
        })
    }

    /// The level of syslog's severity, 0 (emergency) to 7 (debug).
    #[must_use]
    pub fn from_syslog(severity: u8) -> Self {
        match severity {
            0..=2 => Self::Fatal,
            3 => Self::Error,
            4 => Self::Warn,
            5 => Self::Notice,
            6 => Self::Info,
            _ => Self::Debug,
        }
    }

    /// The level of OpenTelemetry's severity number, 1 to 24.
    #[must_use]
    pub fn from_otlp(severity: u32) -> Self {
        match severity {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9 => Self::Info,
            10..=12 => Self::Notice,
            13..=16 => Self::Warn,
            17..=20 => Self::Error,
            21..=24 => Self::Fatal,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By which way a record came out of what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Stream {
    /// Standard output.
    #[default]
    Stdout = 0,
    /// Standard error.
    Stderr = 1,
    /// The edge's access log.
    Edge = 2,
    /// A protocol (syslog, OTLP, Loki …), where there are no two streams.
    Network = 3,
    /// The log proxy itself: what it dropped, what it repaired.
    Proxy = 4,
    /// Nonna: deployments and builds.
    Nonna = 5,
}

impl Stream {
    /// All of them, by number.
    pub const ALL: [Self; 6] = [
        Self::Stdout,
        Self::Stderr,
        Self::Edge,
        Self::Network,
        Self::Proxy,
        Self::Nonna,
    ];

    /// The stream's name, in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Edge => "edge",
            Self::Network => "network",
            Self::Proxy => "proxy",
            Self::Nonna => "nonna",
        }
    }

    /// The stream of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// The stream of this number, as it is stored.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Stderr,
            2 => Self::Edge,
            3 => Self::Network,
            4 => Self::Proxy,
            5 => Self::Nonna,
            _ => Self::Stdout,
        }
    }
}

/// Where records come from. Sources are few, and shared by their records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The service's label: `project/environment/service` for what Nonna runs,
    /// whatever the sender calls itself for others.
    pub service: Arc<str>,
    /// Which replica of it: a container's, a host's or a process's name; may
    /// be empty.
    pub replica: Arc<str>,
    /// By which way.
    pub stream: Stream,
}

impl Source {
    /// The longest label or name that is kept, in bytes.
    pub const MAX_NAME_BYTES: usize = 256;

    /// A source. Names longer than [`Source::MAX_NAME_BYTES`] are cut.
    #[must_use]
    pub fn new(service: &str, replica: &str, stream: Stream) -> Arc<Self> {
        Arc::new(Self {
            service: cut(service, Self::MAX_NAME_BYTES).into(),
            replica: cut(replica, Self::MAX_NAME_BYTES).into(),
            stream,
        })
    }

    /// The environment that the service is in, `project/environment`; empty
    /// for a name that is no label of Nonna's.
    #[must_use]
    pub fn environment(&self) -> &str {
        self.service
            .rsplit_once('/')
            .map_or("", |(environment, _)| environment)
    }
}

/// The start of a text, at most so many bytes, ending between characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}
