//! Forwarding: records that are kept are sent on, each at least once.
//!
//! The store is the buffer: a forwarder keeps the number of the next record it
//! has to send, and reads on from there. An outage of a destination costs no
//! memory, and no disk beyond what records take that are kept anyway; what
//! falls out of the store before the destination took it is counted and told.

mod aside;
pub mod config;
mod counters;
mod destination;
mod elasticsearch;
mod http;
mod lines;
mod loki;
mod otlp;
mod position;
mod read;
mod run;
mod s3;
mod sigv4;
mod syslog;

pub use counters::ForwardCounters;
pub(crate) use counters::prometheus;
pub use destination::{Destination, Failure, Parcel, Taken};
pub use elasticsearch::Elasticsearch;
pub use http::{Auth, HttpTarget};
pub use lines::JsonLines;
pub use loki::Loki;
pub use otlp::Otlp;
pub use run::{BatchLimits, Forward, Start, start};
pub use s3::{Bucket, S3};
pub use sigv4::Credentials;
pub use syslog::{Syslog, SyslogTarget};
