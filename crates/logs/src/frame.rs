//! Frames: batches that went through the pipeline, numbered, as the journal
//! holds them.

use twox_hash::XxHash3_64;

use crate::record::{Batch, Mark, put_text, take_text};
use crate::varint;

/// What a frame begins with.
const MAGIC: [u8; 4] = *b"NJF1";
/// How long its header is.
pub(crate) const HEADER: usize = 48;

/// Records in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// The number of the first record; the others follow without a gap.
    pub(crate) first: u64,
    /// When they arrived: nanoseconds since 1970.
    pub(crate) received: i64,
    /// The records, each with its time.
    pub(crate) batch: Batch,
    /// How far its sources were read.
    pub(crate) marks: Vec<Mark>,
}

impl Frame {
    /// The number behind the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.batch.len() as u64
    }

    /// Writes the frame as a journal's file of this number holds it.
    pub(crate) fn encode(&self, file: u64, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEADER, 0);
        if !self.marks.is_empty() {
            varint::put(out, self.marks.len() as u64);
            for mark in &self.marks {
                put_text(out, mark.key.as_bytes());
                put_text(out, &mark.position);
            }
        }
        // A few hundred containers' positions of a few bytes each.
        let marks = u32::try_from(out.len() - HEADER).unwrap_or(u32::MAX);
        self.batch.encode(out);
        let payload = (out.len() - HEADER) as u64;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&marks.to_le_bytes());
        for number in [payload, file, self.first, self.received.cast_unsigned()] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        out[..HEADER - 8].copy_from_slice(&header);
        let checksum = checksum(out);
        out[HEADER - 8..HEADER].copy_from_slice(&checksum.to_le_bytes());
    }

    /// How long the frame is that begins here in a journal's file of this
    /// number, header included; `None` where none begins.
    pub(crate) fn length(file: u64, header: &[u8]) -> Option<u64> {
        let header = header.get(..HEADER)?;
        (header[..4] == MAGIC && u64_at(header, 16) == file)
            .then(|| u64_at(header, 8).saturating_add(HEADER as u64))
    }

    /// Reads a frame; `None` where it is cut off, damaged or of another file.
    pub(crate) fn decode(file: u64, bytes: &[u8]) -> Option<Self> {
        if Self::length(file, bytes)? != bytes.len() as u64 || checksum(bytes) != u64_at(bytes, HEADER - 8) {
            return None;
        }
        let marks = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let (marks, batch) = bytes[HEADER..].split_at_checked(marks)?;
        Some(Self {
            first: u64_at(bytes, 24),
            received: u64_at(bytes, 32).cast_signed(),
            batch: Batch::decode(batch)?,
            marks: decode_marks(marks)?,
        })
    }
}

fn decode_marks(bytes: &[u8]) -> Option<Vec<Mark>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (count, mut rest) = varint::take(bytes)?;
    let mut marks = Vec::new();
    for _ in 0..count {
        let (key, after) = take_text(rest)?;
        let (position, after) = take_text(after)?;
        marks.push(Mark {
            key: std::str::from_utf8(key).ok()?.into(),
            position: position.into(),
        });
        rest = after;
    }
    Some(marks)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// Of the header without its last eight bytes, and of the payload.
fn checksum(bytes: &[u8]) -> u64 {
    let header = XxHash3_64::oneshot(&bytes[..HEADER - 8]);
    XxHash3_64::oneshot_with_seed(header, &bytes[HEADER..])
}
