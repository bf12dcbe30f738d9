//! The thread that takes what comes: pipeline, journal, tails.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Core, Durability, OPEN_BYTES, now};
use crate::frame::Frame;
use crate::intake::{Arrival, Arrivals, Next};
use crate::journal::Journal;
use crate::pipeline::{Pipeline, Ready};
use crate::search::Open;
use crate::segment::BLOCK_BYTES;

/// Batches are put together up to so many bytes, if they are there already.
const FRAME_BYTES: usize = 256 * 1024;
/// How often drops and complete traces are looked for.
const TICK: Duration = Duration::from_millis(100);
/// How often the journal's files that are not needed are given up.
const TRIM: Duration = Duration::from_secs(1);
/// How often a disk that takes nothing is complained of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// The service under which the log proxy speaks of itself.
const SELF: &str = "nonna/logs";

pub(super) struct Worker {
    core: Arc<Core>,
    arrivals: Arrivals,
    pipeline: Pipeline,
    journal: Journal,
    trimmed: u64,
    /// Records that the journal did not take since it was last said.
    lost: u64,
    complained: Option<Instant>,
    ticked: Instant,
    clock: i64,
}

impl Worker {
    pub(super) fn new(
        core: Arc<Core>,
        arrivals: Arrivals,
        mut pipeline: Pipeline,
        journal: Journal,
        notes: Vec<String>,
    ) -> Self {
        let now = now();
        for note in notes {
            tracing::warn!("{note}");
            pipeline.say(SELF, &note, now);
        }
        Self {
            core,
            arrivals,
            pipeline,
            journal,
            trimmed: 0,
            lost: 0,
            complained: None,
            ticked: Instant::now(),
            clock: now,
        }
    }

    pub(super) fn run(mut self) {
        self.commit();
        loop {
            self.take_changes();
            let wait = self.pipeline.waits() || self.lost > 0 || self.core.limits_rate();
            match self
                .arrivals
                .next(Some(Instant::now() + if wait { TICK } else { TRIM }))
            {
                Next::Arrived(arrival) => self.take(arrival),
                Next::Idle => {}
                Next::Closed => {
                    self.pipeline.flush_all(now());
                    self.commit();
                    return;
                }
            }
            // What is there already travels together.
            while self.pipeline.ready_bytes() < FRAME_BYTES {
                match self.arrivals.next(Some(Instant::now())) {
                    Next::Arrived(arrival) => self.take(arrival),
                    Next::Idle | Next::Closed => break,
                }
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                let now = self.clock();
                self.pipeline.tick(now);
            }
            self.commit();
        }
    }

    /// The time, which never goes backwards here: a record's arrival is not
    /// before that of the one before it.
    fn clock(&mut self) -> i64 {
        self.clock = self.clock.max(now());
        self.clock
    }

    fn take(&mut self, arrival: Arrival) {
        // What was changed before a batch was pushed holds for it.
        self.take_changes();
        // The machine's own clock, for times that records do not say.
        let now = now();
        match arrival {
            Arrival::Batch(batch, receipt) => self.pipeline.take(&batch, receipt, now),
            Arrival::Dropped(source, reason, lines) => {
                self.core
                    .counters
                    .dropped_before
                    .fetch_add(lines, Ordering::Relaxed);
                let text = format!("{lines} lines of this service were dropped: {reason}");
                self.pipeline.say(&source.service, &text, now);
            }
        }
    }

    fn take_changes(&mut self) {
        let mut changes = self.core.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(redactor) = changes.redactor.take() {
            self.pipeline.set_redactor(redactor);
        }
        if std::mem::take(&mut changes.values_changed) {
            self.pipeline.set_values(Arc::clone(&changes.values));
        }
        if let Some(rules) = changes.rules.take() {
            self.pipeline.set_rules(rules);
        }
    }

    /// Writes what is ready into the journal, and acknowledges it.
    fn commit(&mut self) {
        let sealed = self.core.sealed.load(Ordering::Acquire);
        if sealed > self.trimmed {
            self.trim(sealed);
            self.trimmed = sealed;
            self.core
                .journal_bytes
                .store(self.journal.bytes(), Ordering::Relaxed);
        }
        // There is room again: what was lost is told with the next that is kept.
        let tells = self.lost > 0 && self.journal.bytes() < self.core.options.spool_bytes;
        if tells {
            let text = format!("{} records were dropped: the logs' disk took no more", self.lost);
            let now = now();
            self.pipeline.say(SELF, &text, now);
        }
        let Ready {
            batch,
            marks,
            receipts,
        } = self.pipeline.ready();
        if batch.is_empty() {
            return;
        }
        let first = self.core.state().next;
        let frame = Frame {
            first,
            received: self.clock(),
            batch,
            marks,
        };
        let power = self.core.options.durability == Durability::Power;
        match self.journal.append(&frame, power) {
            Ok(place) => {
                self.lost = 0;
                self.core.note_positions(&frame.marks);
                self.keep(frame, place);
                // Here the receipts are let go of: all is acknowledged.
                drop(receipts);
            }
            Err(error) => {
                // What tells of the loss is not a loss itself.
                let lost = (frame.batch.len() as u64).saturating_sub(u64::from(tells));
                self.lost += lost;
                self.core.counters.dropped_disk.fetch_add(lost, Ordering::Relaxed);
                for receipt in &receipts {
                    receipt.fail();
                }
                if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    self.complained = Some(Instant::now());
                    tracing::warn!(%error, folder = %self.core.folder.display(), "log records cannot be written and are lost");
                }
            }
        }
        self.core
            .journal_bytes
            .store(self.journal.bytes(), Ordering::Relaxed);
    }

    /// Gives up journals that are not needed any more; what they said of
    /// positions is written down before.
    fn trim(&mut self, sealed: u64) {
        if !self.journal.can_trim(sealed) {
            return;
        }
        if let Err(error) = self.core.write_positions() {
            tracing::warn!(%error, folder = %self.core.folder.display(), "the positions of captured output cannot be written down; the journal keeps them");
            return;
        }
        self.journal.trim(sealed);
    }

    fn keep(&self, frame: Frame, place: crate::journal::Place) {
        let core = &self.core;
        let end = frame.end();
        core.counters
            .stored
            .fetch_add(frame.batch.len() as u64, Ordering::Relaxed);
        let frame = Arc::new(frame);
        let mut state = core.state();
        let bytes = frame.batch.bytes();
        state.open_bytes += bytes;
        let keep = state.open_bytes <= OPEN_BYTES;
        state.open.push_back(Open {
            first: frame.first,
            end,
            bytes,
            received: frame.received,
            sources: frame.batch.sources().len(),
            place,
            frame: keep.then(|| Arc::clone(&frame)),
        });
        state.next = end;
        let full = state.open_bytes >= BLOCK_BYTES;
        drop(state);
        core.busy.store(true, Ordering::Relaxed);
        if full {
            core.work.notify_all();
        }
        core.hub.publish(&frame);
        core.stored.send_replace(end);
    }
}
