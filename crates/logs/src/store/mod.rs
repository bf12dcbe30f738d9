//! The log proxy: its threads, its folder, and what can be asked of it.

mod follow;
mod keep;
mod positions;
mod settle;
mod sources;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nonna_engine::{Code, Error, Result};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::intake::Intake;
use crate::journal::{self, Journal};
use crate::metrics::{Counters, Gauges, prometheus};
use crate::pipeline::Pipeline;
use crate::pipeline::derive::{Derived, Metric};
use crate::pipeline::limit::{RateLimit, RateLimits};
use crate::pipeline::redact::{Patterns, Redactor};
use crate::pipeline::rules::{Rule, Rules};
use crate::pipeline::values::Values;
use crate::query::{Order, Query};
use crate::record::Batch;
use crate::search::{Entry, Open, Searched, Snapshot, search};
use crate::segment::file::{SUFFIX, Segment};
use crate::tail::{Hub, Tail};

pub use follow::Found;
pub use sources::Present;

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, however violent, loses nothing that was
    /// acknowledged. A power failure may lose what came since the last
    /// [`Options::sync_interval`], about.
    #[default]
    Process,
    /// Nor does a power failure: every batch waits for the disk.
    Power,
}

/// How a log proxy works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many bytes segments may have together; the oldest go first.
    pub max_bytes: u64,
    /// How old records may become.
    pub max_age: Option<Duration>,
    /// How old records of a service (its label) may become, where it differs.
    pub service_max_age: BTreeMap<Arc<str>, Duration>,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How often the disk is asked to have everything.
    pub sync_interval: Duration,
    /// How many bytes may wait in memory to be worked on.
    pub queue_bytes: usize,
    /// How many bytes the journal may grow to while blocks cannot be written.
    pub spool_bytes: u64,
    /// How much a service may write; `None`: as much as it likes.
    pub rate_limit: Option<RateLimit>,
    /// How much a service (its label) may write, where it differs.
    pub service_rate_limits: BTreeMap<Arc<str>, RateLimit>,
    /// What is taken out of lines beside what looks like a secret.
    pub redact: Patterns,
    /// Metrics that are made of records.
    pub metrics: Vec<Metric>,
    /// What the user wants done with records.
    pub rules: Vec<Rule>,
    /// Nothing came for so long: then old segments are compressed harder.
    pub settle_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 2 * 1024 * 1024 * 1024,
            max_age: None,
            service_max_age: BTreeMap::new(),
            durability: Durability::Process,
            sync_interval: Duration::from_secs(1),
            queue_bytes: 8 * 1024 * 1024,
            spool_bytes: 256 * 1024 * 1024,
            rate_limit: None,
            service_rate_limits: BTreeMap::new(),
            redact: Patterns::default(),
            metrics: Vec::new(),
            rules: Vec::new(),
            settle_after: Duration::from_secs(30),
        }
    }
}

/// Blocks in memory: frames that are in no block yet are kept there up to so
/// many bytes; those beyond are read from the journal.
const OPEN_BYTES: usize = 6 * 1024 * 1024;

#[derive(Debug)]
struct State {
    segments: Vec<Arc<Segment>>,
    open: VecDeque<Open>,
    open_bytes: usize,
    forgotten: Arc<BTreeMap<Arc<str>, u64>>,
    next: u64,
    /// The next thing the keeper is asked for.
    settle_now: bool,
    closing: bool,
}

/// What the threads share.
#[derive(Debug)]
struct Core {
    folder: PathBuf,
    options: Options,
    state: Mutex<State>,
    /// Wakes the thread that makes blocks.
    work: Condvar,
    /// Says that the keeper is done with what it was asked for.
    settled: Condvar,
    counters: Arc<Counters>,
    derived: Arc<Derived>,
    hub: Arc<Hub>,
    /// The number behind the last record that is in a block.
    sealed: AtomicU64,
    /// The number behind the last record that is acknowledged.
    stored: watch::Sender<u64>,
    /// Records may have come since the keeper looked.
    busy: AtomicBool,
    /// Set by tests and benchmarks: no blocks are written.
    frozen: AtomicBool,
    /// What the pipeline is to use from now on.
    changed: Mutex<Changes>,
    journal_bytes: AtomicU64,
    /// Turns of searches that are streamed.
    searches: Arc<Semaphore>,
    /// How far sources were read whose records are in the journal.
    positions: Mutex<positions::Positions>,
}

