//! Protocol Buffers' wire format, both ways.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>. Written by
//! hand because a decoder that makes structures of a message turns two bytes
//! of input into a hundred in memory; this one hands out slices of the input.

use super::Malformed;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1: `fixed64`, `double`.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages.
    Bytes(&'a [u8]),
    /// Wire type 5: `fixed32`, `float`.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a wire type 2 value; nothing of any other.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The number of any of the other wire types; 0 of bytes.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Varint(n) | Self::Fixed64(n) => n,
            Self::Fixed32(n) => u64::from(n),
            Self::Bytes(_) => 0,
        }
    }
}

/// Reads the fields of one message in the order in which they stand.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of one message.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let Some(byte) = self.bytes.get(self.at) else {
                return self.wrong("a number is cut off");
            };
            self.at += 1;
            // The tenth byte has room for one bit only.
            if shift == 63 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.wrong("a number has more than 64 bits")
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end));
        match taken {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => self.wrong("a field is longer than the message that holds it"),
        }
    }

    /// The next field's number and value; `None` at the end.
    ///
    /// # Errors
    /// Where the bytes are no protobuf message, or use groups, which no
    /// protocol here has.
    pub fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let Some(number) = u32::try_from(key >> 3).ok().filter(|n| *n != 0) else {
            return self.wrong("a field has an impossible number");
        };
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut eight = [0; 8];
                eight.copy_from_slice(self.take(8)?);
                Value::Fixed64(u64::from_le_bytes(eight))
            }
            2 => {
                let length = self.varint()?;
                let Ok(length) = usize::try_from(length) else {
                    return self.wrong("a field is longer than the message that holds it");
                };
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let mut four = [0; 4];
                four.copy_from_slice(self.take(4)?);
                Value::Fixed32(u32::from_le_bytes(four))
            }
            _ => return self.wrong("a field has a wire type that is not in use"),
        };
        Ok(Some((number, value)))
    }
}

/// Writes the fields of messages.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn key(&mut self, number: u32, wire: u64) {
        self.raw_varint(u64::from(number) << 3 | wire);
    }

    /// A number; zero is left out, as proto3 wants it.
    pub fn varint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, 0);
            self.raw_varint(value);
        }
    }

    /// A `fixed64`; zero is left out.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, 1);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A string or bytes; written even where empty.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.key(number, 2);
        self.raw_varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// A message in a message.
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(number, &inner.out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut out = Vec::new();
        while let Some(field) = reader.field()? {
            out.push(field);
        }
        Ok(out)
    }

    #[test]
    fn what_the_documentation_shows() {
        // From the encoding guide: field 1 = 150; field 2 = "testing".
        assert_eq!(all(&[0x08, 0x96, 0x01]).unwrap(), [(1, Value::Varint(150))]);
        assert_eq!(all(b"\x12\x07testing").unwrap(), [(2, Value::Bytes(b"testing"))]);
    }

    #[test]
    fn broken_messages_are_refused() {
        for bad in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x12\x05abc",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x09\x01",
            b"\x0b\x0c",
            b"\x00\x01",
        ] {
            assert!(all(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in prop::collection::vec((1_u32..1000, any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut writer = Writer::default();
            let mut expected = Vec::new();
            for (number, value, bytes) in &fields {
                writer.bytes(*number, bytes);
                expected.push((*number, Value::Bytes(bytes)));
                if *value != 0 {
                    writer.varint(*number, *value);
                    writer.fixed64(*number, *value);
                    expected.push((*number, Value::Varint(*value)));
                    expected.push((*number, Value::Fixed64(*value)));
                }
            }
            let bytes = writer.finish();
            prop_assert_eq!(all(&bytes).unwrap(), expected);
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }
    }
}
