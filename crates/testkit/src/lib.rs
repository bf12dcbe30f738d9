//! Fakes, conformance suites, fault injection, sample apps.

pub mod builds;
pub mod logs;
pub mod router;
pub mod runtime;
pub mod store;
