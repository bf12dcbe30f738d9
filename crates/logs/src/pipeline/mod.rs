//! What happens to records between intake and journal: secrets taken out, rate
//! limited, traces folded, time and level recognised, rules applied.

pub(crate) mod derive;
pub(crate) mod fold;
pub(crate) mod limit;
pub(crate) mod redact;
pub(crate) mod rules;
pub(crate) mod values;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aho_corasick::AhoCorasick;

use crate::intake::Receipt;
use crate::metrics::Counters;
use crate::recognise::Recogniser;
use crate::record::{Batch, Level, Mark, Record, RecordView, Source, SourceIndex, Stream};

use derive::Derived;
use fold::Trace;
use limit::{Limiter, RateLimits};
use redact::{MARK, Redactor, Suspect};
use rules::Rules;
use values::Values;

/// How long an error waits for its stack trace.
const FOLD_WAIT: Duration = Duration::from_millis(200);
/// So many records may wait for theirs at once.
const MAX_PENDING: usize = 512;
/// A private key is at most so many lines.
const KEY_LINES: u32 = 200;
/// A time that is recognised lies between 2000 and a day from now, or it is
/// not believed.
const EARLIEST: i64 = 946_684_800 * 1_000_000_000;
const DAY: i64 = 86_400 * 1_000_000_000;

/// A record that waits for the rest of its stack trace.
struct Pending {
    batch: Batch,
    trace: Trace,
    receipts: Vec<Arc<Receipt>>,
    since: Instant,
}

/// The pipeline of one log proxy.
pub(crate) struct Pipeline {
    recogniser: Recogniser,
    redactor: Arc<Redactor>,
    values: Arc<Values>,
    limits: RateLimits,
    limiter: Limiter,
    rules: Rules,
    derived: Arc<Derived>,
    pending: HashMap<Arc<Source>, Pending>,
    keys: HashMap<Arc<Source>, u32>,
    suspects: Vec<Suspect>,
    ranges: Vec<Range<usize>>,
    scratch: Vec<u8>,
    out: Batch,
    last: Option<SourceIndex>,
    receipts: Vec<Arc<Receipt>>,
    marks: Vec<Mark>,
    counters: Arc<Counters>,
}

/// What is ready for the journal.
pub(crate) struct Ready {
    pub(crate) batch: Batch,
    /// How far sources were read, all of whose records are in the batch or in
    /// one before it.
    pub(crate) marks: Vec<Mark>,
    /// Dropping them acknowledges.
    pub(crate) receipts: Vec<Arc<Receipt>>,
}

