//! What images are made of: read of the image once, kept, written in the form
//! that is asked for.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::stream::{BoxStream, StreamExt};
use nonna_engine::event::Progress;
use nonna_engine::ports::registry::Publication;
use nonna_engine::{Code, Error, Result};
use nonna_registry::Repository;
use nonna_registry::attach;
use nonna_registry::sbom::{self, Contents, Subject};
use nonna_store::CONTENTS;
use tokio::sync::mpsc;

use super::Registries;

/// Pieces of an export that may wait to be read.
const WAITING: usize = 4;

impl Registries {
    /// What the image is made of. The first time, the whole image is read.
    ///
    /// # Errors
    /// `ImageNotFound` where it was never read and is not on the machine.
    pub(crate) async fn contents(&self, image: &str) -> Result<Contents> {
        if let Some(kept) = self.store.get_blob(CONTENTS, image).await? {
            return serde_json::from_slice(&kept)
                .map_err(|e| Error::bug(format!("what an image is made of cannot be read: {e}")));
        }
        let _one = self
            .reading
            .acquire()
            .await
            .map_err(|_| Error::bug("nothing ends the reading of images"))?;
        let export = self.runtime.export_image(image).await?;
        let contents = read(export).await?;
        let bytes = serde_json::to_vec(&contents)
            .map_err(|e| Error::bug(format!("what an image is made of cannot be written: {e}")))?;
        self.store.put_blob(CONTENTS, image, &bytes).await?;
        Ok(contents)
    }

    /// Reads what an image is made of, in the background: nobody waits for it.
    pub(crate) fn read_later(&self, image: String) {
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(error) = this.contents(&image).await {
                tracing::warn!(%error, %image, "what an image is made of could not be read");
            }
        });
    }

    /// Puts the list of what a published image is made of beside it.
    pub(super) async fn attach_contents(
        &self,
        publication: &Publication,
        remote: &Repository,
        digest: &str,
        progress: &Progress,
    ) -> Result<()> {
        progress.message("listing what the image is made of");
        let contents = match self.contents(&publication.image).await {
            Ok(contents) => contents,
            // The image is pushed and signed: that counts.
            Err(error) => {
                progress.message(format!("{error} The image is pushed without the list."));
                return Ok(());
            }
        };
        let scope = &publication.scope;
        let subject = Subject {
            name: format!(
                "{}/{}/{}",
                scope.project_name, scope.environment_name, publication.service_name
            ),
            version: publication.release.to_string(),
            image: publication.image.clone(),
            reference: Some(format!("{}@{digest}", publication.repository)),
            at: jiff::Timestamp::now().as_millisecond(),
        };
        let document = sbom::spdx(&contents, &subject).to_string().into_bytes();
        attach::attach(remote, digest, attach::SPDX, document).await
    }
}

/// Reads an export beside the asynchronous work.
async fn read(mut export: BoxStream<'static, Result<Bytes>>) -> Result<Contents> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let reading = tokio::task::spawn_blocking(move || {
        let pipe = Pipe {
            receiver,
            current: Bytes::new(),
        };
        sbom::read(pipe, &std::env::temp_dir())
    });
    let mut failed = None;
    while let Some(piece) = export.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        if sender.send(piece).await.is_err() {
            // It has read enough, or failed.
            break;
        }
    }
    drop(sender);
    let read = reading
        .await
        .map_err(|e| Error::bug(format!("reading an image ended early: {e}")))?;
    match (read, failed) {
        (_, Some(error)) => Err(error),
        (Ok(contents), None) => Ok(contents),
        (Err(error), None) if error.kind() == io::ErrorKind::StorageFull => Err(Error::provider(
            Code::DiskFull,
            "There is no room to look into the image's files.",
        )
        .said(error.to_string())
        .retry()),
        (Err(error), None) => Err(Error::provider(
            Code::RuntimeRefused,
            "The image that the container engine exported cannot be read.",
        )
        .said(error.to_string())),
    }
}

/// What comes from the engine, as a file.
struct Pipe {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
