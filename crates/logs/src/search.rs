//! Search: blocks that cannot hold what is wanted are left out by their headers
//! and filters; the others are decompressed one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nonna_engine::{Error, Result};

use crate::frame::Frame;
use crate::journal::Place;
use crate::metrics::Counters;
use crate::query::{Order, Query};
use crate::recognise::trace_id;
use crate::record::{Level, RecordView, Source, SourceIndex, escape_into, json_string_into};
use crate::segment::data::{BlockData, Opener};
use crate::segment::file::{Block, Segment};

/// So many records are looked at for context around one at most.
const CONTEXT_REACH: u64 = 20_000;

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: records of one log proxy are numbered in the order in which
    /// they came.
    pub number: u64,
    /// When: nanoseconds since 1970, UTC.
    pub time: i64,
    /// Where it comes from.
    pub source: Arc<Source>,
    /// How serious.
    pub level: Level,
    /// The line. Any bytes: escape it before you show it ([`Entry::text`]).
    pub line: Vec<u8>,
    /// What came beside the line.
    pub fields: Vec<(String, String)>,
    /// The trace it belongs to, where that is known.
    pub trace: Option<String>,
    /// It was not asked for, but stands near what was.
    pub context: bool,
}

impl Entry {
    /// An entry of a record.
    #[must_use]
    pub fn new(number: u64, record: &RecordView<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            number,
            time: record.time.unwrap_or(0),
            source: Arc::clone(record.source),
            level: record.level,
            line: record.line.to_vec(),
            fields: record
                .fields
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            trace: trace_id(record).map(text),
            context: false,
        }
    }

    /// The line with everything escaped that could move a cursor or look like
    /// another line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.line.len());
        escape_into(&mut out, &self.line);
        out
    }

    /// Adds the record as one line of JSON, without an end of line. Control
    /// characters are escaped; bytes that are no UTF-8 are replaced.
    pub fn json_into(&self, out: &mut String) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(out, "{{\"number\":{},\"time\":\"", self.number);
        rfc3339(out, self.time);
        out.push_str("\",\"service\":");
        json_string_into(out, self.source.service.as_bytes());
        if !self.source.replica.is_empty() {
            out.push_str(",\"replica\":");
            json_string_into(out, self.source.replica.as_bytes());
        }
        let _ = write!(out, ",\"stream\":\"{}\"", self.source.stream.name());
        if self.level != Level::Unknown {
            let _ = write!(out, ",\"level\":\"{}\"", self.level);
        }
        if let Some(trace) = &self.trace {
            out.push_str(",\"trace\":");
            json_string_into(out, trace.as_bytes());
        }
        if !self.fields.is_empty() {
            out.push_str(",\"fields\":{");
            for (at, (name, value)) in self.fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                json_string_into(out, name.as_bytes());
                out.push(':');
                json_string_into(out, value.as_bytes());
            }
            out.push('}');
        }
        out.push_str(",\"line\":");
        json_string_into(out, &self.line);
        out.push('}');
    }
}

/// Adds a time with its nanoseconds: `2026-11-24T08:36:11.123456789Z`.
pub fn rfc3339(out: &mut String, time: i64) {
    use std::fmt::Write;
    let seconds = time.div_euclid(1_000_000_000);
    let (year, month, day) = crate::recognise::time::day_of(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        time.rem_euclid(1_000_000_000)
    );
}

/// A frame that is in no block yet.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) bytes: usize,
    pub(crate) received: i64,
    pub(crate) sources: usize,
    pub(crate) place: Place,
    /// `None`: only the journal holds it.
    pub(crate) frame: Option<Arc<Frame>>,
}

impl Open {
    /// The frame, read back where it must be.
    pub(crate) fn load(&self) -> Option<Arc<Frame>> {
        self.frame.clone().or_else(|| self.place.read().map(Arc::new))
    }
}

