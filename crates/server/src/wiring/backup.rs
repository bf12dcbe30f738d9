//! A backup of the state as a stream: written by a thread, read by the client,
//! never whole in memory.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use nonna_engine::Result;
use nonna_store::SqliteStore;
use nonna_store::backup::BackupOptions;
use tokio::sync::mpsc;

use crate::parts::Backup;

/// Pieces that may wait for the client.
const WAITING: usize = 8;

/// Backups of the store.
pub(super) struct SqliteBackup(pub(super) Arc<SqliteStore>);

/// Hands what is written over, and waits while the client is slow.
struct Pipe(mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(buffer)))
            .map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Backup for SqliteBackup {
    async fn backup(&self) -> Result<BoxStream<'static, std::io::Result<Bytes>>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let store = Arc::clone(&self.0);
        let failed = sender.clone();
        tokio::spawn(async move {
            // Pieces of some size: an archive is written in small ones.
            let pipe = std::io::BufWriter::with_capacity(64 * 1024, Pipe(sender));
            if let Err(error) = store.backup(BackupOptions::default(), pipe).await {
                tracing::warn!(%error, "a backup broke off");
                // Ends the answer in the middle, so that nobody takes half a
                // backup for a whole one.
                let _ = failed.send(Err(std::io::Error::other(error.to_string()))).await;
            }
        });
        Ok(stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|piece| (piece, receiver))
        })
        .boxed())
    }
}
