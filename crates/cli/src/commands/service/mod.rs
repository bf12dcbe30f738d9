//! Services that were deployed.

mod change;
mod destroy;
mod export;
mod logs;
mod logs_export;
mod open;
mod releases;
mod session;
mod status;

pub(crate) use change::{pause, resume, rollback, scale};
pub(crate) use destroy::destroy;
pub(crate) use export::export;
pub(crate) use logs::logs;
pub(crate) use logs_export::logs_export;
pub(crate) use open::{domain, open};
pub(crate) use releases::releases;
pub(crate) use session::{exec, run};
pub(crate) use status::status;
