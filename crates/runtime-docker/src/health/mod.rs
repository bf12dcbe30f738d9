//! Health checks, asked from the host as the edge will ask: what to ask of a
//! replica, and what it answered.

mod command;
mod http;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nonna_engine::Result;
use nonna_model::ServiceSpec;
use nonna_model::service::{Probe, Protocol};

use crate::client::Client;

pub(crate) use command::output_of;

/// What is asked of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// `GET` must answer with a status below `limit` (and not below 200).
    Http { path: String, port: u16, limit: u16 },
    /// A connection must be accepted.
    Tcp { port: u16 },
    /// A command in the replica must exit with 0.
    Command { command: Vec<String> },
    /// The process must have run for a moment.
    Process,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub healthy: bool,
    /// For people: `GET / → 200 OK in 3 ms`.
    pub words: String,
    /// Nothing accepted a connection there.
    pub refused: bool,
}

impl Answer {
    fn healthy(words: String) -> Self {
        Self {
            healthy: true,
            words,
            refused: false,
        }
    }

    fn unhealthy(words: String) -> Self {
        Self {
            healthy: false,
            words,
            refused: false,
        }
    }
}

impl Check {
    /// The check of a service.
    pub(crate) fn of(spec: &ServiceSpec) -> Self {
        let port_or = |port: Option<u16>| port.or(spec.port);
        // A server that only speaks HTTP/2 has no answer to a plain GET.
        let h2 = spec.protocol == Protocol::H2c;
        match (&spec.health.probe, spec.port) {
            (Probe::Auto, Some(port)) if h2 => Self::Tcp { port },
            (Probe::Auto, Some(port)) => Self::Http {
                path: "/".into(),
                port,
                limit: 500,
            },
            (Probe::Http { port, .. } | Probe::Tcp { port }, _) if port_or(*port).is_none() => Self::Process,
            (Probe::Http { port, .. }, _) if h2 && port_or(*port) == spec.port => Self::Tcp {
                port: port_or(*port).unwrap_or_default(),
            },
            (Probe::Http { path, port }, _) => Self::Http {
                path: path.clone(),
                port: port_or(*port).unwrap_or_default(),
                limit: 400,
            },
            (Probe::Tcp { port }, _) => Self::Tcp {
                port: port_or(*port).unwrap_or_default(),
            },
            (Probe::Command { command }, _) => Self::Command {
                command: command.clone(),
            },
            (Probe::Auto, None) | (Probe::Process, _) => Self::Process,
        }
    }

    /// The port that is asked, if one is.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } => Some(*port),
            Self::Command { .. } | Self::Process => None,
        }
    }

    /// Asks once. `ip` is the replica's address; without one, nothing that
    /// needs the network can be asked yet.
    ///
    /// # Errors
    /// Only where the engine itself cannot be asked.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        container: &str,
        ip: Option<IpAddr>,
        host: &str,
        timeout: Duration,
    ) -> Result<Answer> {
        Ok(match (self, ip) {
            (Self::Http { path, port, limit }, Some(ip)) => {
                http::get(SocketAddr::new(ip, *port), host, path, *limit, timeout).await
            }
            (Self::Tcp { port }, Some(ip)) => tcp::connect(SocketAddr::new(ip, *port), timeout).await,
            (Self::Http { .. } | Self::Tcp { .. }, None) => {
                Answer::unhealthy("the replica has no address yet".into())
            }
            (Self::Command { command }, _) => command::run(client, container, command, timeout).await?,
            // The caller knows how long it has run.
            (Self::Process, _) => Answer::healthy("the process runs".into()),
        })
    }
}

/// A time in the words of an answer: `3 ms`, `1.2 s`.
pub(crate) fn words_of(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if time.subsec_millis() < 50 {
        format!("{} s", time.as_secs())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nonna_model::service::Source;

    fn spec() -> ServiceSpec {
        ServiceSpec::new(Source::Image {
            reference: "x".into(),
        })
    }

    #[test]
    fn a_service_that_says_nothing_is_asked_for_its_root_page() {
        let expected = Check::Http {
            path: "/".into(),
            port: 8080,
            limit: 500,
        };
        assert_eq!(Check::of(&spec()), expected);
    }

    #[test]
    fn a_worker_only_has_to_run() {
        let mut worker = spec();
        worker.port = None;
        assert_eq!(Check::of(&worker), Check::Process);
    }

    #[test]
    fn a_probe_may_have_its_own_port() {
        let mut spec = spec();
        spec.health.probe = Probe::Tcp { port: Some(9000) };
        assert_eq!(Check::of(&spec), Check::Tcp { port: 9000 });
    }

    #[test]
    fn a_server_that_speaks_only_http2_is_asked_for_a_connection() {
        let mut spec = spec();
        spec.protocol = Protocol::H2c;
        assert_eq!(Check::of(&spec), Check::Tcp { port: 8080 });
    }

    #[test]
    fn times_are_short() {
        assert_eq!(words_of(Duration::from_millis(3)), "3 ms");
        assert_eq!(words_of(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(words_of(Duration::from_secs(60)), "60 s");
    }
}