/// All that there is at one moment. It stays readable whatever is written,
/// replaced or removed meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) open: VecDeque<Open>,
    /// Records of a service before this number are as good as gone.
    pub(crate) forgotten: Arc<BTreeMap<Arc<str>, u64>>,
    /// The number of the next record.
    pub(crate) next: u64,
}

/// Whether a record's service, or all of its environment, was forgotten after
/// it came.
pub(crate) fn is_forgotten(forgotten: &BTreeMap<Arc<str>, u64>, number: u64, source: &Source) -> bool {
    if forgotten.is_empty() {
        return false;
    }
    let before = |label: &str| forgotten.get(label).is_some_and(|before| number < *before);
    let environment = source.service.rfind('/').and_then(|at| source.service.get(..=at));
    before(&source.service) || environment.is_some_and(before)
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Searched {
    /// Records that were found.
    pub found: usize,
    /// Blocks there are.
    pub blocks: usize,
    /// Blocks that were opened.
    pub opened: usize,
    /// Blocks that could not be read: their records are missing.
    pub damaged: usize,
}

struct Run<'a> {
    snapshot: &'a Snapshot,
    query: &'a Query,
    cancelled: &'a dyn Fn() -> bool,
    each: &'a mut dyn FnMut(Entry) -> bool,
    done: Searched,
    opener: Opener,
    body: Vec<u8>,
    data: BlockData,
    line: Vec<u8>,
    /// By service and replica: the first and the last record that was given
    /// around the last match.
    given: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
}

/// Searches; calls with each record that is found until that answers false.
/// Blocks the thread.
pub(crate) fn search(
    snapshot: &Snapshot,
    query: &Query,
    counters: &Counters,
    cancelled: &dyn Fn() -> bool,
    each: &mut dyn FnMut(Entry) -> bool,
) -> Result<Searched> {
    counters.searches.fetch_add(1, Ordering::Relaxed);
    let mut query = std::borrow::Cow::Borrowed(query);
    if let Some(last) = query.last {
        // Two passes cost less memory than keeping what may be many long lines.
        let Some(from) = number_of_last(snapshot, &query, last, cancelled)? else {
            return Ok(Searched::default());
        };
        let query = query.to_mut();
        (query.from, query.last) = (from, None);
    }
    let query = query.as_ref();
    let opener = Opener::new().map_err(|e| Error::bug("zstd cannot be set up.").said(e.to_string()))?;
    let mut run = Run {
        snapshot,
        query,
        cancelled,
        each,
        done: Searched::default(),
        opener,
        body: Vec::new(),
        data: BlockData::default(),
        line: Vec::new(),
        given: BTreeMap::new(),
    };
    run.all();
    let done = run.done;
    counters.opened.fetch_add(done.opened as u64, Ordering::Relaxed);
    counters.damaged.fetch_add(done.damaged as u64, Ordering::Relaxed);
    Ok(done)
}

