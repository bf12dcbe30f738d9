//! Searches as streams, and live tails joined to what is stored.

use std::sync::Arc;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Core, LogProxy};
use crate::query::{Order, Query};
use crate::search::{Entry, search};
use crate::tail::{News, Tail};

/// So many searches work at the same time: each holds a block in memory.
pub(super) const SEARCHES: usize = 8;
/// A search whose reader takes nothing for so long is ended: others wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many records wait for a reader.
const READER: usize = 256;
/// How often what came while the past was read is caught up with from the
/// store, before it counts as missed.
const CATCH_UP: u32 = 16;

/// What a reader who follows is given.
#[derive(Debug)]
pub enum Found {
    /// A record.
    Entry(Entry),
    /// The reader was slow: so many records that it wanted are not given.
    Missed(u64),
}

impl Core {
    /// Searches on a thread of its own when there is one; the receiver's end
    /// ends it.
    pub(super) fn search_into(self: &Arc<Self>, query: Query, send: mpsc::Sender<Result<Entry>>) {
        let core = Arc::clone(self);
        tokio::spawn(async move {
            let turn = tokio::select! {
                turn = Arc::clone(&core.searches).acquire_owned() => turn,
                () = send.closed() => return,
            };
            let Ok(turn) = turn else { return };
            // Taken only now: what waits for its turn holds no memory.
            let snapshot = core.snapshot();
            let timers = Handle::current();
            tokio::task::spawn_blocking(move || {
                let mut each = |entry| pass(&timers, &send, Ok(entry));
                // One that finds nothing must see that nobody waits any more.
                let cancelled = || send.is_closed();
                if let Err(error) = search(&snapshot, &query, &core.counters, &cancelled, &mut each) {
                    pass(&timers, &send, Err(error));
                }
                drop(turn);
            });
        });
    }
}

/// Gives to the reader; false where it takes nothing any more.
fn pass(timers: &Handle, send: &mpsc::Sender<Result<Entry>>, found: Result<Entry>) -> bool {
    match send.try_send(found) {
        Ok(()) => true,
        Err(TrySendError::Closed(_)) => false,
        Err(TrySendError::Full(found)) => {
            let sent = timers.block_on(async { tokio::time::timeout(PATIENCE, send.send(found)).await });
            matches!(sent, Ok(Ok(())))
        }
    }
}

impl LogProxy {
    /// What a query finds, oldest first, and from there on what comes: nothing
    /// is missing and nothing comes twice, unless the reader is too slow for
    /// what comes; then it is told. The query's `limit`, `last`, `since` and
    /// `until` are for the past only. Dropping the receiver ends it; it ends
    /// by itself when the log proxy does.
    #[must_use]
    pub fn watch(&self, mut query: Query) -> mpsc::Receiver<Result<Found>> {
        query.order = Order::OldestFirst;
        let (send, receive) = mpsc::channel(READER);
        // First the tail, then the past: what comes between is in both, and
        // told apart by its number.
        let live = self.tail(&query);
        query.before = query.before.min(*self.core.stored.borrow());
        let following = Joined {
            core: Arc::clone(&self.core),
            query,
            send,
        };
        tokio::spawn(async move {
            // The reader is gone, or the logs have ended.
            let _ = following.run(live).await;
        });
        receive
    }
}

struct Joined {
    core: Arc<Core>,
    query: Query,
    send: mpsc::Sender<Result<Found>>,
}

impl Joined {
    /// Passes on; `None` where nobody reads any more.
    async fn pass(&self, found: Result<Found>) -> Option<()> {
        match tokio::time::timeout(PATIENCE * 5, self.send.send(found)).await {
            Ok(sent) => sent.ok(),
            // Whoever takes nothing for five minutes is as good as gone.
            Err(_) => None,
        }
    }

    /// What is stored.
    async fn past(&self) -> Option<()> {
        let (send, mut receive) = mpsc::channel(READER);
        self.core.search_into(self.query.clone(), send);
        loop {
            let found = tokio::select! {
                found = receive.recv() => found,
                () = self.send.closed() => return None,
            };
            match found {
                Some(Ok(entry)) => self.pass(Ok(Found::Entry(entry))).await?,
                Some(Err(error)) => {
                    self.pass(Err(error)).await?;
                    return None;
                }
                None => return Some(()),
            }
        }
    }

    async fn run(mut self, mut live: Tail) -> Option<()> {
        self.past().await?;
        // The number behind the last record that was passed on or looked at.
        let mut next = self.query.before;
        let mut left = CATCH_UP;
        loop {
            let news = tokio::select! {
                news = live.next() => news,
                () = self.send.closed() => return None,
            };
            match news {
                Some(News::Records(picked)) => {
                    let entries: Vec<Entry> = picked
                        .iter()
                        .filter(|(number, _)| *number >= next)
                        .map(|(number, record)| Entry::new(number, &record))
                        .collect();
                    for entry in entries {
                        next = entry.number + 1;
                        self.pass(Ok(Found::Entry(entry))).await?;
                    }
                }
                // It came while the past was read: it is in the store.
                Some(News::Missed(_)) if left > 0 => {
                    left -= 1;
                    (self.query.from, self.query.before) = (next, *self.core.stored.borrow());
                    (self.query.last, self.query.since, self.query.until) = (None, None, None);
                    (self.query.limit, self.query.context) = (usize::MAX, (0, 0));
                    next = self.query.before;
                    self.past().await?;
                }
                Some(News::Missed(records)) => self.pass(Ok(Found::Missed(records))).await?,
                None => {
                    self.pass(Err(Error::provider(
                        Code::StoreUnavailable,
                        "The logs are being closed.",
                    )
                    .retry()))
                        .await?;
                    return None;
                }
            }
        }
    }
}
