//! The server's side of build contexts: contents by their SHA-256, contexts
//! by their digest, on the disk.
//!
//! A content is written to a temporary file, compared with what was announced
//! and only then renamed to its name, so whatever happens to the process there
//! is never half a content under a name.

mod archive;
mod gc;
mod store;
mod stream;
mod upload;

pub use gc::Freed;
pub(crate) use store::disk;
pub use store::{Announced, ContextStore};
pub use stream::{ExtraFile, TarOptions};
pub use upload::Upload;

#[cfg(test)]
mod tests;
