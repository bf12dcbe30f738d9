//! Which engine, and what it can do.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bollard::errors::Error as Refusal;
use bollard::{API_DEFAULT_VERSION, Docker};
use nonna_engine::{Code, Error, Result};
use tokio::sync::OnceCell;

use super::usage::Info;
use super::wire;

/// Where engines listen by default, in the order in which they are tried.
const SOCKETS: [&str; 3] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
];
/// Seconds within which an engine answers a small question.
const CALL_TIMEOUT: u64 = 30;

/// Which builder the engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Docker's BuildKit.
    BuildKit,
    /// The endpoint that was there before, which Podman has too.
    Classic,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    url: Arc<str>,
    docker: Arc<OnceLock<Docker>>,
    known: Arc<OnceCell<Kind>>,
    /// What it said of its machine: asked once.
    pub(super) info: Arc<OnceCell<Info>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The engine at this socket or URL; `None`: `DOCKER_HOST`, else the
    /// first socket that is there.
    pub(crate) fn open(endpoint: Option<&str>) -> Result<Self> {
        let given = endpoint
            .map(str::to_owned)
            .or_else(|| std::env::var("DOCKER_HOST").ok())
            .filter(|text| !text.is_empty());
        let url = match given {
            Some(path) if path.starts_with('/') => format!("unix://{path}"),
            Some(url) => url,
            None => {
                let found = SOCKETS.iter().find(|path| Path::new(path).exists());
                format!("unix://{}", found.unwrap_or(&SOCKETS[0]))
            }
        };
        if !["unix://", "tcp://", "http://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(Error::user(
                Code::InvalidInput,
                format!("`{url}` is no container engine's endpoint."),
            )
            .hint("Give a socket's path, or a URL that begins with unix://, tcp:// or http://."));
        }
        Ok(Self {
            url: url.into(),
            docker: Arc::new(OnceLock::new()),
            known: Arc::new(OnceCell::new()),
            info: Arc::new(OnceCell::new()),
        })
    }

    /// The engine's API. It is opened when it is first needed, because the
    /// engine may be started after us.
    pub(crate) fn docker(&self) -> Result<&Docker> {
        if let Some(docker) = self.docker.get() {
            return Ok(docker);
        }
        let opened = if self.url.starts_with("unix://") {
            Docker::connect_with_unix(&self.url, CALL_TIMEOUT, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(&self.url, CALL_TIMEOUT, API_DEFAULT_VERSION)
        };
        let opened = opened.map_err(|error| unavailable(&self.url, &error.to_string()))?;
        Ok(self.docker.get_or_init(|| opened))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Which builder it has: asked once.
    pub(crate) async fn kind(&self) -> Result<Kind> {
        self.known
            .get_or_try_init(|| async {
                let headers = wire::ping(self).await?;
                // Podman says so; every Docker Engine from 18.09 on, which is
                // API 1.39, has BuildKit, whichever builder it prefers.
                if headers.contains_key("libpod-api-version") {
                    return Ok(Kind::Classic);
                }
                let minor = headers
                    .get("api-version")
                    .and_then(|version| version.to_str().ok())
                    .and_then(|version| version.split_once('.'))
                    .and_then(|(_, minor)| minor.parse::<u32>().ok());
                Ok(if minor.is_some_and(|minor| minor >= 39) {
                    Kind::BuildKit
                } else {
                    Kind::Classic
                })
            })
            .await
            .copied()
    }

    /// An error of the engine's, met while doing `what`.
    pub(crate) fn refused(&self, what: &str, error: &Refusal) -> Error {
        match error {
            Refusal::DockerResponseServerError { status_code, message } => {
                self.said_no(what, *status_code, message)
            }
            other => unavailable(&self.url, &chain(other)),
        }
    }

    /// The engine answered with this status and these words.
    pub(crate) fn said_no(&self, what: &str, status: u16, words: &str) -> Error {
        let words = words.trim();
        if is_disk_full(words) {
            return disk_full(words);
        }
        let error = Error::provider(
            Code::RuntimeRefused,
            format!("The container engine refused to {what}."),
        )
        .said(format!("{status}: {words}"));
        if status >= 500 { error.retry() } else { error }
    }

    /// It cannot be reached, or was cut off.
    pub(super) fn unavailable(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        unavailable(&self.url, &chain(error))
    }
}

/// Whether the words of an engine or a build say that the disk is full.
pub(crate) fn is_disk_full(words: &str) -> bool {
    words.to_ascii_lowercase().contains("no space left on device")
}

/// No room for a build.
pub(crate) fn disk_full(words: &str) -> Error {
    Error::provider(Code::DiskFull, "The disk is full: there is no room to build.")
        .hint("Free some room (`docker system df` says what the container engine uses), then deploy again.")
        .said(words)
        .retry()
}

/// An error with what is behind it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}

fn unavailable(url: &str, said: &str) -> Error {
    let hint = if said.contains("ermission denied") {
        "Run Nonna as root, or as a user of the group that owns the socket (often `docker`)."
    } else {
        "Start it (`systemctl start docker`, or `systemctl start podman.socket`), or name another endpoint with DOCKER_HOST."
    };
    Error::provider(
        Code::RuntimeUnavailable,
        format!("No container engine answers at {url}."),
    )
    .hint(hint)
    .said(said)
    .retry()
}
