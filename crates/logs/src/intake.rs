//! The way in: a queue of bounded memory that never makes an app wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nonna_engine::{Code, Error, Result};
use tokio::sync::{Notify, oneshot};

use crate::record::{Batch, Source};

/// Where records are pushed into the log proxy. Cheap to clone.
///
/// A pushed batch goes through the pipeline and into the journal; its [`Ack`]
/// resolves when all of it is there, that is, when a crash of this process
/// cannot lose it any more (see `docs/logs.md` for what a power failure can).
/// Whoever can send again (a protocol with answers, a file with a position)
/// waits for it; whoever cannot, need not.
#[derive(Debug, Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

/// Why a batch was not taken. The batch comes back.
#[derive(Debug)]
pub enum Refused {
    /// As much as may wait is waiting: try again a little later, hold the
    /// sender back, or drop it and say so with [`Intake::dropped`].
    Full(Batch),
    /// The log proxy has ended.
    Closed(Batch),
}

/// Resolves when a batch cannot be lost by a crash any more.
#[derive(Debug)]
#[must_use = "what was pushed may be lost until this resolves; drop it with `.ignore()`"]
pub struct Ack(oneshot::Receiver<bool>);

impl Ack {
    /// Waits until it is there.
    ///
    /// # Errors
    /// `DiskFull` (retryable) where the journal could not take it: none or not
    /// all of the batch was kept.
    pub async fn wait(self) -> Result<()> {
        answer(self.0.await.unwrap_or(false))
    }

    /// The same for a thread; not to be called where tokio runs tasks.
    ///
    /// # Errors
    /// As [`Ack::wait`].
    pub fn wait_blocking(self) -> Result<()> {
        answer(self.0.blocking_recv().unwrap_or(false))
    }

    /// Does not wait.
    pub fn ignore(self) {}
}

fn answer(kept: bool) -> Result<()> {
    match kept {
        true => Ok(()),
        false => Err(Error::provider(
            Code::DiskFull,
            "The log proxy could not keep these records: its disk is full or does not answer.",
        )
        .hint("Make room, or lower the logs' retention.")
        .retry()),
    }
}

/// Held by whatever still works on records of a batch: the last one to let go
/// of it acknowledges the batch.
#[derive(Debug)]
pub struct Receipt {
    reply: Mutex<Option<oneshot::Sender<bool>>>,
    failed: AtomicBool,
}

impl Receipt {
    /// Not all of the batch was kept.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let kept = !self.failed.load(Ordering::Relaxed) && !std::thread::panicking();
        if let Some(reply) = lock(&self.reply).take() {
            // Nobody waits: nobody to tell.
            let _ = reply.send(kept);
        }
    }
}

/// What the other end of the queue takes out.
#[derive(Debug)]
pub enum Arrival {
    /// Records, with what acknowledges them when it is dropped.
    Batch(Batch, Arc<Receipt>),
    /// So many lines of a source were dropped before they came here, for this
    /// reason; it becomes a record.
    Dropped(Arc<Source>, &'static str, u64),
}

/// A service's label, and why its lines were dropped.
type Dropper = (Arc<str>, &'static str);

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<(Batch, Arc<Receipt>)>,
    /// Counted rather than queued: however many are dropped, it takes no more.
    dropped: BTreeMap<Dropper, (Arc<Source>, u64)>,
    bytes: usize,
    closed: bool,
    /// Somebody wants the consumer's attention without a batch.
    nudged: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    room: Notify,
    limit: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What panicked while it held this changed one field or none.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Intake {
    /// How many different sources of drops are told apart; the rest are
    /// counted together.
    const MAX_DROPPERS: usize = 1024;

    /// A queue of at most so many bytes, and its other end. The log proxy makes
    /// its own; this is for tests of what pushes.
    #[must_use]
    pub fn queue(limit: usize) -> (Self, Arrivals) {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            room: Notify::new(),
            limit,
        });
        let arrivals = Arrivals {
            shared: Arc::clone(&shared),
        };
        (Self { shared }, arrivals)
    }

    /// Pushes without ever waiting.
    ///
    /// # Errors
    /// The batch, where there is no room for it or nobody to take it.
    pub fn try_push(&self, batch: Batch) -> std::result::Result<Ack, Refused> {
        let (reply, answer) = oneshot::channel();
        let receipt = Arc::new(Receipt {
            reply: Mutex::new(Some(reply)),
            failed: AtomicBool::new(false),
        });
        let mut queue = lock(&self.shared.queue);
        if queue.closed {
            drop(queue);
            receipt.fail();
            return Err(Refused::Closed(batch));
        }
        let memory = batch.memory();
        // One batch fits always, or a large one never would.
        if queue.bytes + memory > self.shared.limit && !queue.batches.is_empty() {
            drop(queue);
            receipt.fail();
            return Err(Refused::Full(batch));
        }
        queue.bytes += memory;
        queue.batches.push_back((batch, receipt));
        drop(queue);
        self.shared.filled.notify_one();
        Ok(Ack(answer))
    }

    /// Pushes, and waits for room: for senders that can be held back (a TCP
    /// connection, a file), never for an app.
    ///
    /// # Errors
    /// `StoreUnavailable` where the log proxy has ended.
    pub async fn push(&self, mut batch: Batch) -> Result<Ack> {
        loop {
            let room = self.shared.room.notified();
            let mut room = std::pin::pin!(room);
            // Counts what is told from here on, not from its first poll on.
            room.as_mut().enable();
            match self.try_push(batch) {
                Ok(ack) => return Ok(ack),
                Err(Refused::Full(back)) => batch = back,
                Err(Refused::Closed(_)) => {
                    return Err(
                        Error::provider(Code::StoreUnavailable, "The log proxy is being stopped.").retry(),
                    );
                }
            }
            room.await;
        }
    }

