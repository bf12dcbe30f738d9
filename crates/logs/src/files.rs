//! The way in and out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use tokio::sync::{broadcast, oneshot};

use crate::line::LogRecord;
use crate::read::{ReadQuery, read};
use crate::writer::{Live, Mark, Message, Writer};

/// How often the writer is asked again when it has no room for a question.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How much is kept, and how soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// How many bytes of all services together; the oldest of whoever has most
    /// goes first.
    pub max_bytes: u64,
    /// How many records may wait to be written; what comes then is dropped,
    /// and counted.
    pub queue: usize,
    /// How long a record may wait in memory.
    pub flush_interval: Duration,
    /// How many records a watcher may lag behind before it misses some.
    pub watch: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            queue: 4096,
            flush_interval: Duration::from_millis(500),
            watch: 1024,
        }
    }
}

/// The logs of services in files: appended, rotated, bounded in size.
///
/// Dropping it writes down what waits.
#[derive(Debug)]
pub struct LogFiles {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

/// New records of one service, as they come.
#[derive(Debug)]
pub struct Subscription {
    service: Arc<str>,
    live: broadcast::Receiver<Live>,
    missed: u64,
}

impl Subscription {
    /// The next record; `None` when the logs are closed.
    pub async fn next(&mut self) -> Option<Arc<LogRecord>> {
        loop {
            match self.live.recv().await {
                Ok((service, record)) if service == self.service => return Some(record),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many records, of any service, it missed by being too slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// What was, and what comes: no record is in both, none in neither.
#[derive(Debug)]
pub struct Follow {
    /// The records that were written, oldest first.
    pub past: Vec<LogRecord>,
    /// Those that come after; the query's `grep`, `since` and `until` are not
    /// applied to them (see [`ReadQuery::matches`]).
    pub live: Subscription,
}

impl LogFiles {
    /// Opens the logs in a folder, which is made where it is not there.
    ///
    /// # Errors
    /// `StoreUnavailable` where the folder cannot be made or read.
    pub fn open(folder: &Path, options: &LogOptions) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::provider(
                Code::StoreUnavailable,
                format!("The logs' folder {} cannot be opened.", folder.display()),
            )
            .said(error.to_string())
        };
        let dropped = Arc::new(AtomicU64::new(0));
        let (live, _) = broadcast::channel(options.watch.max(1));
        let writer = Writer::open(
            folder,
            options.max_bytes,
            options.flush_interval,
            live,
            Arc::clone(&dropped),
        )
        .map_err(failed)?;
        let (messages, inbox) = sync_channel(options.queue.max(1));
        let writer = std::thread::Builder::new()
            .name("logs-write".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || writer.run(&inbox))
            .map_err(failed)?;
        Ok(Self {
            messages,
            dropped,
            writer: Some(writer),
        })
    }

    /// Takes a record of a service. Never waits: where too many wait already
    /// it is dropped, and counted.
    pub fn append(&self, service: &Arc<str>, record: LogRecord) {
        if self
            .messages
            .try_send(Message::Record(Arc::clone(service), record))
            .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many records were lost, because they came too fast or the disk did
    /// not take them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes down all that was appended before.
    ///
    /// # Errors
    /// `Bug` where the writer has ended.
    pub async fn flush(&self) -> Result<()> {
        self.mark("").await.map(drop)
    }

    /// The service's records, oldest first, with all that was appended before.
    ///
    /// # Errors
    /// `StoreUnavailable` where a file cannot be read.
    pub async fn read(&self, service: &str, query: ReadQuery) -> Result<Vec<LogRecord>> {
        Ok(self.follow(service, query).await?.past)
    }

    /// The service's records from now on.
    ///
    /// # Errors
    /// `Bug` where the writer has ended.
    pub async fn subscribe(&self, service: &str) -> Result<Subscription> {
        Ok(Subscription {
            service: service.into(),
            live: self.mark(service).await?.live,
            missed: 0,
        })
    }

    /// The service's records, and from there on those that come.
    ///
    /// # Errors
    /// `StoreUnavailable` where a file cannot be read.
    pub async fn follow(&self, service: &str, query: ReadQuery) -> Result<Follow> {
        let mark = self.mark(service).await?;
        let past = tokio::task::spawn_blocking(move || read(&mark.segments, &query))
            .await
            .map_err(|error| Error::bug("Reading logs broke off.").said(error.to_string()))??;
        Ok(Follow {
            past,
            live: Subscription {
                service: service.into(),
                live: mark.live,
                missed: 0,
            },
        })
    }

    /// Removes all of a service that was removed itself.
    ///
    /// # Errors
    /// `Bug` where the writer has ended.
    pub async fn forget(&self, service: &str) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.ask(Message::Forget(service.into(), reply)).await?;
        answer.await.map_err(|_| ended())
    }

    async fn mark(&self, service: &str) -> Result<Mark> {
        let (reply, answer) = oneshot::channel();
        self.ask(Message::Mark(service.into(), reply)).await?;
        answer.await.map_err(|_| ended())
    }

    /// A question may wait, unlike a record.
    async fn ask(&self, mut message: Message) -> Result<()> {
        loop {
            match self.messages.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return Err(ended()),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

impl Drop for LogFiles {
    fn drop(&mut self) {
        // The writer takes from the queue until this comes.
        let _ = self.messages.send(Message::Close);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn ended() -> Error {
    Error::bug("The thread that writes logs has ended.")
}
