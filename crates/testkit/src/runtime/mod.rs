//! The Runtime port: a fake without containers, and the suite that every
//! runtime passes, the fake too.

mod behaviour;
mod fake;
mod fake_command;
pub mod suite;

pub use behaviour::Behaviour;
pub use fake::FakeRuntime;
