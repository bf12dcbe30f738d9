//! The edge: its listeners, certificates and access log.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use nonna_edge::observe::{AccessRecord, ChannelSink};
use nonna_edge::tls::acme::{AcmeConfig, CertificateStatus, LETS_ENCRYPT};
use nonna_edge::tls::{CertificateStore, LocalAuthority, TlsConfig};
use nonna_edge::{Edge, EdgeConfig, EdgeError, EdgeHandle, Limits, Listen};
use nonna_engine::{Code, Error, Result};
use nonna_logs::{Batch, Intake, Level, LogProxy, Record, Refused, Source, Stream};
use nonna_store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::listen::Inherited;
use crate::parts::{CertificateState, EdgeStatus};

/// The kind of the blobs that keep the edge's keys and certificates.
const BLOBS: &str = "edge";
/// Batches of access records that may wait.
const BATCHES: usize = 64;

/// The edge, as the server holds it.
pub(super) struct RunningEdge {
    handle: EdgeHandle,
    certificates: Option<watch::Receiver<Vec<CertificateStatus>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningEdge {
    pub(super) fn handle(&self) -> EdgeHandle {
        self.handle.clone()
    }
}

/// Keys and certificates, sealed in the store.
struct SealedStore(Arc<dyn Store>);

impl std::fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedStore")
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an adaptor for map_err")]
fn store_error(error: Error) -> EdgeError {
    EdgeError::Store(error.to_string())
}

#[async_trait]
impl CertificateStore for SealedStore {
    async fn load(&self, name: &str) -> std::result::Result<Option<Vec<u8>>, EdgeError> {
        let found = self.0.get_blob(BLOBS, name).await.map_err(store_error)?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    async fn save(&self, name: &str, value: &[u8]) -> std::result::Result<(), EdgeError> {
        self.0.put_blob(BLOBS, name, value).await.map_err(store_error)
    }

    async fn delete(&self, name: &str) -> std::result::Result<(), EdgeError> {
        self.0.delete_blob(BLOBS, name).await.map_err(store_error)?;
        Ok(())
    }
}

/// Starts the edge.
pub(super) async fn start(
    config: &Config,
    inherited: &mut Inherited,
    store: &Arc<dyn Store>,
    logs: &LogProxy,
) -> Result<RunningEdge> {
    let mut edge = EdgeConfig {
        threads: NonZeroUsize::new(1),
        redirect_https: config.redirect,
        closed: true,
        limits: Limits {
            body_bytes: config.body_limit,
            ..Limits::default()
        },
        ..EdgeConfig::default()
    };
    if let Some(address) = config.http {
        edge.http
            .push(Listen::Bound(inherited.listener("http", address)?));
    }
    if let Some(address) = config.https {
        edge.https
            .push(Listen::Bound(inherited.listener("https", address)?));
        let sealed: Arc<dyn CertificateStore> = Arc::new(SealedStore(Arc::clone(store)));
        let local = LocalAuthority::load(sealed.as_ref()).await?;
        publish(&config.data, &local)?;
        edge.tls = Some(TlsConfig {
            store: sealed,
            local: Some(local),
        });
    }
    for network in &config.trusted_proxies {
        let network = network
            .parse()
            .map_err(|e| Error::user(Code::InvalidInput, format!("`trusted_proxies`: {e}")))?;
        edge.trusted_proxies.push(network);
    }
    let (sink, mut records) = ChannelSink::new(BATCHES);
    edge.access = Some(sink);
    let handle = Edge::start(edge)?;
    let mut tasks = Vec::new();
    let intake = logs.intake();
    tasks.push(tokio::spawn(async move {
        let mut sources = Sources::default();
        while let Some(records) = records.recv().await {
            keep(&intake, &mut sources, &records);
        }
    }));
    let mut certificates = None;
    if config.uses_acme() {
        let acme = AcmeConfig {
            directory: config
                .acme
                .directory
                .clone()
                .unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
            root: config.acme.extra_root.clone(),
            contact: config
                .acme
                .email
                .iter()
                .map(|email| format!("mailto:{email}"))
                .collect(),
            ..AcmeConfig::default()
        };
        if let Some(manager) = handle.acme(acme) {
            certificates = Some(manager.status());
            tasks.push(tokio::spawn(Box::pin(manager.run())));
        }
    }
    Ok(RunningEdge {
        handle,
        certificates,
        tasks,
    })
}

/// The sources of access records, by service: they are few.
type Sources = HashMap<Arc<str>, Arc<Source>>;

/// So many services' sources are kept ready.
const MOST_SOURCES: usize = 4096;

/// Keeps requests as records. The edge never waits: what there is no room for
/// is counted.
fn keep(intake: &Intake, sources: &mut Sources, records: &[AccessRecord]) {
    if sources.len() > MOST_SOURCES {
        sources.clear();
    }
    let mut batch = Batch::new();
    // Requests that no service has are counted by the edge, not kept: anybody
    // could fill the disk with them.
    for record in records {
        let Some(service) = &record.service else { continue };
        let source = sources
            .entry(Arc::clone(service))
            .or_insert_with(|| Source::new(service, "", Stream::Edge));
        let index = batch.source(source);
        batch.push(
            index,
            &Record {
                time: Some(record.at.saturating_mul(1_000_000)),
                line: access_line(record).as_bytes(),
                level: Some(level(record.status)),
                fields: &[
                    ("method", record.method.as_str()),
                    ("status", record.status.to_string().as_str()),
                    ("path", record.path()),
                    ("request_id", record.request_id.to_string().as_str()),
                ],
            },
        );
    }
    if batch.is_empty() {
        return;
    }
    match intake.try_push(batch) {
        Ok(ack) => ack.ignore(),
        Err(Refused::Full(batch)) => {
            for record in batch.iter() {
                intake.dropped(record.source, "too much waited to be written down", 1);
            }
        }
        Err(Refused::Closed(_)) => {}
    }
}

/// How serious an answer is.
fn level(status: u16) -> Level {
    match status {
        500.. => Level::Error,
        400..=499 => Level::Warn,
        _ => Level::Info,
    }
}

/// A request as a line, much as other servers write it.
fn access_line(record: &AccessRecord) -> String {
    let took = record.duration.as_micros();
    format!(
        "{} {} {}{} {} {} {}.{:03} ms, {} B in, {} B out, {:?} {}{}",
        record.client,
        record.method,
        record.host(),
        record.path(),
        record.version.as_str(),
        record.status,
        took / 1000,
        took % 1000,
        record.received,
        record.sent,
        record.user_agent(),
        record.request_id,
        if record.aborted { " cut off" } else { "" },
    )
}

impl Drop for RunningEdge {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[async_trait]
impl EdgeStatus for RunningEdge {
    fn open(&self) {
        self.handle.open();
    }

