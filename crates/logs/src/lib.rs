//! The log proxy: listeners, pipeline, store, search, tail.
//!
//! So far it keeps what the edge tells of requests: [`LogFiles`] takes
//! [`LogRecord`]s without ever making the caller wait, writes them to files of
//! a bounded size, and gives them back, old ones and live ones.

#![forbid(unsafe_code)]

pub mod capture;
mod files;
pub mod forward;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod intake;
mod journal;
mod line;
pub mod listen;
pub mod metrics;
mod pipeline;
pub mod protocol;
pub mod query;
mod read;
pub mod recognise;
pub mod record;
mod search;
mod segment;
pub mod standalone;
mod store;
mod tail;
mod varint;
pub mod wire;
mod writer;

pub use files::{Follow, LogFiles, LogOptions, Subscription};
pub use intake::{Ack, Intake, Refused};
pub use line::{LogRecord, MAX_LINE_BYTES};
pub use pipeline::derive::{Kind, Metric};
pub use pipeline::limit::{RateLimit, RateLimits};
pub use pipeline::redact::{Patterns, Redactor};
pub use pipeline::rules::{Action, Rule};
pub use query::{Expr, Order, Query, Scope};
pub use read::ReadQuery;
pub use record::{Batch, Level, Record, RecordView, Source, Stream};
pub use search::{Entry, Searched, rfc3339};
pub use store::{Durability, Following, LogProxy, Options};
pub use tail::{News, Picked, Tail};
