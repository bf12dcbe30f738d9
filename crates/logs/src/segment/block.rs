//! A block: header, filter, columns and text, made of frames.

use std::collections::HashMap;
use std::sync::Arc;

use nonna_engine::{Error, Result};
use twox_hash::XxHash3_64;
use zstd::bulk::Compressor;
use zstd::stream::raw::CParameter;

use super::filter::Builder as FilterBuilder;
use super::tokens::{self, HashSet};
use super::{BLOCK_BYTES, HEX_MARK, LINE_END, TIME_MARK, hex};
use crate::frame::Frame;
use crate::recognise::Times;
use crate::recognise::time::Format;
use crate::record::{RecordView, Source};
use crate::varint;

/// What a block's header begins with.
pub(crate) const MAGIC: [u8; 4] = *b"NLB2";
/// How long a header is.
pub(crate) const HEADER: usize = 112;
/// Records of a block are in at most so many groups.
pub(crate) const MAX_GROUPS: usize = 4096;

/// What is known of a block without reading it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// The number of its first record; the others follow without a gap.
    pub(crate) first: u64,
    /// How many records.
    pub(crate) count: u32,
    /// The earliest and the latest time of a record.
    pub(crate) times: (i64, i64),
    /// When its last record arrived.
    pub(crate) received: i64,
    /// Which levels are in it: bit n is level n.
    pub(crate) levels: u8,
    /// Which services are in it: one bit a service, by its name's hash.
    pub(crate) services: u64,
    /// Lengths in the file: the filter, the columns, the text.
    pub(crate) filter: u32,
    pub(crate) meta: u32,
    pub(crate) text: u32,
    /// Lengths before compression.
    pub(crate) meta_raw: u32,
    pub(crate) text_raw: u32,
    /// How many bytes of lines and fields it was made of.
    pub(crate) lines: u32,
    /// The checksum of all behind the header.
    pub(crate) checksum: u64,
    /// Was compressed anew when there was time.
    pub(crate) settled: bool,
}

/// The bit of a service in [`Header::services`].
pub(crate) fn service_bit(service: &str) -> u64 {
    1 << (XxHash3_64::oneshot(service.as_bytes()) >> 58)
}

impl Header {
    /// The number behind its last record.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// How many bytes the block is, header included.
    pub(crate) fn total(&self) -> u64 {
        HEADER as u64 + u64::from(self.filter) + u64::from(self.meta) + u64::from(self.text)
    }

    pub(crate) fn write(&self, out: &mut [u8]) {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        for time in [self.times.0, self.times.1, self.received] {
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        bytes.extend_from_slice(&self.services.to_le_bytes());
        for length in [
            self.filter,
            self.meta,
            self.text,
            self.meta_raw,
            self.text_raw,
            self.lines,
        ] {
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes.extend_from_slice(&[self.levels, u8::from(self.settled)]);
        bytes.resize(HEADER - 16, 0);
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        let of_header = XxHash3_64::oneshot(&bytes);
        bytes.extend_from_slice(&of_header.to_le_bytes());
        out[..HEADER].copy_from_slice(&bytes);
    }

    /// Reads a header; `None` where it is none, or a damaged one.
    pub(crate) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..4] != MAGIC || XxHash3_64::oneshot(&bytes[..HEADER - 8]) != u64_at(HEADER - 8) {
            return None;
        }
        let header = Self {
            count: u32_at(4),
            first: u64_at(8),
            times: (u64_at(16).cast_signed(), u64_at(24).cast_signed()),
            received: u64_at(32).cast_signed(),
            services: u64_at(40),
            filter: u32_at(48),
            meta: u32_at(52),
            text: u32_at(56),
            meta_raw: u32_at(60),
            text_raw: u32_at(64),
            lines: u32_at(68),
            levels: bytes[72],
            settled: bytes[73] & 1 != 0,
            checksum: u64_at(HEADER - 16),
        };
        // Never makes a reader reserve more than a block can be.
        let sane =
            header.text_raw as usize <= 64 * BLOCK_BYTES && header.meta_raw as usize <= 64 * BLOCK_BYTES;
        sane.then_some(header)
    }
}

