//! What a spool's segment holds: frames, one behind the other.
//!
//! 32 bytes of header: `NOF1`; length of the payload (4); time (8, nanoseconds
//! since 1970); kind (1); stream (1: 0 standard output, 1 standard error); 6 zero
//! bytes; checksum (8: XXH3 of the payload, seeded with the XXH3 of the 24 bytes
//! before). All numbers are little-endian.

use twox_hash::XxHash3_64;

/// What a frame begins with.
const MAGIC: [u8; 4] = *b"NOF1";
/// The bytes before the payload.
pub(super) const HEADER: usize = 32;
/// The longest payload.
pub(super) const LONGEST: usize = 1024 * 1024;

/// What a frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Output, as it came out of the pipe.
    Data,
    /// Output was dropped; the payload is a [`Dropped`].
    Dropped,
    /// Whoever wrote into the pipe has ended.
    Closed,
}

/// Output that could not be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// How many ends of lines were in it.
    pub(super) lines: u64,
    /// How many bytes.
    pub(super) bytes: u64,
    /// Whether it ended with the end of a line.
    pub(super) whole: bool,
}

impl Dropped {
    /// Counts what is dropped.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.bytes += bytes.len() as u64;
        self.whole = *last == b'\n';
    }

    /// Adds what was dropped behind it.
    pub(super) fn join(&mut self, other: Self) {
        if other.bytes > 0 {
            self.lines += other.lines;
            self.bytes += other.bytes;
            self.whole = other.whole;
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        self.bytes == 0
    }

    fn encode(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&self.lines.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16] = u8::from(self.whole);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            lines: number(0)?,
            bytes: number(8)?,
            whole: *bytes.get(16)? != 0,
        })
    }
}

/// Makes a frame of a buffer whose first [`HEADER`] bytes are room for it.
pub(super) fn seal(buffer: &mut [u8], kind: Kind, stderr: bool, time: i64) {
    let Some((header, payload)) = buffer.split_at_mut_checked(HEADER) else {
        return;
    };
    header.fill(0);
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    header[8..16].copy_from_slice(&time.to_le_bytes());
    header[16] = kind as u8;
    header[17] = u8::from(stderr);
    let checksum = checksum(&header[..24], payload);
    header[24..].copy_from_slice(&checksum.to_le_bytes());
}

/// A frame that tells what was dropped.
pub(super) fn dropped(dropped: Dropped, stderr: bool, time: i64) -> Vec<u8> {
    let mut buffer = vec![0; HEADER];
    buffer.extend_from_slice(&dropped.encode());
    seal(&mut buffer, Kind::Dropped, stderr, time);
    buffer
}

/// A frame that tells the end.
pub(super) fn closed(stderr: bool, time: i64) -> Vec<u8> {
    let mut buffer = vec![0; HEADER];
    seal(&mut buffer, Kind::Closed, stderr, time);
    buffer
}

fn checksum(header: &[u8], payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(header), payload)
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) stderr: bool,
    pub(super) time: i64,
    pub(super) payload: &'a [u8],
}

/// What stands at the start of these bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A frame, and the bytes it takes.
    Frame(Frame<'a>, usize),
    /// The start of one; more must be read.
    Start,
    /// Something else, or a frame that is not whole.
    Damage,
}

/// Reads a frame.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Found::Start;
    };
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let kind = match header[16] {
        0 => Kind::Data,
        1 => Kind::Dropped,
        2 => Kind::Closed,
        _ => return Found::Damage,
    };
    if header[..4] != MAGIC || length > LONGEST {
        return Found::Damage;
    }
    let Some(payload) = rest.get(..length) else {
        return Found::Start;
    };
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(number)
    };
    if number(24) != checksum(&header[..24], payload) {
        return Found::Damage;
    }
    let frame = Frame {
        kind,
        stderr: header[17] != 0,
        time: number(8).cast_signed(),
        payload,
    };
    Found::Frame(frame, HEADER + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_no_frame() {
        let mut whole = vec![0; HEADER];
        whole.extend_from_slice(b"some text\n");
        seal(&mut whole, Kind::Data, true, 7);
        let Found::Frame(frame, length) = read(&whole) else {
            panic!("a frame");
        };
        assert_eq!(length, whole.len());
        assert_eq!(
            (frame.kind, frame.stderr, frame.time, frame.payload),
            (Kind::Data, true, 7, &b"some text\n"[..])
        );
        for at in 0..whole.len() {
            assert_eq!(read(&whole[..at]), Found::Start);
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(!matches!(read(&damaged), Found::Frame(..)), "{at}");
        }
    }

    #[test]
    fn drops_are_counted_by_the_ends_of_lines() {
        let mut dropped = Dropped::default();
        dropped.add(b"a\nb");
        dropped.add(b"");
        let mut other = Dropped::default();
        other.add(b"\n\n");
        dropped.join(other);
        dropped.join(Dropped::default());
        assert_eq!(
            dropped,
            Dropped {
                lines: 3,
                bytes: 5,
                whole: true
            }
        );
        let bytes = super::dropped(dropped, false, 1);
        let Found::Frame(frame, _) = read(&bytes) else {
            panic!("a frame");
        };
        assert_eq!(Dropped::decode(frame.payload), Some(dropped));
    }
}
