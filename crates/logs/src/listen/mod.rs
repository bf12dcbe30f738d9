//! Listeners: the sockets in front of the protocols.
//!
//! What a sender may use of memory, connections and time is bounded, whatever
//! it sends. A protocol that has answers gets one when the journal holds the
//! records, and not before; a sender without answers is held back as far as
//! its transport can be.

mod connection;
mod counters;
mod door;
mod fluent;
pub mod http;
mod slots;
mod syslog;
mod tls;
mod unix;

use std::net::SocketAddr;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use counters::{ListenCounters, Protocol};
pub use door::{Door, Limits};
pub use fluent::Fluent;
pub use http::{Access, Http, Served};
pub use syslog::{SyslogTcp, SyslogUdp};
pub(crate) use tls::certificates;
pub use tls::{TlsFiles, server_tls};
pub use unix::Unix;

use slots::Slots;

/// The tasks of all listeners, and how they end.
#[derive(Debug, Clone)]
pub struct Tasks {
    pub(crate) closing: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }
}

impl Tasks {
    /// Ends them: nothing more is accepted, what was read is pushed, answers
    /// under way may take so long.
    pub async fn end(&self, patience: Duration) {
        self.closing.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(patience, self.tracker.wait()).await;
    }
}

/// Listens on an address.
///
/// # Errors
/// `Conflict` where somebody else listens there, `InvalidInput` where this
/// machine has no such address or the port is not for this user.
pub fn bind(what: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener =
        std::net::TcpListener::bind(address).map_err(|error| cannot_listen(what, address, &error))?;
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|error| cannot_listen(what, address, &error))
}

pub(crate) fn cannot_listen(what: &str, address: impl std::fmt::Display, error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let message = format!("The {what} listener cannot listen on {address}.");
    let (code, hint) = match error.kind() {
        ErrorKind::AddrInUse => (
            Code::Conflict,
            "Another process listens there: stop it, or name another port.",
        ),
        ErrorKind::PermissionDenied => (
            Code::InvalidInput,
            "This user may not listen there (ports below 1024 need CAP_NET_BIND_SERVICE): name another.",
        ),
        _ => (
            Code::InvalidInput,
            "Name an address of this machine and a free port.",
        ),
    };
    Error::user(code, message).said(error.to_string()).hint(hint)
}
