//! The builder's way to the container engine: its HTTP API, and BuildKit's
//! session beside it.

mod endpoint;
mod request;
mod session;
mod usage;
mod wire;

pub(crate) use endpoint::{Engine, Kind, disk_full, is_disk_full};
pub(crate) use request::{Line, Query, Running};
pub(crate) use session::{Offer, Secrets};
pub(crate) use usage::{CacheRecord, Usage};
