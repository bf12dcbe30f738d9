//! The container engine, also where it is not there yet: the server starts,
//! answers and says what is wrong, and finds the engine when it comes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use nonna_engine::event::Progress;
use nonna_engine::ports::output::OutputPlace;
use nonna_engine::ports::runtime::{
    Capabilities, Command, Endpoint, Image, Launch, LogLine, LogQuery, OutputLine, ReplicaStats, RuntimeEvent,
};
use nonna_engine::ports::{Credentials, OutputPipes, Runtime};
use nonna_engine::{Code, Error, Result};
use nonna_model::observed::Observed;
use nonna_model::plan::{Job, Scope};
use nonna_model::{EnvironmentId, Name, OrganizationId, ReleaseNumber, ServiceId};
use nonna_runtime_docker::{DockerConfig, DockerRuntime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::logs::Logs;

/// How often it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

type State = Option<Result<DockerRuntime>>;

/// A runtime that connects when its engine is there.
#[derive(Clone)]
pub(super) struct LateRuntime {
    state: watch::Receiver<State>,
    logs: Logs,
}

impl LateRuntime {
    /// Begins to connect.
    pub(super) fn start(
        endpoint: Option<String>,
        pull_stall: Duration,
        installation: String,
        credentials: Arc<dyn Credentials>,
        logs: Logs,
        pipes: Option<Arc<dyn OutputPipes>>,
    ) -> Self {
        let (sender, state) = watch::channel(None);
        tokio::spawn(async move {
            let mut config = DockerConfig::new(installation);
            config.endpoint = endpoint;
            config.pull_stall = pull_stall;
            config.credentials = credentials;
            config.pipes = pipes;
            while !sender.is_closed() {
                let result = DockerRuntime::connect(&config).await;
                let done = result.is_ok();
                if let Err(error) = &result
                    && sender.borrow().is_none()
                {
                    tracing::warn!(%error, "the container engine does not answer yet");
                }
                let _ = sender.send(Some(result));
                if done {
                    // The sender stays, so that watchers see no end.
                    sender.closed().await;
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { state, logs }
    }

    /// Waits until it is connected, at most this long.
    pub(super) async fn settle(&self, patience: Duration) {
        let mut state = self.state.clone();
        let connected = state.wait_for(|s| matches!(s, Some(Ok(_))));
        let _ = tokio::time::timeout(patience, connected).await;
    }

    fn get(&self) -> Result<DockerRuntime> {
        match &*self.state.borrow() {
            Some(Ok(runtime)) => Ok(runtime.clone()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::provider(
                Code::RuntimeUnavailable,
                "The container engine has not answered yet.",
            )
            .hint("Try again in a moment; `nonna doctor` says more.")
            .retry()),
        }
    }
}

#[async_trait]
impl Runtime for LateRuntime {
    async fn capabilities(&self) -> Result<Capabilities> {
        self.get()?.capabilities().await
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<Observed> {
        self.get()?.observe(environment).await
    }

    async fn observe_all(&self) -> Result<Vec<Observed>> {
        self.get()?.observe_all().await
    }

    async fn ensure_network(&self, scope: &Scope) -> Result<()> {
        self.get()?.ensure_network(scope).await
    }

    async fn remove_network(&self, environment: &EnvironmentId) -> Result<()> {
        self.get()?.remove_network(environment).await
    }

    async fn ensure_volume(&self, scope: &Scope, service: &ServiceId, volume: &Name) -> Result<()> {
        self.get()?.ensure_volume(scope, service, volume).await
    }

    async fn remove_volume(&self, service: &ServiceId, volume: &Name) -> Result<()> {
        self.get()?.remove_volume(service, volume).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        self.get()?.image(reference).await
    }

    async fn pull(
        &self,
        organization: &OrganizationId,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Image> {
        self.get()?.pull(organization, reference, progress, cancel).await
    }

    async fn push(
        &self,
        organization: &OrganizationId,
        image: &str,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<String> {
        self.get()?
            .push(organization, image, reference, progress, cancel)
            .await
    }

    async fn export_image(&self, image: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.get()?.export_image(image).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.get()?.remove_image(image).await
    }

    async fn start_replicas(
        &self,
        launch: &Launch,
        count: u32,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<Endpoint>> {
        // Before anything can print them.
        self.logs.redact(launch);
        self.get()?.start_replicas(launch, count, progress, cancel).await
    }

    async fn stop_replicas(&self, service: &ServiceId, release: ReleaseNumber) -> Result<()> {
        self.get()?.stop_replicas(service, release).await
    }

    async fn retire_replicas(&self, service: &ServiceId, keep: Option<(ReleaseNumber, u32)>) -> Result<()> {
        self.get()?.retire_replicas(service, keep).await
    }

    async fn run(&self, launch: &Launch, command: Command, cancel: &CancellationToken) -> Result<i64> {
        self.get()?.run(launch, command, cancel).await
    }

    async fn run_job(
        &self,
        launch: &Launch,
        job: Job,
        arguments: &[String],
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<i64> {
        self.logs.redact(launch);
        self.get()?
            .run_job(launch, job, arguments, progress, cancel)
            .await
    }

    async fn remove_jobs(&self, service: &ServiceId, job: Option<Job>) -> Result<()> {
        self.get()?.remove_jobs(service, job).await
    }

    async fn exec(
        &self,
        service: &ServiceId,
        index: Option<u32>,
        command: Command,
        cancel: &CancellationToken,
    ) -> Result<i64> {
        self.get()?.exec(service, index, command, cancel).await
    }

    async fn logs(
        &self,
        service: &ServiceId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.get()?.logs(service, query).await
    }

    async fn output(
        &self,
        replica: &str,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Result<OutputLine>>> {
        self.get()?.output(replica, after).await
    }

    async fn stats(&self, service: &ServiceId) -> Result<Vec<ReplicaStats>> {
        self.get()?.stats(service).await
    }

    async fn output_place(&self, replica: &str) -> Result<Option<OutputPlace>> {
        self.get()?.output_place(replica).await
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        if let Ok(runtime) = self.get() {
            return runtime.watch();
        }
        let mut state = self.state.clone();
        // From when it is there on, with a first word that anything may have
        // changed.
        stream::once(async move {
            let connected = state.wait_for(|s| matches!(s, Some(Ok(_)))).await;
            match connected.as_deref() {
                Ok(Some(Ok(runtime))) => {
                    let first = stream::iter([RuntimeEvent::Resumed]);
                    first.chain(runtime.watch()).boxed()
                }
                _ => stream::pending().boxed(),
            }
        })
        .flatten()
        .boxed()
    }
}