/// The number of the last but so many record that a query finds.
fn number_of_last(
    snapshot: &Snapshot,
    query: &Query,
    last: usize,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<u64>> {
    let backwards = Query {
        order: Order::NewestFirst,
        limit: last,
        context: (0, 0),
        last: None,
        ..query.clone()
    };
    let mut number = None;
    search(
        snapshot,
        &backwards,
        &Counters::default(),
        cancelled,
        &mut |entry| {
            number = Some(entry.number);
            true
        },
    )?;
    Ok(number)
}

impl Run<'_> {
    fn all(&mut self) -> Option<()> {
        if self.query.limit == 0 {
            return None;
        }
        let snapshot = self.snapshot;
        // What is in a block by now but was open when the snapshot was taken is
        // seen in its frame.
        let open_from = snapshot.open.front().map_or(snapshot.next, |open| open.first);
        let of_segment = |segment| {
            let blocks = Segment::blocks(segment).into_iter();
            blocks
                .filter(move |block| block.header.first < open_from)
                .map(move |block| (segment, block))
        };
        let blocks: Vec<(&Segment, Arc<Block>)> = snapshot
            .segments
            .iter()
            .map(Arc::as_ref)
            .flat_map(of_segment)
            .collect();
        self.done.blocks = blocks.len();
        match self.query.order {
            Order::NewestFirst => {
                for open in snapshot.open.iter().rev() {
                    self.frame(open)?;
                }
                for (segment, block) in blocks.iter().rev() {
                    self.block(segment, block)?;
                }
            }
            Order::OldestFirst => {
                for (segment, block) in &blocks {
                    self.block(segment, block)?;
                }
                for open in &snapshot.open {
                    self.frame(open)?;
                }
            }
        }
        Some(())
    }

    fn frame(&mut self, open: &Open) -> Option<()> {
        if (self.cancelled)() {
            return None;
        }
        if open.first >= self.query.before || open.end <= self.query.from {
            return Some(());
        }
        let Some(frame) = open.load() else {
            self.done.damaged += 1;
            return Some(());
        };
        let numbered = (frame.first..).zip(frame.batch.iter());
        match self.query.order {
            Order::OldestFirst => {
                for (number, record) in numbered {
                    self.record(number, &record)?;
                }
            }
            Order::NewestFirst => {
                for (number, record) in (frame.first..frame.end()).rev().zip(frame.batch.iter().rev()) {
                    self.record(number, &record)?;
                }
            }
        }
        Some(())
    }

    /// Looks at one record; `None` ends the search.
    fn record(&mut self, number: u64, record: &RecordView<'_>) -> Option<()> {
        if !self.query.wants(number, record) || self.is_forgotten(number, record.source) {
            return Some(());
        }
        let entry = Entry::new(number, record);
        self.found(entry)
    }

    fn is_forgotten(&self, number: u64, source: &Source) -> bool {
        source.service.is_empty() || is_forgotten(&self.snapshot.forgotten, number, source)
    }

    fn found(&mut self, entry: Entry) -> Option<()> {
        self.done.found += 1;
        let go_on = if self.query.context == (0, 0) {
            (self.each)(entry)
        } else {
            self.with_context(entry)
        };
        (go_on && self.done.found < self.query.limit).then_some(())
    }

    fn block(&mut self, segment: &Segment, block: &Block) -> Option<()> {
        if (self.cancelled)() {
            return None;
        }
        let mut words = |words: &[u64]| segment.may_hold(block, words);
        if !self.query.may_be_in(&block.header, &mut words) {
            return Some(());
        }
        self.done.opened += 1;
        let mut data = std::mem::take(&mut self.data);
        let candidates = self.candidates(segment, block, &mut data);
        let ended = match candidates {
            Some(candidates) => self.look_at(block.header.first, &candidates, &mut data),
            None => {
                self.done.damaged += 1;
                Some(())
            }
        };
        self.data = data;
        ended
    }

    /// The records that may be wanted, in order; `None` where the block is
    /// damaged.
    fn candidates(&mut self, segment: &Segment, block: &Block, data: &mut BlockData) -> Option<Vec<u32>> {
        segment.body(block, &mut self.body)?;
        self.opener.text(&block.header, &self.body, data)?;
        let Some(literal) = self.query.expr.literal() else {
            self.opener.columns(&block.header, &self.body, data)?;
            return Some((0..block.header.count).collect());
        };
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(place) = data.text().get(at..).and_then(|text| literal.find(text)) {
            if data.places.is_empty() {
                self.opener.columns(&block.header, &self.body, data)?;
            }
            let place = at + place;
            match data.record_at(place) {
                Some(record) => {
                    found.push(u32::try_from(record).ok()?);
                    // On with the next line; a match across lines is none.
                    at = data.end_of(record).max(place + 1);
                    // It may have begun in this line and ended in the next.
                    if place + literal.needle().len() > data.end_of(record) {
                        at = place + 1;
                    }
                }
                // Fields stand behind the lines.
                None if data.is_behind_lines(place) => break,
                // The end of a line.
                None => at = place + 1,
            }
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    fn look_at(&mut self, first: u64, candidates: &[u32], data: &mut BlockData) -> Option<()> {
        let newest_first = self.query.order == Order::NewestFirst;
        for step in 0..candidates.len() {
            let at = if newest_first {
                candidates.len() - 1 - step
            } else {
                step
            };
            let record = candidates[at] as usize;
            // Gives the thread's owner a chance in long blocks.
            if step % 4096 == 4095 && (self.cancelled)() {
                return None;
            }
            let mut line = std::mem::take(&mut self.line);
            line.clear();
            data.line(record, &mut line);
            let ended = match (data.source(record), data.places.get(record)) {
                (Some(source), Some(place)) => {
                    let view = RecordView {
                        source,
                        source_index: SourceIndex::FIRST,
                        time: Some(place.time),
                        level: place.level,
                        line: &line,
                        fields: data.fields(record),
                        start: 0,
                    };
                    self.record(first + record as u64, &view)
                }
                _ => Some(()),
            };
            self.line = line;
            ended?;
        }
        Some(())
    }

    /// Gives the record with those of its source around it; none of them twice.
    fn with_context(&mut self, entry: Entry) -> bool {
        let (before, after) = self.query.context;
        let number = entry.number;
        let oldest_first = self.query.order == Order::OldestFirst;
        let key = (
            Arc::clone(&entry.source.service),
            Arc::clone(&entry.source.replica),
        );
        // What was given around the match before this one.
        let given = self.given.get(&key).copied();
        let (mut low, mut high) = (
            number.saturating_sub(CONTEXT_REACH),
            number.saturating_add(CONTEXT_REACH),
        );
        // The next match brings itself, and what is around it.
        if oldest_first {
            low = low.max(given.map_or(0, |(_, last)| last + 1));
            high = self.next_match(&entry.source, number + 1, high).unwrap_or(high);
        } else {
            high = high.min(given.map_or(u64::MAX, |(first, _)| first));
            low = self
                .next_match(&entry.source, low, number)
                .map_or(low, |found| found + 1);
        }
        let mut earlier = self.near(&entry.source, Order::NewestFirst, low, number, before);
        earlier.reverse();
        let later = self.near(&entry.source, Order::OldestFirst, number + 1, high, after);
        let first = earlier.first().map_or(number, |entry| entry.number);
        let last = later.last().map_or(number, |entry| entry.number);
        self.given.insert(key, (first, last));
        earlier
            .into_iter()
            .chain([entry])
            .chain(later)
            .all(|entry| (self.each)(entry))
    }

    /// The match of a source that comes next in the query's order.
    fn next_match(&self, source: &Source, from: u64, before: u64) -> Option<u64> {
        let query = Query {
            from: self.query.from.max(from),
            before: self.query.before.min(before),
            limit: usize::MAX,
            context: (0, 0),
            ..self.query.clone()
        };
        let mut found = None;
        let counters = Counters::default();
        let mut each = |near: Entry| {
            if is_same_replica(&near.source, source) {
                found = Some(near.number);
            }
            found.is_none()
        };
        let _ = search(self.snapshot, &query, &counters, self.cancelled, &mut each);
        found
    }

    /// Records of a source, at most so many.
    fn near(&self, source: &Source, order: Order, from: u64, before: u64, limit: usize) -> Vec<Entry> {
        let mut found = Vec::new();
        if limit == 0 || from >= before {
            return found;
        }
        let mut query = Query::new(self.query.scope.clone(), crate::query::Expr::All);
        query.order = order;
        (query.from, query.before) = (from, before);
        let counters = Counters::default();
        let mut each = |mut near: Entry| {
            if is_same_replica(&near.source, source) {
                near.context = true;
                found.push(near);
            }
            found.len() < limit
        };
        let _ = search(self.snapshot, &query, &counters, self.cancelled, &mut each);
        found
    }
}

fn is_same_replica(one: &Source, other: &Source) -> bool {
    one.service == other.service && one.replica == other.replica
}