/// The bit of a group's shape whose lines are kept as they are.
const RAW: u8 = 0x80;

/// Records of one source that look alike: they are kept together.
#[derive(Debug, Default)]
struct Group {
    source: usize,
    format: Format,
    /// Numbers in hexadecimal are taken out of its lines, and each has its end
    /// behind it. Else they are kept as they are, and so are their lengths.
    packed: bool,
    count: usize,
    text: Vec<u8>,
    hex: Vec<u8>,
    fields: Vec<u8>,
    levels: Vec<u8>,
    lengths: Vec<u8>,
    field_lengths: Vec<u8>,
    times: Vec<i64>,
    stamps: Vec<u8>,
}

impl Group {
    fn clear(&mut self) {
        self.count = 0;
        self.text.clear();
        self.hex.clear();
        self.fields.clear();
        self.levels.clear();
        self.lengths.clear();
        self.field_lengths.clear();
        self.times.clear();
        self.stamps.clear();
    }
}

/// Makes blocks; keeps its memory from one to the next.
pub(crate) struct BlockBuilder {
    compressor: Compressor<'static>,
    settled: bool,
    times: Times,
    words: HashSet,
    keys: Vec<u64>,
    filters: FilterBuilder,
    groups: Vec<Group>,
    used: usize,
    by_key: HashMap<(usize, Format, u8), usize>,
    sources: Vec<Arc<Source>>,
    order: Vec<u16>,
    meta: Vec<u8>,
    text: Vec<u8>,
    lines: usize,
    header: Header,
}

impl BlockBuilder {
    /// A builder that compresses as hard as this: zstd's level, and its
    /// window's size as a power of two.
    ///
    /// # Errors
    /// `Bug` where zstd does not know such a level.
    pub(crate) fn new(level: i32, window: u32, settled: bool) -> Result<Self> {
        let mut compressor = Compressor::new(level).map_err(|e| bug(&e))?;
        compressor
            .set_parameter(CParameter::WindowLog(window))
            .and_then(|()| compressor.set_parameter(CParameter::ContentSizeFlag(true)))
            .and_then(|()| compressor.set_parameter(CParameter::ChecksumFlag(false)))
            .map_err(|e| bug(&e))?;
        if settled {
            // 6 MiB of tables, where the level would take 32: the same size of
            // blocks to a thousandth.
            compressor
                .set_parameter(CParameter::ChainLog(20))
                .and_then(|()| compressor.set_parameter(CParameter::HashLog(19)))
                .map_err(|e| bug(&e))?;
        }
        Ok(Self {
            compressor,
            settled,
            times: Times::default(),
            words: HashSet::default(),
            keys: Vec::new(),
            filters: FilterBuilder::default(),
            groups: Vec::new(),
            used: 0,
            by_key: HashMap::new(),
            sources: Vec::new(),
            order: Vec::new(),
            meta: Vec::new(),
            text: Vec::new(),
            lines: 0,
            header: Header::default(),
        })
    }

    /// How many records were added.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many bytes of lines and fields were added.
    pub(crate) fn bytes(&self) -> usize {
        self.lines
    }

    /// Adds a frame's records. They must follow those that were added.
    pub(crate) fn add(&mut self, frame: &Frame) {
        if self.order.is_empty() {
            self.header.first = frame.first;
        }
        self.header.received = self.header.received.max(frame.received);
        let mut of_frame: Vec<usize> = Vec::with_capacity(frame.batch.sources().len());
        for source in frame.batch.sources() {
            let known = self.sources.iter().position(|known| known == source);
            of_frame.push(known.unwrap_or_else(|| {
                self.sources.push(Arc::clone(source));
                self.sources.len() - 1
            }));
        }
        for record in frame.batch.iter() {
            let source = of_frame.get(record.source_index.get()).copied().unwrap_or(0);
            self.record(source, &record, frame.received);
        }
    }

