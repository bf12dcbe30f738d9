//! The client's side of sending a build context: which files of a folder
//! belong to it, what they hold, and their way to the server.
//!
//! ```no_run
//! # fn main() -> nonna_engine::error::Result<()> {
//! use nonna_client::context::{ScanOptions, scan};
//!
//! let scanned = scan("my-app".as_ref(), &ScanOptions::default())?;
//! // Announce `scanned.manifest`; the server answers what it lacks:
//! let missing = vec![];
//! let _body = scanned.frames(&missing);
//! # Ok(())
//! # }
//! ```

mod cache;
mod ignored;
mod scan;
mod upload;

pub use scan::{ScanOptions, Scanned, scan};
pub use upload::Frames;

#[cfg(test)]
mod tests;
