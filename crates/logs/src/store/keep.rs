//! The thread that makes blocks, asks the disk to have them, and removes what
//! is too old or too much.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nonna_engine::Result;

use super::{Core, Durability, now};
use crate::frame::Frame;
use crate::search::Open;
use crate::segment::block::BlockBuilder;
use crate::segment::file::Segment;
use crate::segment::{BLOCK_BYTES, BLOCK_RECORDS};

/// A segment is closed when it has so many bytes.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// What blocks are compressed with while records come: zstd's level, and its
/// window as a power of two.
const HOT: (i32, u32) = (1, 20);
/// How often age and size are looked at.
const RETAIN_EVERY: Duration = Duration::from_secs(10);
/// A clock that goes ahead of itself by so much is not believed for so long:
/// else one wrong time would remove everything.
const CLOCK_JUMP: Duration = Duration::from_secs(3600);

pub(super) struct Keeper {
    core: Arc<Core>,
    builder: BlockBuilder,
    bytes: Vec<u8>,
    active: Option<Arc<Segment>>,
    synced: Instant,
    retained: Option<Instant>,
    quiet_since: Instant,
    clock: (Instant, i64),
    distrust_until: Option<Instant>,
    complained: bool,
}

impl Keeper {
    pub(super) fn new(core: Arc<Core>) -> Result<Self> {
        // The last segment goes on where it is not full yet.
        let last = core.state().segments.last().map(Arc::clone);
        let active = last.filter(|segment| segment.bytes() < SEGMENT_BYTES);
        Ok(Self {
            core,
            builder: BlockBuilder::new(HOT.0, HOT.1, false)?,
            bytes: Vec::new(),
            active,
            synced: Instant::now(),
            retained: None,
            quiet_since: Instant::now(),
            clock: (Instant::now(), now()),
            distrust_until: None,
            complained: false,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            let mut state = self.core.state();
            let interval = self
                .core
                .options
                .sync_interval
                .clamp(Duration::from_millis(10), Duration::from_secs(5));
            let frozen = self.core.frozen.load(Ordering::Relaxed);
            let all = state.settle_now;
            let work = !frozen && !self.complained && (state.open_bytes >= BLOCK_BYTES || all);
            if !work && !state.closing {
                state = self
                    .core
                    .work
                    .wait_timeout(state, interval)
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .0;
            }
            let closing = state.closing;
            let all = state.settle_now;
            drop(state);
            if self.core.frozen.load(Ordering::Relaxed) && !closing {
                continue;
            }
            self.complained = !self.seal(all);
            if self.synced.elapsed() >= interval {
                self.synced = Instant::now();
                self.sync();
            }
            self.retain();
            if closing {
                self.sync();
                return;
            }
            self.idle(all);
        }
    }

    /// Makes blocks of what is open: full ones, or all. False where the disk
    /// did not take them; they stay open.
    fn seal(&mut self, all: bool) -> bool {
        loop {
            let frames: Vec<Open> = {
                let state = self.core.state();
                if state.open.is_empty() || (state.open_bytes < BLOCK_BYTES && !all) {
                    return true;
                }
                let (mut bytes, mut records, mut sources) = (0, 0, 0);
                let fits = |open: &&Open| {
                    sources += open.sources;
                    let fits = bytes < BLOCK_BYTES && records < BLOCK_RECORDS as u64 && sources < 2_000;
                    bytes += open.bytes;
                    records += open.end - open.first;
                    fits || bytes == open.bytes
                };
                state.open.iter().take_while(fits).cloned().collect()
            };
            match self.block(&frames) {
                Ok(()) => {}
                Err(error) => {
                    if !self.complained {
                        tracing::warn!(%error, folder = %self.core.folder.display(), "a block of logs cannot be written; the journal keeps it");
                    }
                    return false;
                }
            }
        }
    }

    fn block(&mut self, open: &[Open]) -> io::Result<()> {
        let (Some(first), Some(last)) = (open.first(), open.last()) else {
            return Ok(());
        };
        for one in open {
            match one.load() {
                Some(frame) => self.builder.add(&frame),
                None => {
                    // The numbers must not have a gap; the records are lost, as
                    // the journal's damage says.
                    tracing::warn!(
                        first = one.first,
                        end = one.end,
                        "log records in the journal cannot be read back"
                    );
                    self.builder.add(&lost(one));
                }
            }
        }
        self.bytes.clear();
        let header = self
            .builder
            .finish(&mut self.bytes)
            .map_err(|e| io::Error::other(e.to_string()))?;
        let segment = match &self.active {
            Some(active) if active.bytes() < SEGMENT_BYTES => Arc::clone(active),
            _ => {
                let path = self.core.folder.join(Segment::name(first.first));
                let segment = Arc::new(Segment::create(&path)?);
                self.core.state().segments.push(Arc::clone(&segment));
                if let Some(full) = self.active.replace(Arc::clone(&segment)) {
                    full.sync()?;
                }
                segment
            }
        };
        segment.append(&self.bytes, vec![header])?;
        if self.core.options.durability == Durability::Power {
            segment.sync()?;
        }
        self.core.counters.blocks.fetch_add(1, Ordering::Relaxed);
        self.core
            .counters
            .block_bytes
            .fetch_add(self.bytes.len() as u64, Ordering::Relaxed);
        let mut state = self.core.state();
        // Between the append and this, a search may see records twice; it sees
        // each number once, as snapshots are cut at the first open frame.
        for _ in open {
            if let Some(gone) = state.open.pop_front() {
                state.open_bytes -= gone.bytes;
            }
        }
        drop(state);
        self.core.sealed.store(last.end, Ordering::Release);
        Ok(())
    }

    /// Asks the disk to have everything that was acknowledged.
    fn sync(&self) {
        if self.core.options.durability == Durability::Power {
            return;
        }
        let journal = self
            .core
            .state()
            .open
            .back()
            .map(|open| Arc::clone(open.place.file()));
        let journal = journal.map_or(Ok(()), |file| file.sync_data());
        let segment = self.active.as_ref().map_or(Ok(()), |segment| segment.sync());
        if let Err(error) = journal.and(segment) {
            tracing::warn!(%error, "the disk does not confirm that it has the logs");
        }
    }

    /// The time, unless the clock jumped ahead: nothing is removed for its age
    /// until it has kept its word for a while.
    fn trusted_now(&mut self) -> Option<i64> {
        let (then, said) = self.clock;
        let says = now();
        let expected = said.saturating_add(i64::try_from(then.elapsed().as_nanos()).unwrap_or(i64::MAX));
        self.clock = (Instant::now(), says);
        let jump = i64::try_from(CLOCK_JUMP.as_nanos()).unwrap_or(i64::MAX);
        if says.saturating_sub(expected) > jump {
            tracing::warn!("the clock jumped ahead; no logs are removed for their age for an hour");
            self.distrust_until = Some(Instant::now() + CLOCK_JUMP);
        }
        if self.distrust_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        Some(says)
    }

    /// Removes segments that are too old or too much.
    fn retain(&mut self) {
        let due = self.retained.is_none_or(|at| at.elapsed() >= RETAIN_EVERY);
        let segments = self.core.state().segments.clone();
        let total: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        let options = &self.core.options;
        if !due && total <= options.max_bytes {
            return;
        }
        self.retained = Some(Instant::now());
        let max_age = options.max_age;
        let (max_bytes, by_service) = (options.max_bytes, options.service_max_age.clone());
        let now = self.trusted_now();
        let too_old = |received: i64, age: Duration| {
            let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            now.is_some_and(|now| received < now.saturating_sub(age))
        };
        let mut left = total;
        for segment in &segments {
            let old = max_age.is_some_and(|age| too_old(segment.received(), age));
            // The last one stays: it is being written.
            let active = self
                .active
                .as_ref()
                .is_some_and(|active| Arc::ptr_eq(active, segment));
            if (left <= max_bytes && !old) || (active && segments.len() == 1 && !old) {
                break;
            }
            left -= segment.bytes();
            if active {
                self.active = None;
            }
            self.core
                .state()
                .segments
                .retain(|one| !Arc::ptr_eq(one, segment));
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::warn!(%error, path = %segment.path.display(), "an old segment of logs cannot be removed");
            }
        }
        for (service, age) in by_service {
            let blocks = segments.iter().flat_map(|segment| segment.blocks());
            let before = blocks
                .filter(|block| too_old(block.header.received, age))
                .map(|block| block.header.end())
                .max();
            if let Some(before) = before {
                let mut state = self.core.state();
                if state.forgotten.get(&service).is_none_or(|known| *known < before) {
                    Arc::make_mut(&mut state.forgotten).insert(service, before);
                }
            }
        }
    }

