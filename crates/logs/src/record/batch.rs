//! Many records in one piece of memory.

use std::sync::Arc;

use super::{Level, MAX_FIELD_BYTES, MAX_RECORD_BYTES, Source, Stream};
use crate::varint;

/// What stands for "no time" in [`Item`].
const NO_TIME: i64 = i64::MIN;

/// A record as it is pushed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// When, in nanoseconds since 1970, UTC. `None`: the time that is
    /// recognised in the line, or else the time of its arrival.
    pub time: Option<i64>,
    /// How serious. `None`: what is recognised in the line.
    pub level: Option<Level>,
    /// Names and values that came beside the line: a protocol's attributes,
    /// `trace_id` and `span_id` among them. What stands in the line itself
    /// (JSON, logfmt) is found there and is not to be repeated.
    pub fields: &'a [(&'a str, &'a str)],
    /// The line, without the end of line. Any bytes.
    pub line: &'a [u8],
}

/// Which source of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceIndex(u16);

/// One record's place in a batch's bytes: the line, then its fields.
#[derive(Debug, Clone, Copy)]
struct Item {
    time: i64,
    start: u32,
    line: u32,
    fields: u32,
    source: u16,
    level: Level,
}

/// Records of any sources, in the order in which they came: what travels
/// through the log proxy. Its lines lie one after another in one piece of
/// memory, so that a record costs no allocation.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    sources: Vec<Arc<Source>>,
    items: Vec<Item>,
    bytes: Vec<u8>,
    mark: Option<Mark>,
}

/// How far something was read, kept with the records that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) key: Arc<str>,
    pub(crate) position: Box<[u8]>,
}

/// A record in a batch.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// Where it comes from.
    pub source: &'a Arc<Source>,
    /// Which source of the batch that is.
    pub source_index: SourceIndex,
    /// When, in nanoseconds since 1970, UTC, if that is known.
    pub time: Option<i64>,
    /// How serious.
    pub level: Level,
    /// The line: any bytes, also ends of lines where several lines are one
    /// record. Escape it before you show it: [`super::escape_into`].
    pub line: &'a [u8],
    /// What came beside the line.
    pub fields: Fields<'a>,
    /// Where the line begins in the batch's bytes.
    pub(crate) start: usize,
}

