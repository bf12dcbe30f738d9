//! Which container engine, and for whom.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nonna_engine::ports::registry::NoCredentials;
use nonna_engine::ports::{Credentials, OutputPipes};

/// Where engines listen by default, in the order in which they are tried.
const SOCKETS: [&str; 3] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
];

/// How to reach the container engine.
#[derive(Clone)]
pub struct DockerConfig {
    /// A socket's path, `unix://…`, `tcp://…` or `http://…`. `None`: the
    /// environment variable `DOCKER_HOST`, else Docker's socket, else Podman's.
    pub endpoint: Option<String>,
    /// The installation's id: what is made carries it as a label, and nothing
    /// without it is touched.
    pub installation: String,
    /// How long a call waits for an engine that is being restarted.
    pub patience: Duration,
    /// How long a registry may send nothing, while an image is fetched, until
    /// it is given up.
    pub pull_stall: Duration,
    /// Who we are to registries.
    pub credentials: Arc<dyn Credentials>,
    /// The first two numbers of the private addresses of which networks are
    /// made when the engine has no more of its own (Docker's default pool has
    /// 31 networks): `(10, 213)` gives `10.213.0.0/24` to `10.213.255.0/24`.
    pub subnet_pool: (u8, u8),
    /// Pipes that new replicas print into; `None`: the engine keeps what they
    /// print.
    pub pipes: Option<Arc<dyn OutputPipes>>,
}

impl DockerConfig {
    /// The engine of this machine, for this installation.
    #[must_use]
    pub fn new(installation: impl Into<String>) -> Self {
        Self {
            endpoint: None,
            installation: installation.into(),
            patience: Duration::from_secs(20),
            pull_stall: Duration::from_secs(60),
            credentials: Arc::new(NoCredentials),
            subnet_pool: (10, 213),
            pipes: None,
        }
    }

    /// The endpoint in the form of a URL.
    pub(crate) fn url(&self) -> String {
        let given = self
            .endpoint
            .clone()
            .or_else(|| std::env::var("DOCKER_HOST").ok())
            .filter(|text| !text.is_empty());
        match given {
            Some(text) if text.starts_with('/') => format!("unix://{text}"),
            Some(text) => text,
            None => {
                let found = SOCKETS.iter().find(|path| Path::new(path).exists());
                format!("unix://{}", found.unwrap_or(&SOCKETS[0]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_socket_and_a_url_stays_one() {
        let mut config = DockerConfig::new("test");
        config.endpoint = Some("/run/x.sock".into());
        assert_eq!(config.url(), "unix:///run/x.sock");
        config.endpoint = Some("tcp://127.0.0.1:2375".into());
        assert_eq!(config.url(), "tcp://127.0.0.1:2375");
    }
}
