//! Encodings that the protocols share: protobuf, MessagePack, compression.
//!
//! The readers here borrow from the message and allocate nothing for what it
//! claims to hold, so that a small hostile message cannot grow into a large
//! one in memory.

pub mod compress;
pub mod msgpack;
pub mod protobuf;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at byte {at})")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the start of the part that was read.
    pub at: usize,
}
