//! A block, decompressed.

use std::sync::Arc;

use zstd::bulk::Decompressor;

use super::block::Header;
use super::{LINE_END, TIME_MARK, hex};
use crate::recognise::time::{Format, TimeWriter};
use crate::record::{Fields, Level, Source, Stream};
use crate::varint;

/// One record's place in a block.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    start: u32,
    len: u32,
    fields_start: u32,
    fields_len: u32,
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    /// The time that stands in the line, in its format's units.
    stamp: i64,
    /// Where its numbers in hexadecimal begin in their column.
    hex: u32,
    group: u16,
    pub(crate) level: Level,
}

/// A block's records, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct BlockData {
    pub(crate) sources: Vec<Arc<Source>>,
    /// Of each group its source, its format, and whether it is packed: numbers in
    /// hexadecimal are taken out, and lines have ends in place of lengths.
    groups: Vec<(usize, Format, bool)>,
    pub(crate) places: Vec<Place>,
    /// The records' numbers in the order in which their lines stand.
    by_text: Vec<u32>,
    text: Vec<u8>,
    /// Where the lines end in the text: what follows is fields.
    lines: usize,
    /// Where the column of numbers in hexadecimal begins in the text.
    hex: usize,
    meta: Vec<u8>,
    writer: TimeWriter,
}

/// Decompresses; keeps its memory.
pub(crate) struct Opener {
    zstd: Decompressor<'static>,
}

impl Opener {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut zstd = Decompressor::new()?;
        zstd.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(24))?;
        Ok(Self { zstd })
    }

    /// Decompresses the text only: enough to say that nothing is there.
    /// `None` where it is damaged.
    pub(crate) fn text(&mut self, header: &Header, body: &[u8], data: &mut BlockData) -> Option<()> {
        let start = header.filter as usize + header.meta as usize;
        data.places.clear();
        self.unpack(body.get(start..)?, header.text_raw, &mut data.text)?;
        data.find_column()
    }

    /// Decompresses the columns, and sets up where everything is. The text
    /// must be there. `None` where it is damaged.
    pub(crate) fn columns(&mut self, header: &Header, body: &[u8], data: &mut BlockData) -> Option<()> {
        let start = header.filter as usize;
        let mut meta = std::mem::take(&mut data.meta);
        self.unpack(
            body.get(start..start + header.meta as usize)?,
            header.meta_raw,
            &mut meta,
        )?;
        let done = data.arrange(&meta, header.count as usize);
        data.meta = meta;
        done
    }

    /// Reads only which sources the records are of. `None` where it is damaged.
    pub(crate) fn sources(&mut self, header: &Header, body: &[u8], data: &mut BlockData) -> Option<()> {
        let start = header.filter as usize;
        let mut meta = std::mem::take(&mut data.meta);
        let packed = body.get(start..start + header.meta as usize);
        let done = packed.and_then(|packed| {
            self.unpack(packed, header.meta_raw, &mut meta)?;
            data.read_sources(&mut meta.as_slice())
        });
        data.meta = meta;
        done
    }

    fn unpack(&mut self, bytes: &[u8], raw: u32, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        out.reserve(raw as usize);
        let length = self.zstd.decompress_to_buffer(bytes, out).ok()?;
        (length == raw as usize).then_some(())
    }
}

/// Reads a block's columns beside a text as if they had just been
/// decompressed, and every record of it; for the fuzz target. Answers whether
/// they are columns of that text.
pub(crate) fn read_raw(text: &[u8], meta: &[u8], count: usize) -> bool {
    let mut data = BlockData {
        text: text.to_vec(),
        ..BlockData::default()
    };
    let sound = data.find_column().is_some() && data.arrange(meta, count).is_some();
    if sound {
        let mut line = Vec::new();
        for record in 0..count {
            data.line(record, &mut line);
            let _ = data.fields(record).count();
            let _ = data.source(record);
            let _ = data.end_of(record);
        }
        for place in 0..text.len() {
            let _ = data.record_at(place);
        }
    }
    sound
}

fn take_varint(meta: &mut &[u8]) -> Option<usize> {
    let (number, rest) = varint::take(meta)?;
    *meta = rest;
    usize::try_from(number).ok()
}

