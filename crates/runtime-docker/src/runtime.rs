//! The port's calls, each led to where it is done.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use nonna_engine::event::Progress;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::output::OutputPlace;
use nonna_engine::ports::runtime::{
    Capabilities, Command, Endpoint, Image, Launch, LogLine, LogQuery, OutputLine, ReplicaStats, RuntimeEvent,
};
use nonna_engine::{Error, Result};
use nonna_model::observed::Observed;
use nonna_model::plan::{Job, Scope};
use nonna_model::{EnvironmentId, Name, OrganizationId, ReleaseNumber, ServiceId};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::config::DockerConfig;
use crate::{
    error, image, job, logs, network, observe, output, push, session, start, stats, stop, volume, watch,
};

/// Services as containers of one container engine.
///
/// Cheap to clone: all clones are one runtime.
#[derive(Clone)]
pub struct DockerRuntime {
    client: Client,
}

impl DockerRuntime {
    /// Connects to the engine and agrees on the version of its API.
    ///
    /// # Errors
    /// `RuntimeUnavailable` when nothing answers there.
    pub async fn connect(config: &DockerConfig) -> Result<Self> {
        Ok(Self {
            client: Client::connect(config).await?,
        })
    }

    /// Where the engine is reached: `unix:///var/run/docker.sock`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.client.endpoint
    }

    /// Calls that cancelling just drops: all that was made is found again.
    async fn unless_cancelled<T>(
        cancel: &CancellationToken,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::cancelled()),
            result = work => result,
        }
    }
}

impl std::fmt::Debug for DockerRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerRuntime")
            .field("endpoint", &self.client.endpoint)
            .field("installation", &self.client.installation)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn capabilities(&self) -> Result<Capabilities> {
        let said = |e| error::unavailable(&self.client.endpoint, &error::words(&e));
        self.client.docker.ping().await.map_err(said)?;
        Ok(Capabilities {
            name: self.client.name.clone(),
            cpu_limits: true,
            memory_limits: true,
            routes: false,
        })
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<Observed> {
        observe::one(&self.client, environment).await
    }

    async fn observe_all(&self) -> Result<Vec<Observed>> {
        observe::all(&self.client).await
    }

    async fn ensure_network(&self, scope: &Scope) -> Result<()> {
        network::ensure(&self.client, scope).await
    }

    async fn remove_network(&self, environment: &EnvironmentId) -> Result<()> {
        network::remove(&self.client, environment).await
    }

    async fn ensure_volume(&self, scope: &Scope, service: &ServiceId, volume: &Name) -> Result<()> {
        volume::ensure(&self.client, scope, service, volume).await
    }

    async fn remove_volume(&self, service: &ServiceId, volume: &Name) -> Result<()> {
        volume::remove(&self.client, service, volume).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        image::find(&self.client, reference).await
    }

    async fn pull(
        &self,
        organization: &OrganizationId,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Image> {
        let work = image::pull(&self.client, organization, reference, progress);
        Self::unless_cancelled(cancel, work).await
    }

    async fn push(
        &self,
        organization: &OrganizationId,
        image: &str,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<String> {
        let work = push::push(&self.client, organization, image, reference, progress);
        Self::unless_cancelled(cancel, work).await
    }

    async fn export_image(&self, image: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        image::export(&self.client, image).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        image::remove(&self.client, image).await
    }

    async fn start_replicas(
        &self,
        launch: &Launch,
        count: u32,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<Endpoint>> {
        let work = start::replicas(&self.client, launch, count, progress);
        Self::unless_cancelled(cancel, work).await
    }

    async fn stop_replicas(&self, service: &ServiceId, release: ReleaseNumber) -> Result<()> {
        stop::stop(&self.client, service, release).await
    }

    async fn retire_replicas(&self, service: &ServiceId, keep: Option<(ReleaseNumber, u32)>) -> Result<()> {
        stop::retire(&self.client, service, keep).await
    }

    async fn run(&self, launch: &Launch, command: Command, cancel: &CancellationToken) -> Result<i64> {
        session::run(&self.client, launch, command, cancel).await
    }

    async fn run_job(
        &self,
        launch: &Launch,
        job: Job,
        arguments: &[String],
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<i64> {
        job::run(&self.client, launch, job, arguments, progress, cancel).await
    }

    async fn remove_jobs(&self, service: &ServiceId, job: Option<Job>) -> Result<()> {
        job::remove(&self.client, service, job).await
    }

    async fn exec(
        &self,
        service: &ServiceId,
        index: Option<u32>,
        command: Command,
        cancel: &CancellationToken,
    ) -> Result<i64> {
        session::exec(&self.client, service, index, command, cancel).await
    }

    async fn logs(
        &self,
        service: &ServiceId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        logs::read(&self.client, service, query).await
    }

    async fn output(
        &self,
        replica: &str,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Result<OutputLine>>> {
        Ok(logs::output(&self.client, replica, after))
    }

    async fn stats(&self, service: &ServiceId) -> Result<Vec<ReplicaStats>> {
        stats::read(&self.client, service).await
    }

    async fn output_place(&self, replica: &str) -> Result<Option<OutputPlace>> {
        output::place(&self.client, replica).await
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        watch::events(&self.client)
    }
}
