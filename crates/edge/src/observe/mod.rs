//! What the edge tells of its work: access records and metrics.

mod access;
pub mod metrics;

pub use access::{AccessRecord, AccessSink, ChannelSink, HttpVersion, RequestId};
pub use metrics::Snapshot;