    /// Compresses old segments harder while nothing comes, or because somebody
    /// asked for it.
    fn idle(&mut self, asked: bool) {
        if self.core.busy.swap(false, Ordering::Relaxed) {
            self.quiet_since = Instant::now();
        }
        let quiet = self.quiet_since.elapsed() >= self.core.options.settle_after;
        if !asked && !quiet {
            return;
        }
        if asked {
            // Also what is being written becomes an old segment.
            self.active = None;
        }
        let segments = self.core.state().segments.clone();
        for segment in segments {
            let active = self
                .active
                .as_ref()
                .is_some_and(|active| Arc::ptr_eq(active, &segment));
            if active || segment.blocks().iter().all(|block| block.header.settled) {
                continue;
            }
            if let Err(error) = super::settle::settle(&self.core, &segment) {
                tracing::warn!(%error, path = %segment.path.display(), "a segment of logs cannot be compressed anew");
                break;
            }
            // One at a time, so that new records are not kept waiting.
            if !asked {
                return;
            }
        }
        if asked {
            self.core.state().settle_now = false;
            self.core.settled.notify_all();
        }
    }
}

/// Stands for a frame that cannot be read back.
fn lost(open: &Open) -> Frame {
    let mut batch = crate::record::Batch::new();
    let index = batch.source(&crate::record::Source::new("", "", crate::record::Stream::Proxy));
    for _ in open.first..open.end {
        batch.line(index, b"");
    }
    Frame {
        first: open.first,
        received: open.received,
        batch,
        marks: Vec::new(),
    }
}
