//! The connection to the engine: made once, and patient while the engine is
//! being restarted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as Refusal;
use bollard::{API_DEFAULT_VERSION, Docker};
use nonna_engine::ports::{Credentials, OutputPipes};
use nonna_engine::{Error, Result};
use tokio::time::Instant;

use crate::config::DockerConfig;
use crate::error;

/// Seconds until a call without an answer is given up.
const CALL_TIMEOUT: u64 = 120;
/// The first and the longest pause between two attempts to connect.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// The engine's API, and who we are to it.
#[derive(Clone)]
pub(crate) struct Client {
    pub docker: Docker,
    pub installation: String,
    pub endpoint: String,
    /// What it is: `Docker Engine 20.10.24`, `Podman 4.3.1`.
    pub name: String,
    pub podman: bool,
    pub subnet_pool: (u8, u8),
    pub pull_stall: Duration,
    pub credentials: Arc<dyn Credentials>,
    pub pipes: Option<Arc<dyn OutputPipes>>,
    patience: Duration,
}

impl Client {
    pub(crate) async fn connect(config: &DockerConfig) -> Result<Self> {
        let endpoint = config.url();
        let unavailable = |e: &Refusal| error::unavailable(&endpoint, &error::words(e));
        let docker = open(&endpoint).map_err(|e| unavailable(&e))?;
        let docker = docker.negotiate_version().await.map_err(|e| unavailable(&e))?;
        let version = docker.version().await.map_err(|e| unavailable(&e))?;
        let podman = version
            .components
            .iter()
            .flatten()
            .any(|component| component.name.contains("Podman"));
        let kind = if podman { "Podman" } else { "Docker Engine" };
        let number = version.version.unwrap_or_default();
        let number = number.split('+').next().unwrap_or_default();
        Ok(Self {
            docker,
            installation: config.installation.clone(),
            name: format!("{kind} {number}"),
            podman,
            endpoint,
            subnet_pool: config.subnet_pool,
            pull_stall: config.pull_stall,
            credentials: Arc::clone(&config.credentials),
            pipes: config.pipes.clone(),
            patience: config.patience,
        })
    }

    /// Calls the engine; while it cannot be reached, or its answer is one of
    /// the moment, tries again for a while.
    /// Every call must be one that can be made twice.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(Docker) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut pause = RETRY_FIRST;
        loop {
            match call(self.docker.clone()).await {
                Err(e)
                    if (error::is_unreachable(&e) || error::is_in_between(&e))
                        && Instant::now() + pause < deadline =>
                {
                    tracing::debug!(error = %e, "the container engine cannot answer; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LONGEST);
                }
                result => return result,
            }
        }
    }

    /// An error of the engine's, met while doing `what`.
    pub(crate) fn refused(&self, what: &str, error: &Refusal) -> Error {
        error::refused(&self.endpoint, what, error)
    }
}

fn open(endpoint: &str) -> Result<Docker, Refusal> {
    if endpoint.starts_with("unix://") {
        Docker::connect_with_unix(endpoint, CALL_TIMEOUT, API_DEFAULT_VERSION)
    } else if endpoint.starts_with("tcp://") || endpoint.starts_with("http://") {
        Docker::connect_with_http(endpoint, CALL_TIMEOUT, API_DEFAULT_VERSION)
    } else {
        Err(Refusal::UnsupportedURISchemeError {
            uri: endpoint.to_owned(),
        })
    }
}