impl Pipeline {
    pub(crate) fn new(
        redactor: Arc<Redactor>,
        limits: RateLimits,
        rules: Rules,
        derived: Arc<Derived>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            recogniser: Recogniser::default(),
            redactor,
            values: Arc::default(),
            limits,
            limiter: Limiter::default(),
            rules,
            derived,
            pending: HashMap::new(),
            keys: HashMap::new(),
            suspects: Vec::new(),
            ranges: Vec::new(),
            scratch: Vec::new(),
            out: Batch::new(),
            last: None,
            receipts: Vec::new(),
            marks: Vec::new(),
            counters,
        }
    }

    pub(crate) fn set_redactor(&mut self, redactor: Arc<Redactor>) {
        self.redactor = redactor;
    }

    pub(crate) fn set_values(&mut self, values: Arc<Values>) {
        self.values = values;
    }

    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes a batch. What becomes of it is in [`Pipeline::ready`], or waits.
    pub(crate) fn take(&mut self, batch: &Batch, receipt: Arc<Receipt>, now: i64) {
        if batch.is_empty() && batch.marked().is_none() {
            // Asks for everything to be let go.
            self.flush_pending(now, None);
            self.receipts.push(receipt);
            return;
        }
        self.counters
            .lines_in
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.counters
            .bytes_in
            .fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        let mut suspects = std::mem::take(&mut self.suspects);
        suspects.clear();
        let redactor = Arc::clone(&self.redactor);
        redactor.suspects(batch.raw(), |suspect| suspects.push(suspect));
        suspects.sort_unstable_by_key(|suspect| suspect.at);
        let mut waiting = suspects.as_slice();
        for record in batch.iter() {
            if !self.limits.is_empty()
                && let Some(limit) = self.limits.limit(&record.source.service)
                && !self.limiter.passes(limit, record.source, now)
            {
                self.counters.dropped_limit.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let end = record.start + record.line.len() + record.fields.as_bytes().len();
            let skip = waiting.iter().take_while(|s| s.at < record.start).count();
            let (_, rest) = waiting.split_at(skip);
            let here = rest.iter().take_while(|s| s.at < end).count();
            let (mine, rest) = rest.split_at(here);
            waiting = rest;
            self.clean(&record, mine, &receipt, now);
        }
        self.suspects = suspects;
        if let Some(mark) = batch.marked() {
            // All of it goes into one frame with the mark: nothing may wait.
            // Who marks has waited for the rest of a trace already.
            for source in batch.sources() {
                if let Some(pending) = self.pending.remove(source) {
                    self.let_go(pending, now);
                }
            }
            self.marks.retain(|known| known.key != mark.key);
            self.marks.push(mark.clone());
        }
        self.receipts.push(receipt);
    }

    /// Takes the secrets out of a record.
    fn clean(&mut self, record: &RecordView<'_>, suspects: &[Suspect], receipt: &Arc<Receipt>, now: i64) {
        let mut lines_left = 0;
        if !self.keys.is_empty()
            && let Some(left) = self.keys.get_mut(record.source)
        {
            lines_left = *left;
            *left -= 1;
            if *left == 0 || record.line.starts_with(b"-----END") {
                self.keys.remove(record.source);
            }
        }
        let patterns = self.redactor.has_patterns();
        let values = self.values.of(record.source).map(Arc::clone);
        let valued = values.as_ref().is_some_and(|values| values.is_match(record.line));
        let clean = suspects.is_empty() && lines_left == 0 && record.fields.is_empty();
        if clean && !patterns && !valued {
            self.fold(record, receipt, now);
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        if lines_left > 0 {
            scratch.extend_from_slice(MARK);
        } else {
            let of_line = suspects
                .iter()
                .filter(|s| s.at < record.start + record.line.len());
            self.ranges.clear();
            for suspect in of_line {
                let suspect = Suspect {
                    at: suspect.at - record.start,
                    ..*suspect
                };
                self.ranges.extend(suspect.confirm(record.line));
            }
            if patterns {
                self.redactor.patterns_in(record.line, &mut self.ranges);
            }
            if let Some(values) = values.as_ref().filter(|_| valued) {
                self.ranges.extend(values::ranges(values, record.line));
            }
            replace(record.line, &mut self.ranges, &mut scratch);
            if !self.ranges.is_empty() {
                self.counters.redacted.fetch_add(1, Ordering::Relaxed);
                if scratch.ends_with(MARK) && memchr::memmem::find(record.line, b"PRIVATE KEY-----").is_some()
                {
                    self.keys.insert(Arc::clone(record.source), KEY_LINES);
                }
            }
        }
        if record.fields.is_empty() {
            let line = scratch.as_slice();
            self.fold(&RecordView { line, ..*record }, receipt, now);
        } else {
            let fields: Vec<(String, String)> = record
                .fields
                .map(|(name, value)| (lossy(name), self.field(values.as_deref(), name, value)))
                .collect();
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut alone = Batch::new();
            let source = alone.source(record.source);
            alone.push(
                source,
                &Record {
                    time: record.time,
                    level: Some(record.level),
                    fields: &fields,
                    line: &scratch,
                },
            );
            if let Some(record) = alone.get(0) {
                self.fold(&record, receipt, now);
            }
        }
        self.scratch = scratch;
    }

    fn field(&self, values: Option<&AhoCorasick>, name: &[u8], value: &[u8]) -> String {
        let name = name.to_ascii_lowercase();
        let secret = [
            "password",
            "passwd",
            "secret",
            "token",
            "api_key",
            "apikey",
            "authorization",
        ];
        if secret.iter().any(|word| name.ends_with(word.as_bytes())) {
            return lossy(MARK);
        }
        let mut out = Vec::new();
        redact_line(&self.redactor, value, &mut out);
        if let Some(values) = values {
            let mut ranges: Vec<Range<usize>> = values::ranges(values, &out).collect();
            let redacted = std::mem::take(&mut out);
            replace(&redacted, &mut ranges, &mut out);
        }
        lossy(&out)
    }

    /// Puts lines of a stack trace behind the record they belong to.
    fn fold(&mut self, record: &RecordView<'_>, receipt: &Arc<Receipt>, now: i64) {
        if !self.pending.is_empty()
            && let Some(pending) = self.pending.get_mut(record.source)
        {
            if let Some(trace) = fold::continues(pending.trace, record.line)
                && pending.batch.extend_last(record.line)
            {
                pending.trace = trace;
                pending.since = Instant::now();
                if !pending
                    .receipts
                    .last()
                    .is_some_and(|last| Arc::ptr_eq(last, receipt))
                {
                    pending.receipts.push(Arc::clone(receipt));
                }
                self.counters.folded.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if let Some(pending) = self.pending.remove(record.source) {
                self.let_go(pending, now);
            }
        } else if fold::continues_any(record.line) && record.time.is_none() {
            let last = self.last.and_then(|last| self.out.sources().get(last.get()));
            if last.is_some_and(|last| last == record.source) && self.out.extend_last(record.line) {
                self.counters.folded.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let level = match record.level {
            Level::Unknown => self.recogniser.level(record.line),
            known => known,
        };
        let record = RecordView { level, ..*record };
        match fold::begins(record.line, level) {
            Some(trace) => {
                if self.pending.len() >= MAX_PENDING {
                    self.flush_pending(now, None);
                }
                let mut batch = Batch::new();
                let source = batch.source(record.source);
                batch.push_view(source, &record);
                let pending = Pending {
                    batch,
                    trace,
                    receipts: vec![Arc::clone(receipt)],
                    since: Instant::now(),
                };
                self.pending.insert(Arc::clone(record.source), pending);
            }
            None => self.emit(&record, now),
        }
    }

    /// Applies the rules, and sets the time.
    fn emit(&mut self, record: &RecordView<'_>, now: i64) {
        let time = record.time.or_else(|| {
            let found = self.recogniser.times.find(record.line, now)?.time;
            (EARLIEST..now.saturating_add(DAY))
                .contains(&found)
                .then_some(found)
        });
        let mut record = RecordView {
            time: Some(time.unwrap_or(now)),
            ..*record
        };
        // Before the rules: what is only counted need not be kept.
        if !self.derived.is_empty() {
            self.derived.observe(&record);
        }
        let mut source = None;
        let mut changed = Batch::new();
        if !self.rules.is_empty() {
            let verdict = self.rules.judge(&record);
            if verdict.drop {
                self.counters.dropped_rule.fetch_add(1, Ordering::Relaxed);
                return;
            }
            record.level = verdict.level.unwrap_or(record.level);
            source = verdict.source(record.source);
            if !verdict.fields.is_empty() {
                let fields = verdict.fields(&record);
                let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
                let index = changed.source(record.source);
                let whole = Record {
                    time: record.time,
                    level: Some(record.level),
                    fields: &fields,
                    line: record.line,
                };
                changed.push(index, &whole);
            }
        }
        let record = changed.get(0).map_or(record, |changed| RecordView {
            source: record.source,
            ..changed
        });
        let index = self.out.source(source.as_ref().unwrap_or(record.source));
        self.out.push_view(index, &record);
        self.last = Some(index);
    }

    fn let_go(&mut self, pending: Pending, now: i64) {
        if let Some(record) = pending.batch.get(0) {
            self.emit(&record, now);
            // It is whole: nothing follows but what says so itself.
        }
        self.receipts.extend(pending.receipts);
    }

    /// Lets go of what has waited since before then; of all, where no moment
    /// is given.
    fn flush_pending(&mut self, now: i64, before: Option<Instant>) {
        if self.pending.is_empty() {
            return;
        }
        let due = |pending: &Pending| before.is_none_or(|before| pending.since <= before);
        let mut due: Vec<(Arc<Source>, Instant)> = self
            .pending
            .iter()
            .filter(|(_, pending)| due(pending))
            .map(|(source, pending)| (Arc::clone(source), pending.since))
            .collect();
        due.sort_by_key(|(_, since)| *since);
        for (source, _) in due {
            if let Some(pending) = self.pending.remove(&source) {
                self.let_go(pending, now);
            }
        }
    }

    /// Adds a record of the log proxy's own.
    pub(crate) fn say(&mut self, service: &str, text: &str, now: i64) {
        let source = Source::new(service, "", Stream::Proxy);
        let index = self.out.source(&source);
        let record = Record {
            time: Some(now),
            level: Some(Level::Warn),
            line: text.as_bytes(),
            ..Record::default()
        };
        self.out.push(index, &record);
        self.last = None;
    }

    /// What is to be done from time to time: traces that are complete, drops
    /// that must be told.
    pub(crate) fn tick(&mut self, now: i64) {
        if let Some(before) = Instant::now().checked_sub(FOLD_WAIT) {
            self.flush_pending(now, Some(before));
        }
        if !self.limits.is_empty() {
            for (source, lines) in self.limiter.take_dropped(now) {
                let Some(limit) = self.limits.limit(&source.service) else {
                    continue;
                };
                let text = format!(
                    "{lines} lines of this service were dropped: it wrote more than {} a second",
                    limit.lines_per_second
                );
                self.say(&source.service, &text, now);
            }
        }
    }

    /// Lets go of everything that waits for more.
    pub(crate) fn flush_all(&mut self, now: i64) {
        self.flush_pending(now, None);
    }

    /// Whether something waits for [`Pipeline::tick`].
    pub(crate) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many bytes are ready.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.out.bytes()
    }

    /// Takes what is ready, and what acknowledges it. Marks without records
    /// wait for some: what was read and dropped may be read and dropped again.
    pub(crate) fn ready(&mut self) -> Ready {
        self.last = None;
        let (bytes, records) = (self.out.bytes(), self.out.len());
        let mut batch = std::mem::take(&mut self.out);
        batch.shrink();
        self.out.reserve(bytes, records);
        let marks = match batch.is_empty() {
            true => Vec::new(),
            false => std::mem::take(&mut self.marks),
        };
        Ready {
            batch,
            marks,
            receipts: std::mem::take(&mut self.receipts),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Adds a line with these places replaced; they are sorted and joined.
fn replace(line: &[u8], ranges: &mut [Range<usize>], out: &mut Vec<u8>) {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut done = 0;
    for range in ranges.iter() {
        if range.start >= done {
            out.extend_from_slice(&line[done..range.start]);
            out.extend_from_slice(MARK);
        }
        done = done.max(range.end);
    }
    out.extend_from_slice(&line[done..]);
}

/// Adds a line with its secrets replaced.
pub(crate) fn redact_line(redactor: &Redactor, line: &[u8], out: &mut Vec<u8>) {
    let mut ranges = Vec::new();
    redactor.suspects(line, |suspect| ranges.extend(suspect.confirm(line)));
    redactor.patterns_in(line, &mut ranges);
    replace(line, &mut ranges, out);
}