    fn metrics(&self) -> String {
        self.handle.metrics().prometheus()
    }

    fn certificates(&self) -> Vec<CertificateState> {
        let Some(status) = &self.certificates else {
            return Vec::new();
        };
        let seconds = |at: std::time::SystemTime| {
            at.duration_since(UNIX_EPOCH)
                .ok()
                .and_then(|d| i64::try_from(d.as_secs()).ok())
        };
        status
            .borrow()
            .iter()
            .map(|s| CertificateState {
                host: s.host.clone(),
                expires: s.expires.and_then(seconds),
                error: s.error.clone(),
            })
            .collect()
    }

    async fn close(&self, patience: Duration) {
        let cut = self.handle.shutdown(patience).await;
        if cut > 0 {
            tracing::warn!(cut, "connections were cut when the edge stopped");
        }
    }
}

/// Writes the local authority's certificate (never its key) where people find
/// it who want to trust it: `authority/local-authority.pem` in the data folder.
fn publish(data: &std::path::Path, authority: &LocalAuthority) -> Result<()> {
    let folder = data.join("authority");
    let file = folder.join("local-authority.pem");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&file, authority.certificate_pem()))
        .map_err(|error| {
            let code = if error.kind() == std::io::ErrorKind::StorageFull {
                Code::DiskFull
            } else {
                Code::StoreUnavailable
            };
            Error::provider(code, format!("{} cannot be written: {error}.", file.display()))
        })
}
