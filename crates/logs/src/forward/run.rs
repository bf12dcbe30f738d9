//! A forwarder at work.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::aside::Aside;
use super::counters::ForwardCounters;
use super::position::{Position, store_name};
use super::read::{Item, read};
use super::{Destination, Failure, Parcel};
use crate::query::Expr;
use crate::record::{Batch, Level, Record, Source, Stream};
use crate::search::Entry;
use crate::store::LogProxy;

/// How long the first pause is after a failure; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Nor one that a destination asks for.
const LONGEST_AFTER: Duration = Duration::from_secs(600);
/// How often the position is written down.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The service under which the log proxy speaks of itself.
const SELF: &str = "nonna/logs";

/// How much is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of records, about.
    pub bytes: usize,
    /// Records.
    pub records: usize,
    /// How long a record waits for others at most.
    pub wait: Duration,
}

/// Where a forwarder begins that was never there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the oldest record that is kept.
    Oldest,
}

/// What is forwarded, and where to.
#[derive(Debug)]
pub struct Forward {
    /// Its name: of its position, its metrics, its messages.
    pub name: String,
    /// Where to.
    pub destination: Box<dyn Destination>,
    /// Which records.
    pub expr: Expr,
    /// Where it begins.
    pub start: Start,
    /// How much at once.
    pub batch: BatchLimits,
}

struct Forwarder {
    forward: Forward,
    proxy: Arc<LogProxy>,
    store: Arc<str>,
    position: Position,
    aside: Aside,
    counters: Arc<ForwardCounters>,
    closing: CancellationToken,
    saved: Instant,
    /// It failed, and since then nothing was taken.
    outage: bool,
}

/// The forwarder is to end.
struct Ended;

/// Starts a forwarder, which keeps its position in a folder `forward` of the
/// store's.
///
/// # Errors
/// `StoreUnavailable` where its position cannot be kept.
pub fn start(
    proxy: &Arc<LogProxy>,
    folder: &Path,
    forward: Forward,
    closing: CancellationToken,
    tracker: &TaskTracker,
) -> Result<Arc<ForwardCounters>> {
    let folder = folder.join("forward");
    let failed = |error: std::io::Error| {
        Error::provider(
            Code::StoreUnavailable,
            format!("It cannot be kept how far `{}` was forwarded.", forward.name),
        )
        .said(error.to_string())
    };
    let store = store_name(&folder).map_err(failed)?;
    let end = *proxy.stored().borrow();
    let begin = match forward.start {
        Start::Now => end,
        Start::Oldest => proxy.oldest(),
    };
    let position = Position::open(&folder, &forward.name, begin, end).map_err(failed)?;
    let counters = Arc::new(ForwardCounters::default());
    counters.position.store(position.next(), Ordering::Relaxed);
    let forwarder = Forwarder {
        aside: Aside::new(folder.join(format!("{}.refused.jsonl", forward.name))),
        proxy: Arc::clone(proxy),
        store,
        position,
        counters: Arc::clone(&counters),
        closing,
        saved: Instant::now(),
        outage: false,
        forward,
    };
    tracker.spawn(forwarder.run());
    Ok(counters)
}

impl Forwarder {
    async fn run(mut self) {
        let mut stored = self.proxy.stored();
        loop {
            let end = *stored.borrow_and_update();
            while self.position.next() < end {
                if let Err(Ended) = self.go(end).await {
                    self.save();
                    return;
                }
            }
            self.save();
            let closing = self.closing.clone();
            tokio::select! {
                changed = stored.changed() => if changed.is_err() { return },
                () = closing.cancelled() => return,
            }
            // Others come with it.
            tokio::select! {
                () = tokio::time::sleep(self.forward.batch.wait) => {}
                // What is there goes yet, as far as there is time.
                () = closing.cancelled() => {
                    let end = *stored.borrow();
                    let _ = self.go(end).await;
                    self.save();
                    return;
                }
            }
        }
    }

    /// Sends what is there before this number; not necessarily all of it.
    async fn go(&mut self, end: u64) -> Result<(), Ended> {
        self.skip_what_is_gone();
        if self.position.next() >= end {
            return Ok(());
        }
        let mut reading = read(
            &self.proxy,
            &self.forward.expr,
            self.position.next(),
            end,
            self.forward.batch,
        );
        loop {
            match reading.items.recv().await {
                Some(Item::Batch(entries, next)) => {
                    let whole = self.deliver(&entries, &mut reading.items).await?;
                    self.moved(next);
                    // During an outage nothing is held open: it is read anew.
                    if !whole {
                        return Ok(());
                    }
                }
                Some(Item::End(next)) => {
                    self.moved(next);
                    return Ok(());
                }
                None => {
                    // It could not be read, and was complained of.
                    self.pause(FIRST_PAUSE).await?;
                    return Ok(());
                }
            }
        }
    }

