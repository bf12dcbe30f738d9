//! The logs of all that runs here: captured, kept, searched, followed.

mod capture;
mod feeder;
mod own;
mod replicas;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use nonna_engine::Result;
use nonna_engine::event::EventSink;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::runtime::Launch;
use nonna_logs::LogProxy;
use nonna_model::plan::{Plan, Scope};
use nonna_store::Store;
use nonna_store::records::Deployment;
use tokio_util::sync::CancellationToken;

use capture::RuntimeCapture;
use secrets::Secrets;

pub use nonna_logs::capture::Capture;
pub(crate) use replicas::ReplicaCapture;

/// How long the end of the server waits for what is on its way.
const PATIENCE: Duration = Duration::from_secs(5);

/// A service's label, as records carry it: `shop/production/web`.
pub(crate) fn label(scope: &Scope, service: &str) -> String {
    format!("{}/{}/{service}", scope.project_name, scope.environment_name)
}

/// The logs, as the server holds them. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

struct Inner {
    proxy: Arc<LogProxy>,
    secrets: Secrets,
}

impl Logs {
    /// Logs that this log proxy keeps.
    #[must_use]
    pub fn new(proxy: Arc<LogProxy>) -> Self {
        Self(Arc::new(Inner {
            secrets: Secrets::new(Arc::clone(&proxy)),
            proxy,
        }))
    }

    /// What keeps them.
    #[must_use]
    pub fn proxy(&self) -> &Arc<LogProxy> {
        &self.0.proxy
    }

    /// Takes note of the secrets that a replica is about to be given: they are
    /// taken out of its environment's records.
    pub fn redact(&self, launch: &Launch) {
        self.0.secrets.seen(launch);
    }

    /// Begins to capture what replicas print, until `closing`. `capture`: how,
    /// where there is a better way than the runtime's own.
    ///
    /// # Errors
    /// `StoreUnavailable`, `SealBroken`.
    pub(crate) async fn start(
        &self,
        store: Arc<dyn Store>,
        runtime: Arc<dyn Runtime>,
        capture: Option<Arc<dyn Capture>>,
        closing: CancellationToken,
    ) -> Result<impl Future<Output = ()> + use<>> {
        self.0.secrets.load(store.as_ref()).await?;
        let feeder = feeder::Feeder {
            proxy: Arc::clone(&self.0.proxy),
            capture: capture.unwrap_or_else(|| Arc::new(RuntimeCapture(Arc::clone(&runtime)))),
            runtime,
            store,
        };
        Ok(feeder.run(closing))
    }

    /// A sink that also keeps a deployment's events as records.
    pub(crate) fn recording(&self, deployment: &Deployment, inner: Arc<dyn EventSink>) -> Arc<dyn EventSink> {
        Arc::new(own::Recording::new(Arc::clone(&self.0.proxy), deployment, inner))
    }

    /// Forgets the records of what a plan has destroyed.
    pub(crate) fn forget_removed(&self, plan: &Plan) {
        let gone = plan.services.values().filter(|service| service.release.is_none());
        let mut labels: Vec<String> = gone
            .map(|service| label(&plan.scope, service.name.as_str()))
            .collect();
        if plan.remove_environment {
            // All of it, whatever services it had.
            labels = vec![label(&plan.scope, "")];
        }
        for label in labels {
            if let Err(error) = self.0.proxy.forget(&label) {
                tracing::warn!(%error, label, "the logs of what was destroyed cannot be forgotten");
            }
        }
    }

    /// Writes down what is on its way.
    pub(crate) async fn flush(&self) {
        match tokio::time::timeout(PATIENCE, self.0.proxy.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "logs could not be written down"),
            Err(_) => tracing::warn!("logs could not be written down within 5 seconds"),
        }
    }
}
