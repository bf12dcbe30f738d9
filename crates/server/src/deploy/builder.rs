//! Remembers which source became which image, so that going back to a source
//! that was built before builds nothing.

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use nonna_engine::Result;
use nonna_engine::event::Progress;
use nonna_engine::ports::Builder;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_model::service::BuildSource;
use nonna_store::Store;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// A builder whose results are kept in the store.
pub(crate) struct RememberingBuilder {
    inner: Arc<dyn Builder>,
    store: Arc<dyn Store>,
}

impl RememberingBuilder {
    pub(crate) fn new(inner: Arc<dyn Builder>, store: Arc<dyn Store>) -> Self {
        Self { inner, store }
    }
}

/// What tells one source from another, as the store keeps it.
pub(super) fn source_digest(source: &BuildSource, port: Option<u16>) -> String {
    // The port is in it because detection writes it into the image.
    let text = serde_json::to_vec(&(source, port)).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(&text))
}

#[async_trait]
impl Builder for RememberingBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        let built = self.inner.build(request, progress, cancel).await?;
        let digest = source_digest(&request.source, request.port);
        if let Err(error) = self
            .store
            .put_build_result(&request.service, &digest, &built.image)
            .await
        {
            // It only costs a build that might have been spared.
            tracing::warn!(service = %request.service, %error, "the result of a build was not kept");
        }
        Ok(built)
    }

    async fn has_context(&self, digest: &str) -> Result<bool> {
        self.inner.has_context(digest).await
    }
}
