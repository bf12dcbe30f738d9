//! What a server is put together from: the ports, and the few things beyond
//! them that the API shows. Tests bring fakes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use nonna_api::ContextAnswer;
use nonna_engine::ports::storage::{Disk, Removed, StoredCache, StoredImage};
use nonna_engine::ports::{BuildStorage, Builder, Journal, Router, Runtime};
use nonna_engine::{Code, Error, Result};
use nonna_model::context::ContextManifest;
use nonna_store::Store;

use crate::logs::{Capture, Logs};

/// Build contexts as the API takes them in.
#[async_trait]
pub trait Contexts: Send + Sync {
    /// Notes which files a context has; answers which contents are missing.
    ///
    /// # Errors
    /// `InvalidContext`.
    async fn announce(&self, manifest: ContextManifest) -> Result<ContextAnswer>;

    /// Takes missing contents, as a stream of frames
    /// ([`nonna_model::context`]), and makes the context usable.
    ///
    /// # Errors
    /// `InvalidContext`, `DiskFull`.
    async fn receive(&self, digest: &str, body: BoxStream<'static, std::io::Result<Bytes>>) -> Result<()>;

    /// Which files a context has; `None` where it is not here any more.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    async fn manifest(&self, digest: &str) -> Result<Option<ContextManifest>>;
}

/// How the edge fares.
#[async_trait]
pub trait EdgeStatus: Send + Sync {
    /// Its counters in Prometheus' text format.
    fn metrics(&self) -> String;

    /// When each host's certificate ends (seconds since 1970, UTC; `None`:
    /// there is none) and what the last failure to get one was.
    fn certificates(&self) -> Vec<CertificateState>;

    /// Begins to accept requests: the routes are known now.
    fn open(&self);

    /// Lets what is under way end within this time, then ends it all.
    async fn close(&self, patience: std::time::Duration);
}

/// How it stands with one host's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateState {
    /// The host.
    pub host: String,
    /// When it ends: seconds since 1970, UTC.
    pub expires: Option<i64>,
    /// Why there is none, or no newer one.
    pub error: Option<String>,
}

/// A copy of the server's own state.
#[async_trait]
pub trait Backup: Send + Sync {
    /// The backup, piece by piece.
    ///
    /// # Errors
    /// `StoreUnavailable`, `DiskFull`.
    async fn backup(&self) -> Result<BoxStream<'static, std::io::Result<Bytes>>>;
}

/// Whether the limits of builds hold.
#[async_trait]
pub trait LimitsStatus: Send + Sync {
    /// The limits in words, or why they do not hold.
    async fn state(&self) -> Result<String, String>;
}

/// What a server is put together from.
#[derive(Clone)]
pub struct ServerParts {
    /// Where services run.
    pub runtime: Arc<dyn Runtime>,
    /// What makes images.
    pub builder: Arc<dyn Builder>,
    /// What leads requests to replicas.
    pub router: Arc<dyn Router>,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// The journal; the store itself, or something around it that watches or
    /// fails on purpose.
    pub journal: Arc<dyn Journal>,
    /// Build contexts.
    pub contexts: Arc<dyn Contexts>,
    /// The edge, beyond its routes.
    pub edge: Arc<dyn EdgeStatus>,
    /// What all that runs here prints; `None`: it is not kept.
    pub logs: Option<Logs>,
    /// How output is captured; `None`: by the runtime's own means.
    pub capture: Option<Arc<dyn Capture>>,
    /// Backups.
    pub backup: Arc<dyn Backup>,
    /// What builds leave.
    pub storage: Arc<dyn BuildStorage>,
    /// The limits of builds.
    pub build_limits: Arc<dyn LimitsStatus>,
    /// Repositories; `None`: nothing is pushed to this server.
    pub git: Option<Arc<nonna_git::Home>>,
}

impl ServerParts {
    /// Parts of the ports alone: contexts are refused, and there is no edge to
    /// ask, no logs, no backup.
    #[must_use]
    pub fn new(
        runtime: Arc<dyn Runtime>,
        builder: Arc<dyn Builder>,
        router: Arc<dyn Router>,
        store: Arc<dyn Store>,
    ) -> Self {
        let absent = Arc::new(Absent);
        Self {
            runtime,
            builder,
            router,
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            store,
            contexts: Arc::clone(&absent) as Arc<dyn Contexts>,
            edge: Arc::clone(&absent) as Arc<dyn EdgeStatus>,
            logs: None,
            capture: None,
            backup: Arc::clone(&absent) as Arc<dyn Backup>,
            storage: Arc::clone(&absent) as Arc<dyn BuildStorage>,
            build_limits: absent,
            git: None,
        }
    }
}

/// What stands in for a part that a server does not have.
#[derive(Debug, Clone, Copy)]
struct Absent;

fn absent(what: &str) -> Error {
    Error::provider(Code::NotFound, format!("This server has no {what}."))
}

#[async_trait]
impl Contexts for Absent {
    async fn announce(&self, _manifest: ContextManifest) -> Result<ContextAnswer> {
        Err(absent("place for build contexts"))
    }

    async fn receive(&self, _digest: &str, _body: BoxStream<'static, std::io::Result<Bytes>>) -> Result<()> {
        Err(absent("place for build contexts"))
    }

    async fn manifest(&self, _digest: &str) -> Result<Option<ContextManifest>> {
        Ok(None)
    }
}

#[async_trait]
impl LimitsStatus for Absent {
    async fn state(&self) -> Result<String, String> {
        Err("this server builds nothing".to_owned())
    }
}

#[async_trait]
impl BuildStorage for Absent {
    async fn images(&self) -> Result<Vec<StoredImage>> {
        Ok(Vec::new())
    }

    async fn remove_image(&self, _image: &str) -> Result<bool> {
        Ok(false)
    }

    async fn caches(&self) -> Result<Vec<StoredCache>> {
        Ok(Vec::new())
    }

    async fn remove_caches(&self, _ids: &[String]) -> Result<Removed> {
        Ok(Removed::default())
    }

    async fn retain_contexts(
        &self,
        _digests: &[String],
        _grace: std::time::Duration,
        _dry_run: bool,
    ) -> Result<Removed> {
        Ok(Removed::default())
    }

    async fn disks(&self) -> Result<Vec<Disk>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl EdgeStatus for Absent {
    fn open(&self) {}

    fn metrics(&self) -> String {
        String::new()
    }

    fn certificates(&self) -> Vec<CertificateState> {
        Vec::new()
    }

    async fn close(&self, _patience: std::time::Duration) {}
}

#[async_trait]
impl Backup for Absent {
    async fn backup(&self) -> Result<BoxStream<'static, std::io::Result<Bytes>>> {
        Err(absent("backups"))
    }
}
