//! The BuildStorage port: a fake without an engine, and the suite that every
//! storage passes, the fake too.

mod fake;
pub mod suite;

pub use fake::FakeBuildStorage;
