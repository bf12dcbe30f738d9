//! What can go wrong when the edge is set up.

use std::net::SocketAddr;

use nonna_engine::Error;
use nonna_engine::error::Code;

/// Why the edge could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A worker thread could not be started.
    #[error("cannot start a worker of the edge: {0}")]
    Worker(std::io::Error),
    /// A route that cannot be.
    #[error("route {route:?}: {reason}")]
    Route {
        /// The offending text.
        route: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another service has the route.
    #[error("route {route} leads to {owner} already")]
    Taken {
        /// The route.
        route: String,
        /// The service that has it.
        owner: String,
    },
    /// There is no such service at the edge.
    #[error("the edge knows no service {0:?}")]
    UnknownService(String),
    /// A certificate or key is not usable.
    #[error("certificate of {host}: {reason}")]
    Certificate {
        /// For which host.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificate store failed.
    #[error("certificate store: {0}")]
    Store(String),
    /// The certificate authority refused or cannot be reached.
    #[error("certificate authority: {0}")]
    Acme(String),
}

impl From<EdgeError> for Error {
    fn from(error: EdgeError) -> Self {
        let text = error.to_string();
        match error {
            EdgeError::Bind { address, source } => {
                let hint = match source.kind() {
                    std::io::ErrorKind::AddrInUse => format!(
                        "Another program listens there. Stop it, or give the edge another port than {}.",
                        address.port()
                    ),
                    std::io::ErrorKind::PermissionDenied => {
                        "Ports below 1024 need the capability CAP_NET_BIND_SERVICE.".to_owned()
                    }
                    _ => "Check the address in the configuration.".to_owned(),
                };
                let code = if source.kind() == std::io::ErrorKind::AddrInUse {
                    Code::Conflict
                } else {
                    Code::InvalidInput
                };
                Error::user(code, text).hint(hint)
            }
            EdgeError::Worker(_) => Error::bug(text),
            EdgeError::Route { .. } => Error::user(Code::InvalidInput, text).hint(
                "A route is a host in lower case (example.org, *.example.org) and a path that begins with /.",
            ),
            EdgeError::Taken { .. } => {
                Error::user(Code::Conflict, text).hint("Give one of the two services another host or path.")
            }
            EdgeError::UnknownService(_) => Error::user(Code::NotFound, text),
            EdgeError::Certificate { .. } | EdgeError::Acme(_) => {
                Error::provider(Code::CertificateFailed, text)
            }
            EdgeError::Store(_) => Error::provider(Code::StoreUnavailable, text),
        }
    }
}
