//! Source to image.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use nonna_model::build::BuildPlan;
use nonna_model::plan::Scope;
use nonna_model::service::BuildSource;
use nonna_model::{Name, ReleaseNumber, ServiceId};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::event::Progress;

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// For which environment.
    pub scope: Scope,
    /// For which service.
    pub service: ServiceId,
    /// Its name.
    pub service_name: Name,
    /// For which release.
    pub release: ReleaseNumber,
    /// The source. Its context was received whole before the plan was made.
    pub source: BuildSource,
    /// The port that the app will be given: detection needs it.
    pub port: Option<u16>,
    /// An image whose layers may be taken for steps that would make the same:
    /// the service's own cache in a registry. The image that is built can serve
    /// as one in its turn.
    pub cache: Option<String>,
    /// The longest a build may take.
    pub timeout: Duration,
    /// The most a build may print, in bytes.
    pub output_limit: u64,
    /// Use neither an image that was built of the same before, nor layers,
    /// nor kept dependencies: build everything anew.
    pub no_cache: bool,
    /// The opened values of `source.secrets`.
    pub secrets: BTreeMap<String, SecretString>,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The image as the runtime knows it.
    pub image: String,
    /// Its size in bytes.
    pub size: u64,
    /// What built it: `Dockerfile`, `python` …
    pub builder: String,
}

/// Builds images. Building the same request twice gives an equivalent image
/// and leaves one.
#[async_trait]
pub trait Builder: Send + Sync {
    /// The image that was built of exactly this before and is still there.
    /// `None` for a request with `no_cache`.
    ///
    /// # Errors
    /// `NotFound` where the context is not held; as [`Builder::build`] where
    /// it cannot be told how it would be built.
    async fn existing(&self, request: &BuildRequest) -> Result<Option<BuiltImage>>;

    /// Builds, reports every line of output, and stops soon after `cancel`.
    ///
    /// # Errors
    /// `NothingToBuild`, `BuildFailed` (with the last lines of output),
    /// `BuildLimit`, `InvalidContext`, `DiskFull`, `RuntimeUnavailable`,
    /// `Cancelled`.
    async fn build(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage>;

    /// The base image, by its reference, that means another image now than when
    /// this one was built here; `None`: none does, as far as it is known. Base
    /// images that were not on the machine then count only with `unknown`, and
    /// as moved. It has to be quick: every plan asks.
    ///
    /// # Errors
    /// `RuntimeUnavailable`.
    async fn moved_base(&self, image: &str, unknown: bool) -> Result<Option<String>>;

    /// How such source would be built, and why; nothing is built. `port` is
    /// the one that the app will be given.
    ///
    /// # Errors
    /// As [`Builder::existing`].
    async fn explain(&self, source: &BuildSource, port: Option<u16>) -> Result<BuildPlan>;

    /// Whether the context of this digest is held here.
    async fn has_context(&self, digest: &str) -> Result<bool>;
}