#[derive(Debug, Default)]
struct Changes {
    /// What environments' values are; kept, as each is changed by itself.
    values: Arc<Values>,
    values_changed: bool,
    redactor: Option<Arc<Redactor>>,
    rules: Option<Rules>,
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether lines are counted that a limit dropped.
    fn limits_rate(&self) -> bool {
        self.options.rate_limit.is_some() || !self.options.service_rate_limits.is_empty()
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            segments: state.segments.clone(),
            open: state.open.clone(),
            forgotten: Arc::clone(&state.forgotten),
            next: state.next,
        }
    }
}

/// Nanoseconds since 1970 by the machine's clock.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The log proxy: takes records, keeps them, finds them again, and gives them
/// to whoever listens. Dropping it stops it; what it acknowledged stays.
#[derive(Debug)]
pub struct LogProxy {
    core: Arc<Core>,
    intake: Intake,
    threads: Vec<JoinHandle<()>>,
}

/// What was found before, and what comes after: no record is in both, none in
/// neither.
#[derive(Debug)]
pub struct Following {
    /// What was there, streamed as it is found.
    pub past: mpsc::Receiver<Result<Entry>>,
    /// What comes.
    pub live: Tail,
}

impl LogProxy {
    /// Opens the logs in a folder, which is made where it is not there, and
    /// repairs what a crash left. What was repaired becomes a record of the
    /// service `nonna/logs`.
    ///
    /// # Errors
    /// `StoreUnavailable` where the folder cannot be made, read or locked.
    pub fn open(folder: &Path, options: Options) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let code = match error.kind() {
                std::io::ErrorKind::StorageFull => Code::DiskFull,
                _ => Code::StoreUnavailable,
            };
            Error::provider(
                code,
                format!("The logs' folder {} cannot be opened.", folder.display()),
            )
            .said(error.to_string())
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let (segments, mut notes) = open_segments(folder).map_err(failed)?;
        let sealed = segments
            .iter()
            .filter_map(|s| s.range())
            .map(|range| range.1)
            .max()
            .unwrap_or(0);
        let (journal, found) =
            Journal::open(&folder.join("journal"), options.spool_bytes, sealed).map_err(failed)?;
        let journal::Found {
            frames,
            marks,
            damages,
        } = found;
        let mut positions = positions::read(folder);
        positions.extend(marks.into_iter().map(|mark| (mark.key, mark.position)));
        notes.extend(damages);
        let mut open = VecDeque::new();
        let (mut next, mut open_bytes) = (sealed, 0);
        for (frame, place) in frames {
            // A frame that is partly in a block is there whole: blocks are made
            // of whole frames.
            if frame.first < next {
                continue;
            }
            next = frame.end();
            let bytes = frame.batch.bytes();
            let keep = open_bytes + bytes <= OPEN_BYTES;
            open_bytes += bytes;
            open.push_back(Open {
                first: frame.first,
                end: frame.end(),
                bytes,
                received: frame.received,
                sources: frame.batch.sources().len(),
                place,
                frame: keep.then(|| Arc::new(frame)),
            });
        }
        let redactor = Arc::new(Redactor::new([])?.with(&options.redact));
        let derived = Arc::new(Derived::new(&options.metrics));
        let limits = RateLimits {
            all: options.rate_limit,
            of: options.service_rate_limits.clone(),
        };
        let counters = Arc::new(Counters::default());
        let rules = Rules::new(&options.rules);
        let pipeline = Pipeline::new(
            redactor,
            limits,
            rules,
            Arc::clone(&derived),
            Arc::clone(&counters),
        );
        let (intake, arrivals) = Intake::queue(options.queue_bytes);
        let core = Arc::new(Core {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                segments,
                open,
                open_bytes,
                forgotten: Arc::new(read_forgotten(folder)),
                next,
                settle_now: false,
                closing: false,
            }),
            options,
            work: Condvar::new(),
            settled: Condvar::new(),
            counters,
            derived,
            hub: Arc::default(),
            sealed: AtomicU64::new(sealed),
            stored: watch::Sender::new(next),
            busy: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            changed: Mutex::default(),
            journal_bytes: AtomicU64::new(journal.bytes()),
            searches: Arc::new(Semaphore::new(follow::SEARCHES)),
            positions: Mutex::new(positions),
        });
        let worker = work::Worker::new(Arc::clone(&core), arrivals, pipeline, journal, notes);
        let keeper = keep::Keeper::new(Arc::clone(&core))?;
        let hub = Arc::clone(&core.hub);
        let mut proxy = Self {
            core,
            intake,
            threads: Vec::new(),
        };
        proxy.start("logs-intake", move || worker.run()).map_err(failed)?;
        proxy.start("logs-keep", move || keeper.run()).map_err(failed)?;
        proxy.start("logs-tail", move || hub.run()).map_err(failed)?;
        Ok(proxy)
    }

    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let builder = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(512 * 1024);
        self.threads.push(builder.spawn(run)?);
        Ok(())
    }

    /// Whether it takes nothing any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.intake.is_closed()
    }

    /// Where records are pushed.
    #[must_use]
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Resolves when all that was pushed before is stored and can be found.
    ///
    /// # Errors
    /// `StoreUnavailable` where the log proxy has ended.
    pub async fn flush(&self) -> Result<()> {
        // An empty batch lets everything go that waits for more.
        self.intake.push(Batch::new()).await?.wait().await
    }

    /// Searches on this thread; calls with each record as it is found until
    /// that answers false. Not to be called where tokio runs tasks.
    ///
    /// # Errors
    /// `Bug` where zstd cannot be set up.
    pub fn search_blocking(
        &self,
        query: &Query,
        cancelled: &AtomicBool,
        mut each: impl FnMut(Entry) -> bool,
    ) -> Result<Searched> {
        search(
            &self.core.snapshot(),
            query,
            &self.core.counters,
            &|| cancelled.load(Ordering::Relaxed),
            &mut each,
        )
    }

    /// Searches: records come as they are found. Dropping the receiver cancels
    /// the search. Memory: one block.
    #[must_use]
    pub fn search(&self, query: Query) -> mpsc::Receiver<Result<Entry>> {
        let (send, receive) = mpsc::channel(64);
        self.core.search_into(query, send);
        receive
    }

    /// What matches now, and what will. The query's `limit`, `since` and
    /// `until` are for the past only.
    #[must_use]
    pub fn follow(&self, mut query: Query) -> Following {
        // First the tail, then the snapshot: what comes between is in both, and
        // the tail leaves it out.
        let hub = &self.core.hub;
        let mut live = hub.subscribe(
            query.scope.clone(),
            query.expr.clone(),
            Arc::clone(&self.core.counters),
        );
        let next = self.core.state().next;
        live.start_at(next);
        query.before = query.before.min(next);
        Following {
            past: self.search(query),
            live,
        }
    }

    /// What comes from now on.
    #[must_use]
    pub fn tail(&self, query: &Query) -> Tail {
        let hub = &self.core.hub;
        let mut live = hub.subscribe(
            query.scope.clone(),
            query.expr.clone(),
            Arc::clone(&self.core.counters),
        );
        live.start_at(self.core.state().next);
        live
    }

    /// The number behind the last record that is stored, and its changes: with
    /// [`Query::from`] a forwarder reads on from where it was, after any
    /// outage, and the store itself is its buffer.
    #[must_use]
    pub fn stored(&self) -> watch::Receiver<u64> {
        self.core.stored.subscribe()
    }

    /// How far something was read, by the last [`Batch::mark`] of this key that
    /// is kept.
    #[must_use]
    pub fn position(&self, key: &str) -> Option<Vec<u8>> {
        self.core.positions().get(key).map(|position| position.to_vec())
    }

    /// Forgets the positions of all that this does not hold for: what is gone.
    pub fn retain_positions(&self, mut keep: impl FnMut(&str) -> bool) {
        self.core.positions().retain(|key, _| keep(key));
    }

    /// The number of the oldest record that is still there; that of the next
    /// one, where there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let state = self.core.state();
        let sealed = state
            .segments
            .iter()
            .filter_map(|s| s.range())
            .map(|range| range.0);
        let open = state.open.front().map(|open| open.first);
        sealed.chain(open).min().unwrap_or(state.next)
    }

    /// From now on these values are taken out of all records, beside what looks
    /// like a secret.
    ///
    /// # Errors
    /// `LimitExceeded` where they are too many.
    pub fn set_secrets<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let redactor = Arc::new(Redactor::new(values)?.with(&self.core.options.redact));
        self.change(|changes| changes.redactor = Some(redactor));
        Ok(())
    }

    /// From now on these values are taken out of the records of an environment
    /// (`project/environment`), and of no other, in place of those that were
    /// before. None: nothing is, beside what is of all.
    ///
    /// # Errors
    /// `LimitExceeded` where they are too many.
    pub fn set_secrets_of<'a>(
        &self,
        environment: &str,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<()> {
        let mut changes = self.core.changed.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut changes.values).set(environment, values)?;
        changes.values_changed = true;
        drop(changes);
        self.intake.nudge();
        Ok(())
    }

    /// From now on these rules hold.
    pub fn set_rules(&self, rules: &[Rule]) {
        let rules = Rules::new(rules);
        self.change(|changes| changes.rules = Some(rules));
    }

    fn change(&self, set: impl FnOnce(&mut Changes)) {
        set(&mut self.core.changed.lock().unwrap_or_else(PoisonError::into_inner));
        self.intake.nudge();
    }

    /// Forgets all records of a service, or of a whole environment
    /// (`project/environment/`, with the slash at its end): they are not found from now on, and go
    /// from the disk when their segment is compressed anew or removed.
    ///
    /// # Errors
    /// `StoreUnavailable` or `DiskFull` where that cannot be written down.
    pub fn forget(&self, service: &str) -> Result<()> {
        let mut state = self.core.state();
        let mut forgotten = (*state.forgotten).clone();
        // What was forgotten and has gone from the disk since needs no note.
        let oldest = state.segments.first().and_then(|segment| segment.range());
        let oldest = oldest.or_else(|| state.open.front().map(|open| (open.first, open.end)));
        if let Some((first, _)) = oldest {
            forgotten.retain(|_, before| *before > first);
        }
        forgotten.insert(service.into(), state.next);
        write_forgotten(&self.core.folder, &forgotten).map_err(|error| {
            Error::provider(
                Code::StoreUnavailable,
                "It cannot be written down which logs are to be forgotten.",
            )
            .said(error.to_string())
        })?;
        state.forgotten = Arc::new(forgotten);
        Ok(())
    }

    /// Puts all records into blocks and compresses every segment as hard as it
    /// is done when there is time. Blocks the thread.
    pub fn settle_blocking(&self) {
        let mut state = self.core.state();
        state.settle_now = true;
        self.core.work.notify_all();
        while state.settle_now && !state.closing {
            state = self
                .core
                .settled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes all records that a scope allows as lines of JSON, oldest first.
    ///
    /// # Errors
    /// What the writer says; `StoreUnavailable` where blocks were damaged (what
    /// could be read was written).
    pub fn export_blocking(&self, query: &Query, out: &mut dyn Write) -> Result<Searched> {
        let mut query = query.clone();
        query.order = Order::OldestFirst;
        let mut text = String::new();
        let mut failure = None;
        let searched = self.search_blocking(&query, &AtomicBool::new(false), |entry| {
            text.clear();
            entry.json_into(&mut text);
            text.push('\n');
            failure = out.write_all(text.as_bytes()).err();
            failure.is_none()
        })?;
        if let Some(error) = failure.or_else(|| out.flush().err()) {
            return Err(
                Error::user(Code::InvalidInput, "The export cannot be written there.")
                    .said(error.to_string()),
            );
        }
        if searched.damaged > 0 {
            return Err(Error::provider(
                Code::StoreUnavailable,
                format!(
                    "{} blocks of logs are damaged; all others were exported.",
                    searched.damaged
                ),
            ));
        }
        Ok(searched)
    }

    /// Its metrics, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let state = self.core.state();
        let oldest = state.open.front().map_or_else(now, |open| open.received);
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let gauges = Gauges {
            segments: state.segments.len() as u64,
            segment_bytes: state.segments.iter().map(|segment| segment.bytes()).sum(),
            journal_bytes: self.core.journal_bytes.load(Ordering::Relaxed),
            open_records: state.open.iter().map(|open| open.end - open.first).sum(),
            queue_bytes: self.intake.waiting_bytes() as u64,
            tails: self.core.hub.tails() as u64,
            lag: (now() - oldest).max(0) as f64 / 1e9,
        };
        drop(state);
        let mut text = prometheus(&self.core.counters, gauges);
        self.core.derived.prometheus(&mut text);
        text
    }

    /// What it counts of itself.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Bytes of all segments and of the journal.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let state = self.core.state();
        let segments: u64 = state.segments.iter().map(|segment| segment.bytes()).sum();
        segments + self.core.journal_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all segments: what records take that are in blocks.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.core
            .state()
            .segments
            .iter()
            .map(|segment| segment.bytes())
            .sum()
    }

    /// For tests and benchmarks: as if the store's disk answered no more. What
    /// comes is acknowledged as long as the journal has room.
    pub fn freeze(&self, frozen: bool) {
        self.core.frozen.store(frozen, Ordering::Relaxed);
        self.core.work.notify_all();
    }
}