impl Batch {
    /// The most bytes of lines and fields that one batch holds, about; push
    /// what is full and begin another.
    pub const MAX_BYTES: usize = 1024 * 1024;
    /// The most records that one batch holds.
    pub const MAX_RECORDS: usize = 8192;
    /// The most sources that one batch holds.
    pub const MAX_SOURCES: usize = 1024;
    /// The longest position that [`Batch::mark`] keeps, in bytes.
    pub const MAX_POSITION_BYTES: usize = 1024;

    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of lines of one source.
    #[must_use]
    pub fn of_lines<'a>(source: &Arc<Source>, lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut batch = Self::new();
        let index = batch.source(source);
        for line in lines {
            batch.line(index, line);
        }
        batch
    }

    /// Which of the batch's sources this is; it is added where it is none of
    /// them.
    pub fn source(&mut self, source: &Arc<Source>) -> SourceIndex {
        let known = self.sources.iter().rposition(|known| Arc::ptr_eq(known, source));
        let known = known.or_else(|| self.sources.iter().rposition(|known| known == source));
        let index = known.unwrap_or_else(|| {
            if self.sources.len() <= usize::from(u16::MAX) {
                self.sources.push(Arc::clone(source));
            }
            self.sources.len() - 1
        });
        SourceIndex(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// Says that what is called `key` was read up to this position when all
    /// records of the batch are kept. Both get into the journal together: after
    /// a crash [`crate::LogProxy::position`] answers the position behind the
    /// last record that is there, and nothing is read twice or left out. At
    /// most [`Batch::MAX_POSITION_BYTES`] are kept; a longer one is none.
    pub fn mark(&mut self, key: &Arc<str>, position: &[u8]) {
        self.mark = (position.len() <= Self::MAX_POSITION_BYTES).then(|| Mark {
            key: Arc::clone(key),
            position: position.into(),
        });
    }

    /// What [`Batch::mark`] said.
    pub(crate) fn marked(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Adds a line of which nothing else is known.
    pub fn line(&mut self, source: SourceIndex, line: &[u8]) {
        self.push(
            source,
            &Record {
                line,
                ..Record::default()
            },
        );
    }

    /// Adds a record. What is longer than [`MAX_RECORD_BYTES`] is cut, with a
    /// mark; fields beyond [`MAX_FIELD_BYTES`] are left out.
    pub fn push(&mut self, source: SourceIndex, record: &Record<'_>) {
        let start = self.bytes.len();
        let line = self.put_line(record.line);
        let before = self.bytes.len();
        for (name, value) in record.fields {
            let room = MAX_FIELD_BYTES - (self.bytes.len() - before);
            if name.len() + value.len() + 8 > room {
                break;
            }
            put_text(&mut self.bytes, name.as_bytes());
            put_text(&mut self.bytes, value.as_bytes());
        }
        self.add(source, record.time, record.level.unwrap_or_default(), start, line);
    }

    /// Adds a copy of a record of another batch.
    pub(crate) fn push_view(&mut self, source: SourceIndex, record: &RecordView<'_>) {
        let start = self.bytes.len();
        let line = self.put_line(record.line);
        self.bytes.extend_from_slice(record.fields.bytes);
        self.add(source, record.time, record.level, start, line);
    }

    /// Adds a line to the record that was pushed last, behind an end of line,
    /// as long as the record stays below [`MAX_RECORD_BYTES`]; false where it
    /// would not.
    pub(crate) fn extend_last(&mut self, line: &[u8]) -> bool {
        let Some(item) = self.items.last_mut() else {
            return false;
        };
        if item.line as usize + line.len() >= MAX_RECORD_BYTES {
            return false;
        }
        let at = (item.start + item.line) as usize;
        if item.fields == 0 {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(line);
        } else {
            self.bytes
                .splice(at..at, std::iter::once(b'\n').chain(line.iter().copied()));
        }
        #[expect(clippy::cast_possible_truncation, reason = "below MAX_RECORD_BYTES")]
        {
            item.line += line.len() as u32 + 1;
        }
        true
    }

    /// Writes the batch as the journal holds it (see `docs/logs.md`).
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.sources.len() as u64);
        for source in &self.sources {
            put_text(out, source.service.as_bytes());
            put_text(out, source.replica.as_bytes());
            out.push(source.stream as u8);
        }
        varint::put(out, self.items.len() as u64);
        for item in &self.items {
            out.extend_from_slice(&item.time.to_le_bytes());
            out.extend_from_slice(&item.line.to_le_bytes());
            out.extend_from_slice(&item.fields.to_le_bytes());
            out.extend_from_slice(&item.source.to_le_bytes());
            out.extend_from_slice(&[item.level as u8, 0]);
        }
        out.extend_from_slice(&self.bytes);
    }

    /// Reads what [`Batch::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut batch = Self::new();
        let (sources, mut rest) = varint::take(bytes)?;
        for _ in 0..sources {
            let (service, after) = take_text(rest)?;
            let (replica, after) = take_text(after)?;
            let (stream, after) = after.split_first()?;
            let text = |bytes| std::str::from_utf8(bytes).ok();
            batch.sources.push(Source::new(
                text(service)?,
                text(replica)?,
                Stream::from_number(*stream),
            ));
            rest = after;
        }
        let (count, rest) = varint::take(rest)?;
        let count = usize::try_from(count).ok()?;
        let (items, lines) = rest.split_at_checked(count.checked_mul(20)?)?;
        let mut start = 0_u32;
        for item in items.chunks_exact(20) {
            let number = |at: usize| u32::from_le_bytes([item[at], item[at + 1], item[at + 2], item[at + 3]]);
            let time = u64::from(number(0)) | u64::from(number(4)) << 32;
            let item = Item {
                time: time.cast_signed(),
                start,
                line: number(8),
                fields: number(12),
                source: u16::from_le_bytes([item[16], item[17]]),
                level: Level::from_number(item[18]),
            };
            if usize::from(item.source) >= batch.sources.len() {
                return None;
            }
            start = start.checked_add(item.line)?.checked_add(item.fields)?;
            batch.items.push(item);
        }
        if start as usize != lines.len() {
            return None;
        }
        batch.bytes.extend_from_slice(lines);
        Some(batch)
    }

    fn put_line(&mut self, line: &[u8]) -> usize {
        let start = self.bytes.len();
        match line.get(..MAX_RECORD_BYTES) {
            Some(kept) if line.len() > MAX_RECORD_BYTES => {
                let mark = format!("… [{} bytes cut]", line.len() - MAX_RECORD_BYTES);
                self.bytes.extend_from_slice(kept);
                self.bytes.extend_from_slice(mark.as_bytes());
            }
            _ => self.bytes.extend_from_slice(line),
        }
        self.bytes.len() - start
    }

    fn add(&mut self, source: SourceIndex, time: Option<i64>, level: Level, start: usize, line: usize) {
        let fields = self.bytes.len() - start - line;
        // Callers push batches of about MAX_BYTES: 4 GiB are never reached.
        let (Ok(start), Ok(line), Ok(fields)) = (start.try_into(), line.try_into(), fields.try_into()) else {
            self.bytes.truncate(start);
            return;
        };
        self.items.push(Item {
            time: time.unwrap_or(NO_TIME),
            start,
            line,
            fields,
            source: source.0,
            level,
        });
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many bytes of lines and fields.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is time to push it and to begin another.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= Self::MAX_BYTES
            || self.items.len() >= Self::MAX_RECORDS
            || self.sources.len() >= Self::MAX_SOURCES
    }

    /// Lines and fields, one behind the other.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// How much memory it takes, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.items.capacity() * size_of::<Item>() + self.sources.capacity() * 8
    }

    /// Gives back memory that is not used, where that is much.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > self.bytes.len() * 2 {
            self.bytes.shrink_to_fit();
        }
        if self.items.capacity() > self.items.len() * 2 {
            self.items.shrink_to_fit();
        }
    }

    /// Makes room for so many more bytes and records.
    pub fn reserve(&mut self, bytes: usize, records: usize) {
        self.bytes.reserve(bytes.min(Self::MAX_BYTES));
        self.items.reserve(records.min(Self::MAX_RECORDS));
    }

    /// Takes all records out; the memory is kept for the next.
    pub fn clear(&mut self) {
        self.sources.clear();
        self.items.clear();
        self.bytes.clear();
        self.mark = None;
    }

    /// The sources of the records.
    #[must_use]
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// The record at a place, counted from 0.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<RecordView<'_>> {
        self.view(self.items.get(at)?)
    }

    /// The records, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RecordView<'_>> {
        self.items.iter().filter_map(|item| self.view(item))
    }

    fn view(&self, item: &Item) -> Option<RecordView<'_>> {
        let line = item.start as usize;
        let fields = line + item.line as usize;
        Some(RecordView {
            source: self.sources.get(usize::from(item.source))?,
            source_index: SourceIndex(item.source),
            time: (item.time != NO_TIME).then_some(item.time),
            level: item.level,
            line: self.bytes.get(line..fields)?,
            start: line,
            fields: Fields {
                bytes: self.bytes.get(fields..fields + item.fields as usize)?,
            },
        })
    }
}