fn take_signed(meta: &mut &[u8]) -> Option<i64> {
    let (number, rest) = varint::take_signed(meta)?;
    *meta = rest;
    Some(number)
}

fn take_bytes<'a>(meta: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = meta.split_at_checked(count)?;
    *meta = rest;
    Some(bytes)
}

impl BlockData {
    /// Finds the column of numbers in hexadecimal in the text. `None`: damaged.
    fn find_column(&mut self) -> Option<()> {
        let (rest, length) = self.text.split_last_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        self.hex = rest.len().checked_sub(length)?;
        Some(())
    }

    /// The lines, times and numbers in hexadecimal taken out, one after
    /// another, and the fields.
    pub(crate) fn text(&self) -> &[u8] {
        self.text.get(..self.hex).unwrap_or_default()
    }

    /// The numbers in hexadecimal.
    fn column(&self) -> &[u8] {
        let end = self.text.len().saturating_sub(4);
        self.text.get(self.hex..end).unwrap_or_default()
    }

    fn arrange(&mut self, mut meta: &[u8], count: usize) -> Option<()> {
        let meta = &mut meta;
        self.read_sources(meta)?;
        self.read_groups(meta, count)
    }

    fn read_sources(&mut self, meta: &mut &[u8]) -> Option<()> {
        self.sources.clear();
        for _ in 0..take_varint(meta)? {
            let mut names = [""; 2];
            for name in &mut names {
                let length = take_varint(meta)?;
                *name = std::str::from_utf8(take_bytes(meta, length)?).ok()?;
            }
            let stream = Stream::from_number(*take_bytes(meta, 1)?.first()?);
            self.sources.push(Source::new(names[0], names[1], stream));
        }
        Some(())
    }

    fn read_groups(&mut self, meta: &mut &[u8], count: usize) -> Option<()> {
        self.groups.clear();
        let mut spans = Vec::new();
        let mut at = 0_usize;
        for _ in 0..take_varint(meta)? {
            let source = take_varint(meta)?;
            let format = Format(*take_bytes(meta, 1)?.first()?);
            let packed = *take_bytes(meta, 1)?.first()? & 1 != 0;
            let records = take_varint(meta)?;
            let unit = *take_bytes(meta, 1)?.first()?;
            if source >= self.sources.len() || !format.is_valid() || unit > 9 {
                return None;
            }
            self.groups.push((source, format, packed));
            spans.push((at, records, unit));
            at = at.checked_add(records)?;
        }
        if at != count {
            return None;
        }
        // From the order of the lines to the order in which they came.
        let low = take_bytes(meta, count)?;
        let high = take_bytes(meta, count)?;
        let order = low
            .iter()
            .zip(high)
            .map(|(low, high)| u16::from_le_bytes([*low, *high]));
        self.places.clear();
        self.places.resize(count, Place::default());
        self.by_text.clear();
        self.by_text.resize(count, 0);
        let mut next: Vec<usize> = spans.iter().map(|span| span.0).collect();
        for (came, group) in (0_u32..).zip(order) {
            let place = next.get_mut(usize::from(group))?;
            *self.by_text.get_mut(*place)? = came;
            *place += 1;
        }
        for (group, (start, records, _)) in spans.iter().enumerate() {
            if next[group] != start + records {
                return None;
            }
            for came in &self.by_text[*start..start + records] {
                self.places[*came as usize].group = u16::try_from(group).ok()?;
            }
        }
        self.fill(meta, &spans)
    }

