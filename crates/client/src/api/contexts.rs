//! Build contexts: announce, then send what is missing.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use nonna_api::{ContextAnswer, paths};
use nonna_engine::Result;
use nonna_model::context::ContextManifest;
use reqwest::{Body, Method, header};

use crate::http::Client;

impl Client {
    /// Announces a build context; the answer says which contents are missing.
    ///
    /// # Errors
    /// `InvalidContext`, `LimitExceeded`.
    pub async fn announce_context(&self, manifest: &ContextManifest) -> Result<ContextAnswer> {
        self.json(self.request(Method::POST, paths::CONTEXTS, &[]).json(manifest))
            .await
    }

    /// Sends contents as frames (`nonna_model::context`). When it is through,
    /// the context can be built.
    ///
    /// # Errors
    /// `InvalidContext` where a content is not what was announced,
    /// `DiskFull`.
    pub async fn send_blobs(
        &self,
        digest: &str,
        frames: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<()> {
        let request = self
            .request(Method::PUT, paths::CONTEXT_BLOBS, &[digest])
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::wrap_stream(frames));
        self.send_once(request).await.map(|_| ())
    }
}