impl SourceIndex {
    /// Of a batch of one source.
    pub(crate) const FIRST: Self = Self(0);

    /// Its place in [`Batch::sources`].
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// Names and values that came beside a line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields as they are stored: for each name and each value its length (LEB128)
    /// and its bytes.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// As they are stored.
    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The value of this name.
    #[must_use]
    pub fn get(mut self, name: &str) -> Option<&'a [u8]> {
        self.find(|(known, _)| *known == name.as_bytes())
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = take_text(self.bytes)?;
        let (value, rest) = take_text(rest)?;
        self.bytes = rest;
        Some((name, value))
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text);
}

pub(crate) fn take_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint::take(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let web = Source::new("shop/production/web", "web.1", Stream::Stdout);
        let api = Source::new("shop/production/api", "api.1", Stream::Stderr);
        let mut batch = Batch::new();
        let (w, a) = (batch.source(&web), batch.source(&api));
        assert_eq!(
            batch.source(&Source::new("shop/production/web", "web.1", Stream::Stdout)),
            w
        );
        batch.line(w, b"one");
        batch.push(
            a,
            &Record {
                time: Some(5),
                level: Some(Level::Warn),
                fields: &[("trace_id", "abc"), ("", "x")],
                line: b"two\nlines\xff",
            },
        );
        batch.line(w, b"");
        let lines: Vec<&[u8]> = batch.iter().map(|r| r.line).collect();
        assert_eq!(lines, [&b"one"[..], b"two\nlines\xff", b""]);
        let second = batch.get(1).unwrap();
        assert_eq!((second.time, second.level), (Some(5), Level::Warn));
        assert_eq!(second.source, &api);
        assert_eq!(second.fields.get("trace_id"), Some(&b"abc"[..]));
        assert_eq!(second.fields.count(), 2);
        assert_eq!(batch.get(0).unwrap().time, None);
    }

    #[test]
    fn what_is_too_long_is_cut_with_a_mark() {
        let source = Source::new("a", "", Stream::Stdout);
        let long = vec![b'x'; MAX_RECORD_BYTES + 7];
        let batch = Batch::of_lines(&source, [long.as_slice()]);
        let line = batch.get(0).unwrap().line;
        assert!(line.ends_with("… [7 bytes cut]".as_bytes()));
        assert!(line.len() < MAX_RECORD_BYTES + 64);
    }
}