    fn record(&mut self, source: usize, record: &RecordView<'_>, received: i64) {
        let time = record.time.unwrap_or(received);
        let found = self.times.find(record.line, time);
        // A line that holds the mark itself keeps its time.
        let found = found.filter(|_| memchr::memchr(TIME_MARK, record.line).is_none());
        // One that holds what the others are marked by is kept as it is.
        let raw = match memchr::memchr2(HEX_MARK, LINE_END, record.line) {
            Some(_) => RAW,
            None => 0,
        };
        let format = found.map_or(Format::NONE, |found| found.format);
        let shape = match record.line.first() {
            Some(b'{') => 1,
            Some(b'0'..=b'9') => 2,
            Some(b' ' | b'\t') => 3,
            _ => 0,
        };
        let group = self.group(source, format, shape | raw);
        self.order.push(u16::try_from(group).unwrap_or(u16::MAX));
        let group = &mut self.groups[group];
        group.count += 1;
        group.levels.push(record.level as u8);
        group.times.push(time);
        let before = group.text.len();
        let packed = group.packed;
        let (text, hex) = (&mut group.text, &mut group.hex);
        let mut put = |text: &mut Vec<u8>, part: &[u8]| match packed {
            true => hex::pack(part, text, hex),
            false => text.extend_from_slice(part),
        };
        match found {
            Some(found) if group.format == found.format => {
                let unit = found.format.unit();
                let stamp = found.time.div_euclid(unit) - time.div_euclid(unit);
                varint::put_signed(&mut group.stamps, stamp);
                put(text, &record.line[..found.at]);
                text.push(TIME_MARK);
                put(text, &record.line[found.at + found.len..]);
            }
            _ => put(text, record.line),
        }
        if packed {
            group.text.push(LINE_END);
        } else {
            varint::put(&mut group.lengths, (group.text.len() - before) as u64);
        }
        let fields = record.fields.as_bytes();
        varint::put(&mut group.field_lengths, fields.len() as u64);
        group.fields.extend_from_slice(fields);
        self.lines += record.line.len() + fields.len();
        let words = &mut self.words;
        tokens::hashes(record.line, |hash| words.insert(hash));
        for (_, value) in record.fields {
            tokens::hashes(value, |hash| words.insert(hash));
        }
        let header = &mut self.header;
        header.levels |= 1 << record.level as u8;
        header.times = match self.order.len() {
            1 => (time, time),
            _ => (header.times.0.min(time), header.times.1.max(time)),
        };
    }

    fn group(&mut self, source: usize, format: Format, shape: u8) -> usize {
        if let Some(known) = self.by_key.get(&(source, format, shape)) {
            return *known;
        }
        // Where there are too many, those of one source share a group whose
        // lines keep their times; where even sources are too many, the caller
        // has not asked `has_room_for`.
        let key = if self.used + 1 < MAX_GROUPS / 2 {
            (source, format, shape)
        } else {
            (source, Format::NONE, RAW)
        };
        let at = match self.by_key.get(&key) {
            Some(known) => *known,
            None => {
                if self.groups.len() == self.used {
                    self.groups.push(Group::default());
                }
                let group = &mut self.groups[self.used];
                group.clear();
                group.source = key.0;
                group.format = key.1;
                group.packed = key.2 & RAW == 0;
                self.used += 1;
                self.used - 1
            }
        };
        self.by_key.insert(key, at);
        self.by_key.insert((source, format, shape), at);
        at
    }

    /// Whether a frame of so many sources may make more groups than a block
    /// can have.
    pub(crate) fn has_room_for(&self, sources: usize) -> bool {
        // Half of the groups are for the looks of lines, the other for sources.
        self.sources.len() + sources < MAX_GROUPS / 2
    }

