//! The log proxy: capture, listeners, pipeline, store, search, tail, forwarding.

#![forbid(unsafe_code)]

pub mod capture;
pub mod forward;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod intake;
mod journal;
pub mod listen;
pub mod loki;
pub mod metrics;
mod pipeline;
pub mod protocol;
pub mod query;
pub mod recognise;
pub mod record;
mod search;
mod segment;
pub mod standalone;
mod store;
mod tail;
mod varint;
pub mod wire;

pub use intake::{Ack, Intake, Refused};
pub use pipeline::derive::{Kind, Metric};
pub use pipeline::limit::{RateLimit, RateLimits};
pub use pipeline::redact::{Patterns, Redactor};
pub use pipeline::rules::{Action, Rule};
pub use query::{Expr, Order, Query, Scope};
pub use record::{Batch, Level, Record, RecordView, Source, Stream};
pub use search::{Entry, Searched, rfc3339};
pub use store::{Durability, Following, Found, LogProxy, Options, Present};
pub use tail::{News, Picked, Tail};