    fn moved(&mut self, next: u64) {
        self.position.set(next);
        self.counters.position.store(next, Ordering::Relaxed);
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save();
        }
    }

    fn save(&mut self) {
        self.saved = Instant::now();
        if let Err(error) = self.position.save() {
            tracing::warn!(%error, forward = self.forward.name, "how far was forwarded cannot be written down");
        }
    }

    /// What the store had to remove is lost to the destination.
    fn skip_what_is_gone(&mut self) {
        let oldest = self.proxy.oldest();
        let lost = oldest.saturating_sub(self.position.next());
        if lost == 0 {
            return;
        }
        self.counters.lost.fetch_add(lost, Ordering::Relaxed);
        let name = &self.forward.name;
        self.say(&format!(
            "{lost} records were removed from the store before `{name}` had taken them: its outage was longer \
             than the store is large. They were not all meant for it, perhaps."
        ));
        self.moved(oldest);
    }

    /// Sends records until each is taken or refused for good. False: it failed
    /// meanwhile, and the reading was ended.
    async fn deliver(
        &mut self,
        entries: &[Entry],
        reading: &mut tokio::sync::mpsc::Receiver<Item>,
    ) -> Result<bool, Ended> {
        let mut whole = true;
        let mut pause = FIRST_PAUSE;
        let mut parts: Vec<Range<usize>> = Vec::from([Range {
            start: 0,
            end: entries.len(),
        }]);
        while let Some(part) = parts.pop() {
            let records = entries.get(part.clone()).unwrap_or_default();
            let parcel = Parcel {
                store: &self.store,
                entries: records,
            };
            let closing = self.closing.clone();
            let sent = tokio::select! {
                sent = self.forward.destination.send(parcel) => sent,
                () = cut_off(&closing) => return Err(Ended),
            };
            match sent {
                Ok(taken) => {
                    self.is_back();
                    pause = FIRST_PAUSE;
                    let refused = taken.refused.len() as u64 + taken.unnamed;
                    let sent = (records.len() as u64).saturating_sub(refused);
                    self.counters.sent.fetch_add(sent, Ordering::Relaxed);
                    for (place, why) in &taken.refused {
                        if let Some(entry) = records.get(*place) {
                            self.set_aside(entry, why);
                        }
                    }
                    if taken.unnamed > 0 {
                        self.counters.refused.fetch_add(taken.unnamed, Ordering::Relaxed);
                        tracing::warn!(
                            forward = self.forward.name,
                            records = taken.unnamed,
                            why = taken.why,
                            "the destination took not all records, and does not say which"
                        );
                    }
                }
                Err(Failure::TooLarge | Failure::Refused { .. }) if part.len() > 1 => {
                    self.is_back();
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
                Err(Failure::TooLarge) => self.refuse(records, "it is too large"),
                Err(Failure::Refused { why }) => self.refuse(records, &why),
                Err(Failure::Unavailable { why, after }) => {
                    whole = false;
                    reading.close();
                    while reading.try_recv().is_ok() {}
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                    self.is_out(&why);
                    parts.push(part);
                    match after {
                        Some(after) => self.pause(after.min(LONGEST_AFTER)).await?,
                        None => {
                            self.pause(jitter(pause)).await?;
                            pause = (pause * 2).min(LONGEST_PAUSE);
                        }
                    }
                }
            }
        }
        Ok(whole)
    }

    fn refuse(&mut self, records: &[Entry], why: &str) {
        self.is_back();
        for entry in records {
            self.set_aside(entry, why);
        }
    }

    fn set_aside(&self, entry: &Entry, why: &str) {
        let before = self.counters.refused.fetch_add(1, Ordering::Relaxed);
        let name = &self.forward.name;
        if before == 0 {
            self.say(&format!(
                "`{name}` refuses records for good ({why}): they are set aside in forward/{name}.refused.jsonl."
            ));
        }
        if let Err(error) = self.aside.put(entry, why) {
            tracing::warn!(%error, forward = name, number = entry.number, "a record that was refused cannot be set aside");
        }
    }

    fn is_out(&mut self, why: &str) {
        if !self.outage {
            self.outage = true;
            self.counters.down.store(true, Ordering::Relaxed);
            let name = &self.forward.name;
            self.say(&format!(
                "`{name}` takes no records ({why}). It is tried again and again; meanwhile they stay in the store."
            ));
        }
    }

    fn is_back(&mut self) {
        if self.outage {
            self.outage = false;
            self.counters.down.store(false, Ordering::Relaxed);
            self.say(&format!("`{}` takes records again.", self.forward.name));
        }
    }

    /// Tells it in the log, and in a record.
    fn say(&self, text: &str) {
        tracing::warn!("{text}");
        let mut batch = Batch::new();
        let source = batch.source(&Source::new(SELF, "", Stream::Proxy));
        let record = Record {
            level: Some(Level::Warn),
            line: text.as_bytes(),
            ..Record::default()
        };
        batch.push(source, &record);
        // It is in the process's own log already.
        if let Ok(ack) = self.proxy.intake().try_push(batch) {
            ack.ignore();
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), Ended> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.closing.cancelled() => Err(Ended),
        }
    }
}

/// Resolves when a sending is to be given up: a little after the process was
/// told to end.
async fn cut_off(closing: &CancellationToken) {
    const GRACE: Duration = Duration::from_secs(5);
    closing.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Between half of it and all of it, so that many do not come at once.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random numbers the pause is whole.
    let _ = getrandom::fill(&mut random);
    let part = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
    pause.mul_f64(1.0 - part / 2.0)
}