impl Drop for LogProxy {
    fn drop(&mut self) {
        self.intake.close();
        self.core.state().closing = true;
        self.core.work.notify_all();
        self.core.settled.notify_all();
        self.core.hub.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open_segments(folder: &Path) -> std::io::Result<(Vec<Arc<Segment>>, Vec<String>)> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|ext| ext.to_str()) {
            Some(ext) if ext == SUFFIX => paths.push(path),
            // A crash while one was made anew: the old one is still there.
            Some("part") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    paths.sort();
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    let mut notes = Vec::new();
    for path in paths {
        let (segment, damages) = Segment::open(&path)?;
        notes.extend(damages);
        match segment.range() {
            Some(_) => segments.push(Arc::new(segment)),
            None => {
                tracing::warn!(path = %path.display(), "a segment of logs holds no block that can be read");
            }
        }
    }
    Ok((segments, notes))
}

fn read_forgotten(folder: &Path) -> BTreeMap<Arc<str>, u64> {
    let Ok(bytes) = fs::read(folder.join("forgotten.json")) else {
        return BTreeMap::new();
    };
    let read: std::result::Result<BTreeMap<String, u64>, _> = serde_json::from_slice(&bytes);
    read.unwrap_or_default()
        .into_iter()
        .map(|(service, before)| (service.into(), before))
        .collect()
}

fn write_forgotten(folder: &Path, forgotten: &BTreeMap<Arc<str>, u64>) -> std::io::Result<()> {
    let plain: BTreeMap<&str, u64> = forgotten
        .iter()
        .map(|(service, before)| (&**service, *before))
        .collect();
    let part = folder.join("forgotten.json.part");
    let mut file = fs::File::create(&part)?;
    file.write_all(&serde_json::to_vec(&plain)?)?;
    file.sync_all()?;
    fs::rename(&part, folder.join("forgotten.json"))
}