    fn fill(&mut self, meta: &mut &[u8], spans: &[(usize, usize, u8)]) -> Option<()> {
        let count = self.by_text.len();
        let levels = take_bytes(meta, count)?;
        for (came, level) in self.by_text.iter().zip(levels) {
            self.places[*came as usize].level = Level::from_number(*level);
        }
        let mut at = 0_u32;
        for came in &self.by_text {
            let place = &mut self.places[*came as usize];
            place.start = at;
            if self.groups.get(usize::from(place.group))?.2 {
                let rest = self.text.get(at as usize..self.hex)?;
                place.len = u32::try_from(memchr::memchr(LINE_END, rest)?).ok()?;
                // Its end is no part of it.
                at = at.checked_add(1)?;
            } else {
                place.len = u32::try_from(take_varint(meta)?).ok()?;
            }
            at = at.checked_add(place.len)?;
        }
        self.lines = at as usize;
        for came in &self.by_text {
            let length = u32::try_from(take_varint(meta)?).ok()?;
            let place = &mut self.places[*came as usize];
            (place.fields_start, place.fields_len) = (at, length);
            at = at.checked_add(length)?;
        }
        if at as usize != self.hex {
            return None;
        }
        let mut used = 0_usize;
        for came in &self.by_text {
            let place = &mut self.places[*came as usize];
            place.hex = u32::try_from(used).ok()?;
            if self.groups.get(usize::from(place.group))?.2 {
                let start = place.start as usize;
                let line = self.text.get(start..start + place.len as usize)?;
                used += hex::bytes_of(line)?;
            }
        }
        if used != self.column().len() {
            return None;
        }
        for (start, records, unit) in spans {
            let unit = 10_i64.pow(u32::from(*unit));
            let mut last = 0_i64;
            for came in &self.by_text[*start..start + records] {
                last = last.wrapping_add(take_signed(meta)?);
                self.places[*came as usize].time = last.wrapping_mul(unit);
            }
        }
        for (group, (start, records, _)) in spans.iter().enumerate() {
            let format = self.groups[group].1;
            if format == Format::NONE {
                continue;
            }
            for came in &self.by_text[*start..start + records] {
                let stamp = take_signed(meta)?;
                let place = &mut self.places[*came as usize];
                place.stamp = place.time.div_euclid(format.unit()).wrapping_add(stamp);
            }
        }
        meta.is_empty().then_some(())
    }

    /// Whether this place of the text is behind all lines.
    pub(crate) fn is_behind_lines(&self, place: usize) -> bool {
        place >= self.lines
    }

    /// The record whose line holds this place of the text.
    pub(crate) fn record_at(&self, place: usize) -> Option<usize> {
        let after = self
            .by_text
            .partition_point(|came| self.places[*came as usize].start as usize <= place);
        let came = *self.by_text.get(after.checked_sub(1)?)? as usize;
        let found = self.places.get(came)?;
        (place < found.start as usize + found.len as usize).then_some(came)
    }

    /// Where the record's line ends in the text.
    pub(crate) fn end_of(&self, record: usize) -> usize {
        self.places
            .get(record)
            .map_or(0, |p| p.start as usize + p.len as usize)
    }

    /// The record's source.
    pub(crate) fn source(&self, record: usize) -> Option<&Arc<Source>> {
        let place = self.places.get(record)?;
        self.sources.get(self.groups.get(usize::from(place.group))?.0)
    }

    /// What came beside the record's line.
    pub(crate) fn fields(&self, record: usize) -> Fields<'_> {
        let bytes = self.places.get(record).and_then(|place| {
            let start = place.fields_start as usize;
            self.text.get(start..start + place.fields_len as usize)
        });
        Fields::from_bytes(bytes.unwrap_or_default())
    }

    /// Adds the record's line, its time and its numbers put back.
    pub(crate) fn line(&mut self, record: usize, out: &mut Vec<u8>) {
        let Some(place) = self.places.get(record).copied() else {
            return;
        };
        let start = place.start as usize;
        let Some(text) = self.text.get(start..start + place.len as usize) else {
            return;
        };
        let (_, format, packed) =
            self.groups
                .get(usize::from(place.group))
                .copied()
                .unwrap_or((0, Format::NONE, false));
        // Not by `column()`: the writer is borrowed beside it.
        let end = self.text.len().saturating_sub(4);
        let start = self.hex + place.hex as usize;
        let mut column = self.text.get(start..end).unwrap_or_default();
        let mut put = |part: &[u8], out: &mut Vec<u8>| match packed {
            true => hex::unpack(part, &mut column, out),
            false => out.extend_from_slice(part),
        };
        let mark = if format == Format::NONE {
            None
        } else {
            memchr::memchr(TIME_MARK, text)
        };
        match mark {
            Some(at) => {
                put(&text[..at], out);
                self.writer
                    .write(out, format, place.stamp.wrapping_mul(format.unit()));
                put(&text[at + 1..], out);
            }
            None => put(text, out),
        }
    }
}
