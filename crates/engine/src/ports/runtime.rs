//! Where services run.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use nonna_model::image::ImageReference;
use nonna_model::observed::Observed;
use nonna_model::plan::{Job, Scope};
use nonna_model::{EnvironmentId, Name, OrganizationId, ReleaseNumber, ServiceId, ServiceSpec};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::event::Progress;
use crate::ports::output::OutputPlace;

/// What a runtime can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What it is, for people: `Docker Engine 20.10.24`.
    pub name: String,
    /// Limits on processor time are honoured.
    pub cpu_limits: bool,
    /// Limits on memory are honoured.
    pub memory_limits: bool,
    /// It routes requests itself (a cluster's ingress): Nonna's edge is not
    /// needed.
    pub routes: bool,
}

/// A release to be run: all a runtime needs to know.
#[derive(Debug, Clone)]
pub struct Launch {
    /// In which environment.
    pub scope: Scope,
    /// Which service.
    pub service: ServiceId,
    /// Its name: what others in the environment reach it by.
    pub service_name: Name,
    /// Which release.
    pub release: ReleaseNumber,
    /// The image, as [`Runtime::pull`] or the builder returned it.
    pub image: String,
    /// Where exactly this image can be fetched again if the runtime has lost
    /// it: a repository with a digest.
    pub origin: Option<String>,
    /// The configuration.
    pub spec: ServiceSpec,
    /// The opened values of `spec.secrets`.
    pub secrets: BTreeMap<String, SecretString>,
}

/// A replica that answered its health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which replica, from 0.
    pub index: u32,
    /// Where its port is reached; `None` for a service without one.
    pub address: Option<SocketAddr>,
}

/// An image that a runtime holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What to start replicas with: it never comes to mean another image.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
    /// The ports that the image says it listens on.
    pub ports: Vec<u16>,
    /// The references by which registries have exactly this image, as far as
    /// the runtime knows: repositories with a digest.
    pub references: Vec<String>,
}

impl Image {
    /// The reference by which the registry of `of` has exactly this image.
    #[must_use]
    pub fn origin(&self, of: &str) -> Option<&str> {
        let of: ImageReference = of.parse().ok()?;
        self.references
            .iter()
            .find(|reference| {
                reference
                    .parse::<ImageReference>()
                    .is_ok_and(|found| found.digest.is_some() && found.is_same_repository(&of))
            })
            .map(String::as_str)
    }
}

/// Which log lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// Only this release's.
    pub release: Option<ReleaseNumber>,
    /// Only this replica's.
    pub index: Option<u32>,
    /// Not before: milliseconds since 1970, UTC.
    pub since: Option<i64>,
    /// Not after: milliseconds since 1970, UTC.
    pub until: Option<i64>,
    /// Only the last so many lines of each replica.
    pub tail: Option<u32>,
    /// Go on with new lines, of new replicas too.
    pub follow: bool,
}

/// A line that a replica printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// Of which release.
    pub release: ReleaseNumber,
    /// By which replica.
    pub index: u32,
    /// To standard error.
    pub stderr: bool,
    /// The line without its end.
    pub line: String,
}

/// A line of a replica's output, as exactly as the runtime has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// When: nanoseconds since 1970, UTC. A later line of the same replica has
    /// a later time, as far as the machine's clock does not go backwards.
    pub nanos: i64,
    /// To standard error.
    pub stderr: bool,
    /// The line without its end. Any bytes.
    pub line: Vec<u8>,
}

/// What a replica uses now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStats {
    /// Of which release.
    pub release: ReleaseNumber,
    /// Which replica.
    pub index: u32,
    /// Processor time used since it started, in microseconds.
    pub cpu_micros: u64,
    /// Memory in use, without caches, in bytes.
    pub memory: u64,
    /// The memory limit in bytes, if there is one.
    pub memory_limit: Option<u64>,
}

/// Something that happened in a runtime by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Replicas of an environment started, ended or changed their address:
    /// observe it again.
    Changed {
        /// Which environment.
        environment: EnvironmentId,
    },
    /// The stream was broken (the container engine restarted, say) and goes
    /// on: anything may have changed.
    Resumed,
}

/// What goes into a command that runs in a replica.
#[derive(Debug)]
pub enum Input {
    /// Bytes for its standard input.
    Bytes(Vec<u8>),
    /// Its standard input ends.
    End,
    /// The terminal has this size now.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
}

/// What comes out of a command that runs in a replica.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output (or the terminal's).
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
}

/// A command to run in a replica, and its streams.
#[derive(Debug)]
pub struct Command {
    /// The program and its arguments; empty: the image's own command (only
    /// for [`Runtime::run`]).
    pub arguments: Vec<String>,
    /// Give it a terminal of this many columns and rows.
    pub terminal: Option<(u16, u16)>,
    /// What goes in. When the sender is gone, standard input ends.
    pub input: mpsc::Receiver<Input>,
    /// What comes out. When the receiver is gone, the command is ended.
    pub output: mpsc::Sender<Output>,
}

