//! Builds as the server does them: one after the other, fairly, with a log
//! that is kept; and remembered, so that the same is not built twice.

mod builder;
pub(crate) mod log;
mod queue;

pub(crate) use builder::{QueuedBuilder, source_digest};
pub(crate) use queue::{BuildQueue, Place};