    /// Writes the block to the end of the bytes and begins the next.
    ///
    /// # Errors
    /// `Bug` where zstd fails.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<Header> {
        self.columns();
        let start = out.len();
        out.resize(start + HEADER, 0);
        self.words.drain_into(&mut self.keys);
        self.filters.build(&self.keys, out);
        let filter = out.len() - start - HEADER;
        let meta = compress(&mut self.compressor, &self.meta, out)?;
        let text = compress(&mut self.compressor, &self.text, out)?;
        let length =
            |bytes: usize| u32::try_from(bytes).map_err(|_| Error::bug("A block of logs is too large."));
        let mut header = std::mem::take(&mut self.header);
        header.count = length(self.order.len())?;
        header.services = self
            .sources
            .iter()
            .fold(0, |bits, s| bits | service_bit(&s.service));
        (header.filter, header.meta, header.text) = (length(filter)?, length(meta)?, length(text)?);
        (header.meta_raw, header.text_raw) = (length(self.meta.len())?, length(self.text.len())?);
        header.lines = length(self.lines)?;
        header.settled = self.settled;
        header.checksum = XxHash3_64::oneshot(&out[start + HEADER..]);
        header.write(&mut out[start..]);
        self.clear();
        Ok(header)
    }

    fn clear(&mut self) {
        // A burst of sources must not keep its memory for ever.
        self.groups.truncate(32);
        self.used = 0;
        self.by_key.clear();
        self.sources.clear();
        self.order.clear();
        self.lines = 0;
    }

    /// Puts sources, groups and columns one behind the other.
    fn columns(&mut self) {
        let meta = &mut self.meta;
        let text = &mut self.text;
        meta.clear();
        text.clear();
        varint::put(meta, self.sources.len() as u64);
        for source in &self.sources {
            for name in [&source.service, &source.replica] {
                varint::put(meta, name.len() as u64);
                meta.extend_from_slice(name.as_bytes());
            }
            meta.push(source.stream as u8);
        }
        let groups = &self.groups[..self.used];
        varint::put(meta, groups.len() as u64);
        for group in groups {
            varint::put(meta, group.source as u64);
            meta.extend_from_slice(&[group.format.0, u8::from(group.packed)]);
            varint::put(meta, group.count as u64);
            meta.push(unit_of(&group.times));
        }
        // The low bytes, then the high ones, which are nearly always 0.
        for byte in 0..2 {
            meta.extend(self.order.iter().map(|group| group.to_le_bytes()[byte]));
        }
        for group in groups {
            meta.extend_from_slice(&group.levels);
        }
        for group in groups {
            meta.extend_from_slice(&group.lengths);
        }
        for group in groups {
            meta.extend_from_slice(&group.field_lengths);
        }
        for group in groups {
            let unit = 10_i64.pow(u32::from(unit_of(&group.times)));
            let mut last = 0;
            for time in &group.times {
                let time = time / unit;
                varint::put_signed(meta, time.wrapping_sub(last));
                last = time;
            }
        }
        for group in groups {
            meta.extend_from_slice(&group.stamps);
        }
        for group in groups {
            text.extend_from_slice(&group.text);
        }
        for group in groups {
            text.extend_from_slice(&group.fields);
        }
        // Last, and how long it is behind it: a search leaves it alone.
        let start = text.len();
        for group in groups {
            text.extend_from_slice(&group.hex);
        }
        let hex = u32::try_from(text.len() - start).unwrap_or(u32::MAX);
        text.extend_from_slice(&hex.to_le_bytes());
    }
}

/// The largest of 9, 6, 3 and 0 such that all times are multiples of ten to
/// its power.
fn unit_of(times: &[i64]) -> u8 {
    let all = |unit: i64| times.iter().all(|time| time % unit == 0);
    match () {
        () if all(1_000_000_000) => 9,
        () if all(1_000_000) => 6,
        () if all(1_000) => 3,
        () => 0,
    }
}

fn compress(compressor: &mut Compressor<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(bytes.len()), 0);
    let length = compressor
        .compress_to_buffer(bytes, &mut out[start..])
        .map_err(|e| bug(&e))?;
    out.truncate(start + length);
    Ok(length)
}

fn bug(error: &std::io::Error) -> Error {
    Error::bug("zstd could not compress a block of logs.").said(error.to_string())
}
