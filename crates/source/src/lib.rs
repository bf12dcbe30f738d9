//! Source folders: which files of one belong to a build context, what they
//! hold, and their way into the server's context store. The command line scans
//! the user's folder, the server what git wrote out of a pushed commit: both by
//! the same rules, which is why they are here and not in either.
//!
//! ```no_run
//! # fn main() -> nonna_engine::error::Result<()> {
//! use nonna_source::{ScanOptions, scan};
//!
//! let scanned = scan("my-app".as_ref(), &ScanOptions::default())?;
//! // Announce `scanned.manifest`; the server answers what it lacks:
//! let missing = vec![];
//! let _body = scanned.frames(&missing);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod cache;
mod folder;
mod ignored;
mod scan;
mod upload;
mod watch;

pub use folder::DiskFolder;
pub use scan::{ScanOptions, Scanned, scan};
pub use upload::Frames;
pub use watch::Watch;

#[cfg(test)]
mod tests;
