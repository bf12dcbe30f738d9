//! Git as Nonna needs it, always by the `git` program: gix and git2 are
//! clients, and git's own `receive-pack` has met every client there is.
//!
//! - [`Home`]: the folder with the repositories that are pushed to, and how a
//!   `git` process is started: with arguments, never a shell, and with none of
//!   the machine's or a user's configuration.
//! - [`serve`]: the smart HTTP protocol, one child process a request.
//! - [`hook`]: what runs between a push and the moving of its branches.
//! - [`remote`], [`key`]: fetching from a forge.
//! - [`forge`]: what forges' webhooks say, whether they may say it, and how
//!   commit statuses are told to them.

#![forbid(unsafe_code)]

mod command;
pub mod forge;
pub mod hook;
pub mod key;
mod names;
pub mod pkt_line;
pub mod remote;
mod repository;
pub mod serve;
mod tree;

pub use command::Home;
pub use names::{InvalidObjectId, ObjectId, Reference};
pub use repository::Repository;
pub use tree::{Quarantine, Tree, TreeEntry, TreeLimits};
