//! Source to image: build contexts, detection of languages, and builds.
//!
//! A context is kept by [`context::ContextStore`]. [`BuildKitBuilder`] builds
//! it with the container engine's own builder, from the Dockerfile in it or,
//! where there is none, from one that [`detect`] generates.

#![forbid(unsafe_code)]

mod build;
pub mod context;
pub mod detect;
mod engine;
mod limits;
mod storage;

pub use build::{BuildKitBuilder, BuilderConfig, CA_SECRET, CacheSharing};
pub use limits::{BuildLimits, ControlGroups, Held};
pub use storage::BuildKitStorage;
