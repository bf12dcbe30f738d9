//! The builder that deployments are given: waits for its turn, keeps the log,
//! and remembers which source became which image, so that going back to a
//! source that was built before builds nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use nonna_engine::event::{EventKind, Progress};
use nonna_engine::ports::Builder;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_engine::{Error, Result};
use nonna_model::build::BuildPlan;
use nonna_model::service::BuildSource;
use nonna_store::Store;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::log::{self, Recorder};
use super::queue::{About, BuildQueue};

/// How often the log of a build under way is kept.
const KEEP_EVERY: Duration = Duration::from_secs(3);

/// A builder with a queue, logs and a memory.
pub(crate) struct QueuedBuilder {
    inner: Arc<dyn Builder>,
    store: Arc<dyn Store>,
    queue: BuildQueue,
    log_limit: usize,
}

impl QueuedBuilder {
    /// Of a log at most `log_limit` bytes are kept.
    pub(crate) fn new(
        inner: Arc<dyn Builder>,
        store: Arc<dyn Store>,
        queue: BuildQueue,
        log_limit: u64,
    ) -> Self {
        Self {
            inner,
            store,
            queue,
            log_limit: usize::try_from(log_limit).unwrap_or(usize::MAX),
        }
    }

    async fn remember(&self, request: &BuildRequest, built: &BuiltImage) {
        let digest = source_digest(&request.source, request.port);
        if let Err(error) = self
            .store
            .put_build_result(&request.service, &digest, &built.image)
            .await
        {
            // It only costs a build that might have been spared.
            tracing::warn!(service = %request.service, %error, "the result of a build was not kept");
        }
    }

    /// Waits for its turn and builds.
    async fn in_turn(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        let mut ticket = self.queue.enter(
            request.scope.project.clone(),
            About {
                project: request.scope.project_name.to_string(),
                environment: request.scope.environment_name.to_string(),
                service: request.service_name.to_string(),
                release: request.release.to_string(),
                deployment: progress.deployment().to_string(),
                since: jiff::Timestamp::now().as_millisecond(),
            },
        );
        let tell = |position, running| {
            progress.emit(EventKind::BuildQueued {
                step: progress.step(),
                position,
                running,
            });
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::cancelled()),
            () = ticket.wait(tell) => {}
        }
        // The ticket ends here, whatever comes of it: the next one's turn.
        self.inner.build(request, progress, cancel).await
    }
}

/// What tells one source from another, as the store keeps it.
pub(crate) fn source_digest(source: &BuildSource, port: Option<u16>) -> String {
    // The port is in it because detection writes it into the image.
    let text = serde_json::to_vec(&(source.inputs(), port)).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(&text))
}

#[async_trait]
impl Builder for QueuedBuilder {
    async fn existing(&self, request: &BuildRequest) -> Result<Option<BuiltImage>> {
        self.inner.existing(request).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        let key = log::key(&request.service, request.release);
        let earlier = log::read(self.store.as_ref(), &request.service, request.release)
            .await
            .unwrap_or_default();
        let recorder = Arc::new(Recorder::new(progress.sink(), self.log_limit, earlier));
        let progress = progress.with_sink(Arc::clone(&recorder) as _);
        let building = async {
            if let Some(built) = self.inner.existing(request).await? {
                progress.message("nothing changed since it was built: the image is used again");
                return Ok(built);
            }
            self.in_turn(request, &progress, cancel).await
        };
        tokio::pin!(building);
        let mut ticks = tokio::time::interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let result = loop {
            tokio::select! {
                result = &mut building => break result,
                _ = ticks.tick() => recorder.keep(self.store.as_ref(), &key).await,
            }
        };
        recorder.end(&result.as_ref().map(|_| ()).map_err(Clone::clone));
        recorder.keep(self.store.as_ref(), &key).await;
        let built = result?;
        self.remember(request, &built).await;
        Ok(built)
    }

    async fn moved_base(&self, image: &str, unknown: bool) -> Result<Option<String>> {
        self.inner.moved_base(image, unknown).await
    }

    async fn explain(&self, source: &BuildSource, port: Option<u16>) -> Result<BuildPlan> {
        self.inner.explain(source, port).await
    }

    async fn has_context(&self, digest: &str) -> Result<bool> {
        self.inner.has_context(digest).await
    }
}
