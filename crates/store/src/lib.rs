//! The control plane's state: what is wanted, what was done, who may do what.
//!
//! [`Store`] is the port and [`records`] is what goes through it.
//! [`SqliteStore`] keeps it in a SQLite database in a [`DataFolder`] that one
//! process holds at a time; secrets are sealed under a [`SealKey`] that is
//! kept outside the database.

#![forbid(unsafe_code)]

pub mod backup;
mod folder;
pub mod forge;
pub mod records;
mod seal;
mod sqlite;
mod store;

pub use folder::DataFolder;
pub use seal::SealKey;
pub use sqlite::SqliteStore;
pub use store::{CONTENTS, ORIGINS, Store};
