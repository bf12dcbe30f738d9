//! The log proxy: intake, files, tail.
//!
//! So far it keeps what the edge tells of requests: [`LogFiles`] takes
//! [`LogRecord`]s without ever making the caller wait, writes them to files of
//! a bounded size, and gives them back, old ones and live ones.

#![forbid(unsafe_code)]

mod files;
pub mod intake;
mod line;
mod read;
pub mod record;
mod varint;
mod writer;

pub use files::{Follow, LogFiles, LogOptions, Subscription};
pub use intake::Intake;
pub use line::{LogRecord, MAX_LINE_BYTES};
pub use read::ReadQuery;
