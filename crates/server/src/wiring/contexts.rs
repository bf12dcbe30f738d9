//! Build contexts and the builder over them.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use nonna_api::ContextAnswer;
use nonna_builder::context::ContextStore;
use nonna_builder::{BuildKitBuilder, BuilderConfig};
use nonna_engine::ports::Builder;
use nonna_engine::{Error, Result};
use nonna_model::context::{ContextLimits, ContextManifest};

use crate::config::Config;
use crate::parts::Contexts;

/// Opens the contexts in the data folder.
pub(super) fn open(data: &Path, limits: ContextLimits) -> Result<ContextStore> {
    ContextStore::open(data, limits)
}

/// The builder of images from those contexts.
pub(super) fn builder(
    config: &Config,
    contexts: &ContextStore,
    installation: String,
) -> Result<Arc<dyn Builder>> {
    let config = BuilderConfig {
        endpoint: config.engine.clone(),
        installation,
        extra_ca: config.build.extra_ca.clone(),
        ..BuilderConfig::default()
    };
    Ok(Arc::new(BuildKitBuilder::new(config, contexts.clone())?))
}

/// Contexts as the API takes them in.
pub(super) struct Intake(pub(super) ContextStore);

#[async_trait]
impl Contexts for Intake {
    async fn announce(&self, manifest: ContextManifest) -> Result<ContextAnswer> {
        let store = self.0.clone();
        let announced = tokio::task::spawn_blocking(move || store.announce(&manifest))
            .await
            .map_err(|e| Error::bug(format!("taking a context in ended early: {e}")))??;
        Ok(ContextAnswer {
            digest: announced.digest,
            missing: announced.missing,
        })
    }

    async fn receive(&self, digest: &str, body: BoxStream<'static, std::io::Result<Bytes>>) -> Result<()> {
        self.0.receive(digest, body).await.map(|_| ())
    }
}
