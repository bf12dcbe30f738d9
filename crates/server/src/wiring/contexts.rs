//! Build contexts and the builder over them.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use nonna_api::ContextAnswer;
use nonna_builder::context::ContextStore;
use nonna_builder::{BuildKitBuilder, BuildLimits, BuilderConfig, CacheSharing, Held};
use nonna_engine::ports::Credentials;
use nonna_engine::{Code, Error, Result};
use nonna_model::context::{ContextLimits, ContextManifest};

use crate::config::Config;
use crate::parts::{Contexts, LimitsStatus};

/// Opens the contexts in the data folder.
pub(super) fn open(data: &Path, limits: ContextLimits) -> Result<ContextStore> {
    ContextStore::open(data, limits)
}

/// The builder of images from those contexts.
pub(super) fn builder(
    config: &Config,
    contexts: &ContextStore,
    installation: String,
    credentials: Arc<dyn Credentials>,
) -> Result<BuildKitBuilder> {
    let build = &config.build;
    let config = BuilderConfig {
        endpoint: config.engine.clone(),
        installation,
        extra_ca: build.extra_ca.clone(),
        limits: BuildLimits {
            cpu_share: build.cpu_share,
            cpu_millis: build.cpu_millis,
            memory: build.memory,
            processes: build.processes,
            disk: build.disk,
        },
        engine_cgroup: Some(build.engine_cgroup.clone()),
        cache_sharing: if build.shared_cache {
            CacheSharing::Organization
        } else {
            CacheSharing::Service
        },
        credentials,
    };
    BuildKitBuilder::new(config, contexts.clone())
}

/// Whether the limits of builds hold.
pub(super) struct Limits {
    pub(super) builder: BuildKitBuilder,
    pub(super) limits: BuildLimits,
}

impl Limits {
    /// Of this builder.
    pub(super) fn of(builder: &BuildKitBuilder) -> Self {
        Self {
            builder: builder.clone(),
            limits: builder.limits().clone(),
        }
    }
}

#[async_trait]
impl LimitsStatus for Limits {
    async fn state(&self) -> Result<String, String> {
        match self.builder.apply_limits().await {
            Held::Yes => Ok(self.limits.words()),
            Held::No(why) => Err(why),
        }
    }
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

    async fn manifest(&self, digest: &str) -> Result<Option<ContextManifest>> {
        let (store, digest) = (self.0.clone(), digest.to_owned());
        let read = tokio::task::spawn_blocking(move || store.manifest(&digest))
            .await
            .map_err(|e| Error::bug(format!("reading a context ended early: {e}")))?;
        match read {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.code == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
