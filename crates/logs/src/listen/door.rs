//! What all listeners share: the way into the log proxy, and the limits.

use std::sync::Arc;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ListenCounters, Protocol, Slots};
use crate::intake::{Ack, Intake, Refused};
use crate::protocol::{Collector, Names};
use crate::record::Batch;

/// How much senders may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, of all listeners.
    pub connections: usize,
    /// Bytes of a request or a message, compressed or not.
    pub body_bytes: usize,
    /// Bytes of all requests that are being received.
    pub receiving_bytes: usize,
    /// How long a connection may be silent between two messages.
    pub idle: Duration,
    /// How long a message may take from its first byte to its last.
    pub message: Duration,
    /// How long a sender with an answer is held back before it is told to come
    /// again.
    pub room: Duration,
    /// How many services senders may name.
    pub services: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            body_bytes: 16 * 1024 * 1024,
            receiving_bytes: 32 * 1024 * 1024,
            idle: Duration::from_secs(3600),
            message: Duration::from_secs(30),
            room: Duration::from_secs(10),
            services: 10_000,
        }
    }
}

/// The way in for all listeners of a process.
#[derive(Debug)]
pub struct Door {
    intake: Intake,
    names: Arc<Names>,
    pub(super) limits: Limits,
    pub(super) counters: Arc<ListenCounters>,
    pub(super) slots: Arc<Slots>,
    /// Bytes of bodies that may be in memory before they are read.
    receiving: Arc<Semaphore>,
    /// Who may decompress and read a body: what comes out of one can be much
    /// larger than the body, and is in memory once.
    reading: Semaphore,
}

/// Bytes of bodies are counted in pieces of so many, so that their number fits
/// a semaphore.
const PIECE: usize = 1024;

impl Door {
    /// A door to this intake.
    #[must_use]
    pub fn new(intake: Intake, limits: Limits) -> Arc<Self> {
        let pieces = limits.receiving_bytes.max(limits.body_bytes).div_ceil(PIECE) + 1;
        Arc::new(Self {
            intake,
            names: Names::new(limits.services),
            counters: Arc::default(),
            slots: Slots::new(limits.connections),
            receiving: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))),
            reading: Semaphore::new(1),
            limits,
        })
    }

    /// What listeners count.
    #[must_use]
    pub fn counters(&self) -> &Arc<ListenCounters> {
        &self.counters
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.slots.open()
    }

    /// A collector of what a sender sends.
    pub(super) fn collector(&self, service: &str, replica: &str) -> Collector {
        Collector::new(Arc::clone(&self.names), service, replica)
    }

    /// Room for the bytes of a body; waits for it as long as a sender may be
    /// held back.
    pub(super) async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.receiving).acquire_many_owned(pieces);
        tokio::time::timeout(self.limits.room, permit).await.ok()?.ok()
    }

    /// The turn to decompress and read; waits for it as long as a sender may
    /// be held back.
    pub(super) async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let turn = self.reading.acquire();
        tokio::time::timeout(self.limits.room, turn).await.ok()?.ok()
    }

    async fn push(&self, batches: Vec<Batch>) -> Result<Vec<Ack>> {
        let mut acks = Vec::with_capacity(batches.len());
        for batch in batches {
            match tokio::time::timeout(self.limits.room, self.intake.push(batch)).await {
                Ok(pushed) => acks.push(pushed?),
                Err(_) => {
                    return Err(Error::provider(
                        Code::LimitExceeded,
                        "The log proxy has more to do than it can: send this again a little later.",
                    )
                    .retry());
                }
            }
        }
        Ok(acks)
    }

    /// Pushes, for senders with an answer; what [`Pushed::kept`] resolves to
    /// may be told them.
    pub(super) async fn take(&self, protocol: Protocol, batches: Vec<Batch>) -> Result<Pushed> {
        self.count(protocol, &batches);
        let acks = self
            .push(batches)
            .await
            .inspect_err(|_| self.counters.refused(protocol))?;
        Ok(Pushed(acks))
    }

    /// Pushes, for senders that can be held back but get no answer: waits for
    /// room as long as it takes.
    pub(super) async fn pass(&self, protocol: Protocol, batches: Vec<Batch>) -> Result<Pushed> {
        self.count(protocol, &batches);
        let mut acks = Vec::with_capacity(batches.len());
        for batch in batches {
            acks.push(self.intake.push(batch).await?);
        }
        Ok(Pushed(acks))
    }

    /// Pushes, for senders that cannot be held back: what does not fit is
    /// dropped, counted and told.
    pub(super) fn offer(&self, protocol: Protocol, batches: Vec<Batch>) {
        self.count(protocol, &batches);
        for batch in batches {
            match self.intake.try_push(batch) {
                Ok(ack) => ack.ignore(),
                Err(Refused::Full(batch) | Refused::Closed(batch)) => {
                    self.counters.refused(protocol);
                    let mut lines = vec![0_u64; batch.sources().len()];
                    for record in batch.iter() {
                        if let Some(count) = lines.get_mut(record.source_index.get()) {
                            *count += 1;
                        }
                    }
                    for (source, lines) in batch.sources().iter().zip(lines) {
                        self.intake.dropped(source, "the queue was full", lines);
                    }
                }
            }
        }
    }

    fn count(&self, protocol: Protocol, batches: &[Batch]) {
        let records = batches.iter().map(Batch::len).sum();
        let bytes = batches.iter().map(Batch::bytes).sum();
        self.counters.records(protocol, records, bytes);
    }
}

/// What was pushed and is not acknowledged yet.
#[derive(Debug)]
#[must_use = "ask for `kept`, or say `ignore`"]
pub(super) struct Pushed(Vec<Ack>);

impl Pushed {
    /// Resolves when the journal holds all of it.
    ///
    /// # Errors
    /// `DiskFull` (retryable) where it does not take it.
    pub(super) async fn kept(self) -> Result<()> {
        for ack in self.0 {
            ack.wait().await?;
        }
        Ok(())
    }

    /// The sender has no answer to wait for.
    pub(super) fn ignore(self) {
        for ack in self.0 {
            ack.ignore();
        }
    }
}
