//! Nonna's own server with a journal that ends the process (SIGKILL) just
//! before or just after a write, for the crash matrix.
//!
//! The file `kill-at` in the data folder holds the number of the write, counted
//! while the file is there, and `before` or `after`. Without the file nothing
//! happens. Arguments: `server` and the server's own settings as `--key value`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use async_trait::async_trait;
use nonna_engine::event::Outcome;
use nonna_engine::ports::Journal;
use nonna_engine::ports::journal::Entry;
use nonna_engine::{Error, Result};
use nonna_model::plan::{Plan, StepId};
use nonna_model::{DeploymentId, ServiceId};
use nonna_server::{Config, ServerParts, Sources};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

struct Killing {
    journal: Arc<dyn Journal>,
    trap: PathBuf,
    writes: AtomicUsize,
}

impl Killing {
    async fn write<T>(&self, write: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let Some((at, side)) = self.trap() else {
            return write.await;
        };
        let sprung = self.writes.fetch_add(1, Ordering::SeqCst) + 1 == at;
        if sprung && side == "before" {
            die();
        }
        let result = write.await;
        if sprung {
            die();
        }
        result
    }

    fn trap(&self) -> Option<(usize, String)> {
        let text = std::fs::read_to_string(&self.trap).ok()?;
        let (at, side) = text.split_once(' ')?;
        Some((at.parse().ok()?, side.to_owned()))
    }
}

/// Ends this process as `kill -9` does: no destructor, no flush.
fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

#[async_trait]
impl Journal for Killing {
    async fn record(&self, deployment: &DeploymentId, entry: Entry) -> Result<()> {
        self.write(self.journal.record(deployment, entry)).await
    }

    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>> {
        self.journal.entries(deployment).await
    }

    async fn turn_back(&self, deployment: &DeploymentId, error: &Error) -> Result<()> {
        self.write(self.journal.turn_back(deployment, error)).await
    }

    async fn turned_back(&self, deployment: &DeploymentId) -> Result<Option<Error>> {
        self.journal.turned_back(deployment).await
    }

    async fn set_image(&self, deployment: &DeploymentId, service: &ServiceId, image: &str) -> Result<()> {
        self.write(self.journal.set_image(deployment, service, image))
            .await
    }

    async fn images(&self, deployment: &DeploymentId) -> Result<BTreeMap<ServiceId, String>> {
        self.journal.images(deployment).await
    }

    async fn keep_origin(&self, image: &str, reference: &str) -> Result<()> {
        self.journal.keep_origin(image, reference).await
    }

    async fn origin(&self, image: &str) -> Result<Option<String>> {
        self.journal.origin(image).await
    }

    async fn commit(&self, deployment: &DeploymentId, plan: &Plan, step: StepId) -> Result<()> {
        self.write(self.journal.commit(deployment, plan, step)).await
    }

    async fn finish(&self, deployment: &DeploymentId, plan: &Plan, outcome: &Outcome) -> Result<()> {
        self.write(self.journal.finish(deployment, plan, outcome)).await
    }

    async fn open_secrets(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>> {
        self.journal.open_secrets(service, versions).await
    }
}

fn settings() -> anyhow::Result<Vec<(String, String)>> {
    let mut flags = Vec::new();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "server");
    while let Some(key) = arguments.next() {
        let key = key
            .strip_prefix("--")
            .with_context(|| format!("{key} is no setting"))?;
        let value = arguments
            .next()
            .with_context(|| format!("--{key} has no value"))?;
        flags.push((key.to_owned(), value));
    }
    Ok(flags)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let config = Config::load(&Sources {
        file: None,
        environment: environment.clone(),
        flags: settings()?,
    })?;
    nonna_server::init_logging(&config)?;
    let trap = config.data.join("kill-at");
    let around = |parts: ServerParts| {
        let journal = Arc::new(Killing {
            journal: parts.journal,
            trap,
            writes: AtomicUsize::new(0),
        });
        ServerParts { journal, ..parts }
    };
    let say = |text: &str| {
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    };
    let mut term = signal(SignalKind::terminate())?;
    let shutdown = async move {
        term.recv().await;
    };
    nonna_server::run_with(config, &environment, say, shutdown, around).await?;
    Ok(())
}
