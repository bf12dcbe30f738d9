//! Contents coming in as frames.

use std::collections::HashMap;
use std::fmt::Display;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use nonna_engine::{Code, Error, Result};
use nonna_model::context::{ContextManifest, FrameDecoder, FrameEvent};

use super::store::{BlobWriter, ContextStore, cut_off};

/// How many pieces may wait for the disk.
const PIECES_AHEAD: usize = 4;

/// An upload of an announced context's contents. Blocks on the disk.
#[derive(Debug)]
pub struct Upload {
    store: ContextStore,
    manifest: ContextManifest,
    sizes: HashMap<String, u64>,
    decoder: FrameDecoder,
    now: Option<Incoming>,
}

#[derive(Debug)]
enum Incoming {
    Wanted {
        sha: String,
        size: u64,
        writer: Box<BlobWriter>,
    },
    /// It is here already: another upload was faster.
    Known,
}

impl ContextStore {
    /// Begins to take the contents of a context that was announced.
    ///
    /// # Errors
    /// `NotFound` if it was not; `StoreUnavailable`.
    pub fn upload(&self, digest: &str) -> Result<Upload> {
        let manifest = match self.inner.read_manifest(&self.inner.pending, digest)? {
            Some(manifest) => Some(manifest),
            None => self.inner.read_manifest(&self.inner.manifests, digest)?,
        };
        let manifest = manifest.ok_or_else(|| {
            Error::user(
                Code::NotFound,
                format!("The build context {digest} was not announced."),
            )
            .hint("Announce its manifest first (`POST /v1/contexts`).")
        })?;
        let sizes = manifest
            .blobs()
            .into_iter()
            .map(|(sha, size)| (sha.to_owned(), size))
            .collect();
        Ok(Upload {
            store: self.clone(),
            manifest,
            sizes,
            decoder: FrameDecoder::new(),
            now: None,
        })
    }

    /// Takes the whole body of an upload and makes the context usable. The
    /// disk is written beside the asynchronous work.
    ///
    /// # Errors
    /// As [`Upload::push`] and [`Upload::finish`].
    pub async fn receive<E: Display>(
        &self,
        digest: &str,
        body: impl Stream<Item = std::result::Result<Bytes, E>>,
    ) -> Result<String> {
        let store = self.clone();
        let digest = digest.to_owned();
        let (sender, mut receiver) =
            tokio::sync::mpsc::channel::<std::result::Result<Bytes, Error>>(PIECES_AHEAD);
        let worker = tokio::task::spawn_blocking(move || {
            let mut upload = store.upload(&digest)?;
            while let Some(piece) = receiver.blocking_recv() {
                upload.push(&piece?)?;
            }
            upload.finish()
        });
        let mut body = std::pin::pin!(body);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| cut_off(&std::io::Error::other(error.to_string())));
            // The worker has given up: it knows why.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        drop(sender);
        worker
            .await
            .map_err(|error| Error::bug(format!("the worker of an upload died: {error}")))?
    }
}

impl Upload {
    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// `InvalidContext` if it is not what was announced; `DiskFull`;
    /// `StoreUnavailable`. The upload is over then.
    pub fn push(&mut self, mut data: &[u8]) -> Result<()> {
        loop {
            let event = self.decoder.next(&mut data).map_err(|error| {
                Error::user(
                    Code::InvalidContext,
                    format!("The upload cannot be read: {error}."),
                )
            })?;
            match event {
                None => return Ok(()),
                Some(FrameEvent::Begin { sha256, size }) => {
                    if self.sizes.get(&sha256) != Some(&size) {
                        return Err(Error::user(
                            Code::InvalidContext,
                            format!("The upload brings a file that was not announced: sha256 {sha256}, {size} bytes."),
                        )
                        .hint("Send only what the announcement's answer asked for."));
                    }
                    self.now = Some(if self.store.inner.has_blob(&sha256, size) {
                        Incoming::Known
                    } else {
                        Incoming::Wanted {
                            sha: sha256,
                            size,
                            writer: Box::new(self.store.inner.writer()?),
                        }
                    });
                }
                Some(FrameEvent::Data(data)) => {
                    if let Some(Incoming::Wanted { writer, .. }) = &mut self.now {
                        writer.write(data)?;
                    }
                }
                Some(FrameEvent::End) => {
                    if let Some(Incoming::Wanted { sha, size, writer }) = self.now.take() {
                        writer.keep(&self.store.inner, Some((&sha, size)))?;
                    }
                }
            }
        }
    }

    /// Ends it, and makes the context usable if all of it is here now.
    ///
    /// # Errors
    /// `InvalidContext` if the upload was cut off or something is missing;
    /// `DiskFull`; `StoreUnavailable`.
    pub fn finish(self) -> Result<String> {
        self.decoder
            .finish()
            .map_err(|error| cut_off(&std::io::Error::other(error.to_string())))?;
        self.store.commit(&self.manifest)
    }
}
