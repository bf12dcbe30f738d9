//! The server as a whole, and this program.

mod backup;
mod completions;
mod doctor;
mod login;
mod server;
mod version;

pub(crate) use backup::{backup, restore};
pub(crate) use completions::completions;
pub(crate) use doctor::doctor;
pub(crate) use login::login;
pub(crate) use server::server;
pub(crate) use version::version;
