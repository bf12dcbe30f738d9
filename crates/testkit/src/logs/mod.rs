//! Destinations of logs: a fake, receivers that fail on purpose, and the suite
//! that every destination passes.

mod fake;
mod http;
mod receiver;
pub mod suite;
mod syslog;

pub use fake::FakeDestination;
pub use http::{HttpReceiver, Speaks};
pub use receiver::{Behaviour, Got, Receiver};
pub use syslog::SyslogReceiver;
