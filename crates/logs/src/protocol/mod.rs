//! What senders speak: each protocol's messages become records.
//!
//! Everything here is a pure function from bytes to records: no sockets, no
//! clocks but those that are given. What a message claims costs no memory
//! until its bytes are there.

pub mod collect;
pub mod document;
pub mod elastic;
pub mod fluent;
pub mod lines;
pub mod loki;
pub mod otlp;
pub mod syslog;
pub mod syslog_frame;
mod time;

pub use collect::{Collector, Draft, Names};

use crate::wire::Malformed;

/// Why a message is refused. The text is for whoever set the sender up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl From<Malformed> for Invalid {
    fn from(wrong: Malformed) -> Self {
        Self(wrong.to_string())
    }
}

impl From<serde_json::Error> for Invalid {
    fn from(wrong: serde_json::Error) -> Self {
        Self(format!("this is not the JSON that is expected here: {wrong}"))
    }
}