    /// Says that lines of a source had to be dropped before they could be
    /// pushed, and why (`"the queue was full"`): they are counted, and a record
    /// in their place tells.
    pub fn dropped(&self, source: &Arc<Source>, reason: &'static str, lines: u64) {
        let mut queue = lock(&self.shared.queue);
        let of = if queue.dropped.len() < Self::MAX_DROPPERS {
            source
        } else {
            match queue.dropped.values().next() {
                Some((first, _)) => &Arc::clone(first),
                None => source,
            }
        };
        let entry = queue
            .dropped
            .entry((Arc::clone(&of.service), reason))
            .or_insert_with(|| (Arc::clone(of), 0));
        entry.1 += lines;
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Whether nothing is let in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.queue).closed
    }

    /// How many bytes wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        lock(&self.shared.queue).bytes
    }

    /// Lets nothing more in; what waits is still worked on.
    pub(crate) fn close(&self) {
        lock(&self.shared.queue).closed = true;
        self.shared.filled.notify_all();
        self.shared.room.notify_waiters();
    }

    /// Wakes the other end though there is no batch.
    pub(crate) fn nudge(&self) {
        lock(&self.shared.queue).nudged = true;
        self.shared.filled.notify_all();
    }
}

/// The other end of an [`Intake`].
#[derive(Debug)]
pub struct Arrivals {
    shared: Arc<Shared>,
}

/// What [`Arrivals::next`] found.
#[derive(Debug)]
pub enum Next {
    /// Something came.
    Arrived(Arrival),
    /// Nothing came until then, or somebody nudged.
    Idle,
    /// The intake is closed and all was taken.
    Closed,
}

impl Arrivals {
    /// The next arrival; waits for it until then at the longest.
    pub fn next(&self, until: Option<Instant>) -> Next {
        let mut queue = lock(&self.shared.queue);
        loop {
            if let Some(((_, reason), (source, lines))) = queue.dropped.pop_first() {
                return Next::Arrived(Arrival::Dropped(source, reason, lines));
            }
            if let Some((batch, receipt)) = queue.batches.pop_front() {
                queue.bytes -= batch.memory();
                drop(queue);
                self.shared.room.notify_waiters();
                return Next::Arrived(Arrival::Batch(batch, receipt));
            }
            if queue.closed {
                return Next::Closed;
            }
            if std::mem::take(&mut queue.nudged) {
                return Next::Idle;
            }
            let wait = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if wait.is_zero() {
                return Next::Idle;
            }
            queue = self
                .shared
                .filled
                .wait_timeout(queue, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        let left = std::mem::take(&mut queue.batches);
        drop(queue);
        for (_, receipt) in left {
            receipt.fail();
        }
        self.shared.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;

    fn batch(line: &str) -> Batch {
        Batch::of_lines(&Source::new("a/b/c", "1", Stream::Stdout), [line.as_bytes()])
    }

    #[tokio::test]
    async fn a_batch_is_acknowledged_when_the_last_lets_go_of_it() {
        let (intake, arrivals) = Intake::queue(1 << 20);
        let ack = intake.try_push(batch("x")).unwrap();
        let Next::Arrived(Arrival::Batch(got, receipt)) = arrivals.next(None) else {
            panic!("a batch");
        };
        assert_eq!(got.len(), 1);
        let folded = Arc::clone(&receipt);
        drop(receipt);
        let waiting = tokio::spawn(ack.wait());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(folded);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_not_kept_is_not_acknowledged() {
        let (intake, arrivals) = Intake::queue(1 << 20);
        let first = intake.try_push(batch("x")).unwrap();
        let second = intake.try_push(batch("y")).unwrap();
        let Next::Arrived(Arrival::Batch(_, receipt)) = arrivals.next(None) else {
            panic!("a batch");
        };
        receipt.fail();
        drop(receipt);
        assert_eq!(first.wait().await.unwrap_err().code, Code::DiskFull);
        drop(arrivals);
        assert!(second.wait().await.is_err());
        assert!(matches!(intake.try_push(batch("z")), Err(Refused::Closed(_))));
        assert!(intake.push(batch("z")).await.is_err());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_lets_in_when_there_is_room() {
        let (intake, arrivals) = Intake::queue(2_000);
        let long = "x".repeat(1_500);
        intake.try_push(batch(&long)).unwrap().ignore();
        assert!(matches!(intake.try_push(batch(&long)), Err(Refused::Full(_))));
        let pushing = tokio::spawn({
            let intake = intake.clone();
            async move { intake.push(batch(&long)).await.map(Ack::ignore) }
        });
        tokio::task::yield_now().await;
        assert!(!pushing.is_finished());
        assert!(matches!(arrivals.next(None), Next::Arrived(_)));
        pushing.await.unwrap().unwrap();
    }

    #[test]
    fn drops_are_counted_together() {
        let (intake, arrivals) = Intake::queue(1_000);
        let source = Source::new("a/b/c", "1", Stream::Stdout);
        for _ in 0..10 {
            intake.dropped(&source, "the queue was full", 3);
        }
        let Next::Arrived(Arrival::Dropped(of, reason, lines)) = arrivals.next(None) else {
            panic!("a drop");
        };
        assert_eq!((&*of.service, reason, lines), ("a/b/c", "the queue was full", 30));
        assert!(matches!(arrivals.next(Some(Instant::now())), Next::Idle));
        intake.close();
        assert!(matches!(arrivals.next(None), Next::Closed));
    }
}