/// Runs services. Every call is idempotent and finds what is there by labels.
///
/// Two live processes of one installation must not drive one runtime; a second
/// installation may, and neither touches what carries the other's label.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// What this runtime is and can do; also tells whether it answers.
    ///
    /// # Errors
    /// `RuntimeUnavailable`.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// What exists of an environment.
    async fn observe(&self, environment: &EnvironmentId) -> Result<Observed>;

    /// What exists of every environment of this installation.
    async fn observe_all(&self) -> Result<Vec<Observed>>;

    /// Makes the environment's private network.
    async fn ensure_network(&self, scope: &Scope) -> Result<()>;

    /// Removes the environment's private network.
    async fn remove_network(&self, environment: &EnvironmentId) -> Result<()>;

    /// Makes a volume.
    async fn ensure_volume(&self, scope: &Scope, service: &ServiceId, volume: &Name) -> Result<()>;

    /// Removes a volume and what it holds.
    async fn remove_volume(&self, service: &ServiceId, volume: &Name) -> Result<()>;

    /// The image of this reference, if it is on the machine already.
    async fn image(&self, reference: &str) -> Result<Option<Image>>;

    /// Fetches an image from its registry, with the organization's credential
    /// for it.
    ///
    /// # Errors
    /// `ImageNotFound`, `RegistryAuth`, `RegistryUnavailable` (also when no
    /// byte comes for a minute), `DiskFull`, `Cancelled`.
    async fn pull(
        &self,
        organization: &OrganizationId,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Image>;

    /// Puts an image into a registry under this reference (a repository and a
    /// tag), with the organization's credential; answers the digest of its
    /// manifest there.
    ///
    /// # Errors
    /// `ImageNotFound` where the runtime has no such image, `RegistryAuth`,
    /// `RegistryUnavailable` (also when nothing moves for a minute),
    /// `Cancelled`.
    async fn push(
        &self,
        organization: &OrganizationId,
        image: &str,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<String>;

    /// The image with all its layers, as the tar that `docker save` writes.
    ///
    /// # Errors
    /// `ImageNotFound`.
    async fn export_image(&self, image: &str) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Removes an image, if nothing uses it.
    async fn remove_image(&self, image: &str) -> Result<()>;

    /// Starts the replicas 0 to `count - 1` of a release beside whatever else
    /// runs, and waits until each is healthy. Replicas that are there and
    /// healthy already stay as they are; ones that ended are started anew.
    ///
    /// # Errors
    /// `ReplicaExited`, `ReplicaOutOfMemory`, `ReplicaUnhealthy`, `WrongPort`,
    /// `ListensOnLoopback`: with the exit code, the last probe's answer and the
    /// last lines of the log among the details. Nothing is cleaned up: that is
    /// the engine's undo.
    async fn start_replicas(
        &self,
        launch: &Launch,
        count: u32,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<Endpoint>>;

    /// Stops a release's replicas without removing them, each within its
    /// `stop_timeout_ms`.
    async fn stop_replicas(&self, service: &ServiceId, release: ReleaseNumber) -> Result<()>;

    /// Stops and removes every replica of the service except the replicas 0 to
    /// `n - 1` of the release in `keep`. Each gets its release's stop timeout
    /// to end by itself.
    async fn retire_replicas(&self, service: &ServiceId, keep: Option<(ReleaseNumber, u32)>) -> Result<()>;

    /// Runs a one-off command in a fresh replica of the release with its
    /// variables, network and volumes, removes it, and returns the exit code.
    async fn run(&self, launch: &Launch, command: Command, cancel: &CancellationToken) -> Result<i64>;

    /// Runs a command of a deployment in a fresh replica of the release with
    /// its variables, network and volumes, passes on what it prints, and
    /// returns the exit code.
    ///
    /// It never runs twice at the same time: where an earlier call for the same
    /// service, release and job was cut off (the process died), this one goes
    /// on with what that call began, running or ended, rather than begin
    /// another. What it leaves stays to be found in that way until
    /// [`Runtime::remove_jobs`]. `cancel` ends the command.
    async fn run_job(
        &self,
        launch: &Launch,
        job: Job,
        arguments: &[String],
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<i64>;

    /// Ends and removes what [`Runtime::run_job`] left of a service; `None`:
    /// of all its jobs.
    async fn remove_jobs(&self, service: &ServiceId, job: Option<Job>) -> Result<()>;

    /// Runs a command inside a replica that runs, and returns its exit code.
    async fn exec(
        &self,
        service: &ServiceId,
        index: Option<u32>,
        command: Command,
        cancel: &CancellationToken,
    ) -> Result<i64>;

    /// What a service's replicas printed.
    async fn logs(
        &self,
        service: &ServiceId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>>;

    /// What one replica (by [`nonna_model::observed::ObservedReplica::id`])
    /// prints: what there is behind this moment (nanoseconds since 1970, UTC),
    /// then what comes, until its process has ended and all was read. A replica
    /// that is gone has ended.
    ///
    /// # Errors
    /// `RuntimeUnavailable` where the runtime does not answer; the stream ends
    /// with it where it stops answering.
    async fn output(
        &self,
        replica: &str,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Result<OutputLine>>>;

    /// What a service's replicas use now.
    async fn stats(&self, service: &ServiceId) -> Result<Vec<ReplicaStats>>;

    /// Where the output of a replica (by its own id, as the runtime has it) can
    /// be read without asking for it line by line. `None`: the replica is gone.
    ///
    /// # Errors
    /// `RuntimeUnavailable`.
    async fn output_place(&self, replica: &str) -> Result<Option<OutputPlace>>;

    /// What happens from now on. The stream never ends by itself: it mends
    /// itself and says [`RuntimeEvent::Resumed`].
    fn watch(&self) -> BoxStream<'static, RuntimeEvent>;
}
