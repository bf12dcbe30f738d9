//! A builder that fetches what was built, pushed and lost, rather than build
//! it again; and that sees to it that what it builds is described.

use std::sync::Arc;

use async_trait::async_trait;
use nonna_engine::event::Progress;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_engine::ports::{Builder, Runtime};
use nonna_engine::{Code, Result};
use nonna_model::build::BuildPlan;
use nonna_model::service::BuildSource;
use nonna_store::Store;
use tokio_util::sync::CancellationToken;

use super::Registries;
use crate::build::source_digest;

/// A builder with registries behind it.
pub(crate) struct FetchingBuilder {
    inner: Arc<dyn Builder>,
    store: Arc<dyn Store>,
    runtime: Arc<dyn Runtime>,
    registries: Registries,
}

impl FetchingBuilder {
    pub(crate) fn new(
        inner: Arc<dyn Builder>,
        store: Arc<dyn Store>,
        runtime: Arc<dyn Runtime>,
        registries: Registries,
    ) -> Self {
        Self {
            inner,
            store,
            runtime,
            registries,
        }
    }

    /// The image that was built of exactly this before, pushed, and is not on
    /// the machine any more.
    async fn fetched(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Option<BuiltImage>> {
        let digest = source_digest(&request.source, request.port);
        let Some(image) = self.store.build_result(&request.service, &digest).await? else {
            return Ok(None);
        };
        let Some(origin) = self.store.origin(&image).await? else {
            return Ok(None);
        };
        if self.runtime.image(&image).await?.is_some() {
            // The builder finds it itself.
            return Ok(None);
        }
        progress.message(format!("this was built before: fetching {origin}"));
        let organization = &request.scope.organization;
        match self.runtime.pull(organization, &origin, progress, cancel).await {
            Ok(found) if found.id == image => Ok(Some(BuiltImage {
                image,
                size: found.size,
                builder: "registry".to_owned(),
            })),
            Ok(_) => Ok(None),
            Err(error) if error.code == Code::Cancelled => Err(error),
            Err(error) if self.inner.has_context(&request.source.context).await? => {
                progress.message(format!("{error} Building it again."));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Builder for FetchingBuilder {
    async fn existing(&self, request: &BuildRequest) -> Result<Option<BuiltImage>> {
        self.inner.existing(request).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        if !request.no_cache
            && let Some(image) = self.fetched(request, progress, cancel).await?
        {
            return Ok(image);
        }
        let built = self.inner.build(request, progress, cancel).await?;
        if request.cache.is_none() {
            // Where the image is pushed, the push lists what it is made of.
            self.registries.read_later(built.image.clone());
        }
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
