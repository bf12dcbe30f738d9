//! The typed client of the control plane's API: one method a path, progress
//! as streams that survive a restart of the server, and sessions for `exec`
//! and `run`.
//!
//! ```no_run
//! # async fn example() -> nonna_engine::Result<()> {
//! use nonna_client::{Client, Options};
//!
//! let client = Client::new(Options::new("http://127.0.0.1:8400"))?;
//! println!("{}", client.version().await?.version);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod api;
mod follow;
mod http;
mod session;
mod sse;
mod transport;

pub use api::Place;
pub use follow::{Follow, Item};
pub use http::{Client, Options};
/// Which files a build context has.
pub use nonna_source as context;
pub use session::{Output, Session, SessionInput, SessionOutput};
