//! MessagePack, as much of it as Fluent's protocol needs.
//!
//! Format: <https://github.com/msgpack/msgpack/blob/master/spec.md>. A stream
//! carries one value after another with no frame around them, so that a reader
//! must be able to tell "not all here yet" from "wrong": [`Scanner`] does that
//! without looking at any byte twice, and [`Reader`] takes a whole value apart
//! without copying it.

use super::Malformed;

/// How deep values may be nested.
const MAX_DEPTH: usize = 32;

/// One value. Arrays and maps are only announced: their parts follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// `nil`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A negative number.
    Int(i64),
    /// A number that is not negative.
    Uint(u64),
    /// A `float 32` or `float 64`.
    Float(f64),
    /// A string; not necessarily UTF-8.
    Str(&'a [u8]),
    /// Bytes.
    Bin(&'a [u8]),
    /// So many values follow.
    Array(u32),
    /// So many pairs of values follow.
    Map(u32),
    /// An extension: its type and its bytes.
    Ext(i8, &'a [u8]),
}

/// The head of a value: how long it is, and what it announces.
enum Head {
    /// Nothing follows but this many bytes.
    Leaf { head: usize, body: usize },
    /// This many values follow.
    Parts { head: usize, count: u64 },
}

fn number(bytes: &[u8], from: usize, count: usize) -> Option<u64> {
    let part = bytes.get(from..from.checked_add(count)?)?;
    Some(part.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// The head at the start of these bytes; `None`: not all of it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(first) = bytes.first().copied() else {
        return Ok(None);
    };
    let leaf = |head, body| Ok(Some(Head::Leaf { head, body }));
    let sized = |size: usize, extra: usize| {
        Ok(number(bytes, 1, size).map(|length| Head::Leaf {
            head: 1 + size,
            body: usize::try_from(length)
                .unwrap_or(usize::MAX)
                .saturating_add(extra),
        }))
    };
    let parts = |size: usize, each: u64| {
        Ok(number(bytes, 1, size).map(|count| Head::Parts {
            head: 1 + size,
            count: count * each,
        }))
    };
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => leaf(1, 0),
        0x80..=0x8f => Ok(Some(Head::Parts {
            head: 1,
            count: u64::from(first & 0x0f) * 2,
        })),
        0x90..=0x9f => Ok(Some(Head::Parts {
            head: 1,
            count: u64::from(first & 0x0f),
        })),
        0xa0..=0xbf => leaf(1, usize::from(first & 0x1f)),
        0xc1 => Err(Malformed {
            what: "the byte 0xc1 is never used in MessagePack",
            at: 0,
        }),
        0xc4 | 0xd9 => sized(1, 0),
        0xc5 | 0xda => sized(2, 0),
        0xc6 | 0xdb => sized(4, 0),
        0xc7 => sized(1, 1),
        0xc8 => sized(2, 1),
        0xc9 => sized(4, 1),
        0xcc | 0xd0 => leaf(1, 1),
        0xcd | 0xd1 | 0xd4 => leaf(1, 2),
        0xca | 0xce | 0xd2 => leaf(1, 4),
        0xcb | 0xcf | 0xd3 => leaf(1, 8),
        0xd5 => leaf(1, 3),
        0xd6 => leaf(1, 5),
        0xd7 => leaf(1, 9),
        0xd8 => leaf(1, 17),
        0xdc => parts(2, 1),
        0xdd => parts(4, 1),
        0xde => parts(2, 2),
        0xdf => parts(4, 2),
    }
}

/// Finds where the value at the start of a growing buffer ends.
#[derive(Debug, Default)]
pub struct Scanner {
    at: usize,
    /// How many values are still to come in each open array or map.
    open: Vec<u64>,
    begun: bool,
}

impl Scanner {
    /// The length of the first value in `bytes`; `None`: it is not complete.
    /// Call it again with the same bytes and more behind them; after `Some`
    /// the next call begins anew.
    ///
    /// # Errors
    /// Where this will never become a value, or is nested too deeply.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            if self.begun {
                while self.open.last() == Some(&0) {
                    self.open.pop();
                }
                if self.open.is_empty() {
                    let length = self.at;
                    *self = Self::default();
                    return Ok(Some(length));
                }
            }
            let rest = bytes.get(self.at..).unwrap_or_default();
            let found = head(rest).map_err(|wrong| Malformed { at: self.at, ..wrong })?;
            let (length, count) = match found {
                None => return Ok(None),
                Some(Head::Leaf { head, body }) => (head.saturating_add(body), None),
                Some(Head::Parts { head, count }) => (head, Some(count)),
            };
            if rest.len() < length {
                return Ok(None);
            }
            self.at += length;
            self.begun = true;
            if let Some(left) = self.open.last_mut() {
                *left -= 1;
            }
            if let Some(count) = count {
                if self.open.len() >= MAX_DEPTH {
                    return Err(Malformed {
                        what: "values are nested too deeply",
                        at: self.at,
                    });
                }
                self.open.push(count);
            }
        }
    }
}

/// Takes the values of a buffer apart, one after another.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The bytes that were not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// What is wrong here.
    #[must_use]
    pub fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    /// The next value, or the announcement of an array or a map.
    ///
    /// # Errors
    /// Where the bytes end within it, or are no MessagePack.
    pub fn token(&mut self) -> Result<Token<'a>, Malformed> {
        let cut = self.wrong("a value is cut off");
        let rest = self.rest();
        let found = head(rest).map_err(|wrong| Malformed { at: self.at, ..wrong })?;
        let (length, body_at) = match found.ok_or_else(|| cut.clone())? {
            Head::Leaf { head, body } => (head.saturating_add(body), head),
            Head::Parts { head, .. } => (head, head),
        };
        let whole = rest.get(..length).ok_or_else(|| cut.clone())?;
        let body = whole.get(body_at..).unwrap_or_default();
        let unsigned = || number(body, 0, body.len()).unwrap_or_default();
        let count = |size: usize| number(whole, 1, size).unwrap_or_default() as u32;
        let first = whole.first().copied().unwrap_or_default();
        let token = match first {
            0x00..=0x7f => Token::Uint(u64::from(first)),
            0x80..=0x8f => Token::Map(u32::from(first & 0x0f)),
            0x90..=0x9f => Token::Array(u32::from(first & 0x0f)),
            0xa0..=0xbf | 0xd9..=0xdb => Token::Str(body),
            0xc0 | 0xc1 => Token::Nil,
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4..=0xc6 => Token::Bin(body),
            0xc7..=0xc9 | 0xd4..=0xd8 => {
                let (kind, data) = body.split_first().ok_or(cut)?;
                Token::Ext(i8::from_ne_bytes([*kind]), data)
            }
            0xca => Token::Float(f64::from(f32::from_bits(unsigned() as u32))),
            0xcb => Token::Float(f64::from_bits(unsigned())),
            0xcc..=0xcf => Token::Uint(unsigned()),
            0xd0 => signed(i64::from(unsigned() as i8)),
            0xd1 => signed(i64::from(unsigned() as i16)),
            0xd2 => signed(i64::from(unsigned() as i32)),
            0xd3 => signed(unsigned() as i64),
            0xdc => Token::Array(count(2)),
            0xdd => Token::Array(count(4)),
            0xde => Token::Map(count(2)),
            0xdf => Token::Map(count(4)),
            0xe0..=0xff => Token::Int(i64::from(i8::from_ne_bytes([first]))),
        };
        self.at += length;
        Ok(token)
    }

    /// Passes over one whole value.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let rest = self.rest();
        match Scanner::default().scan(rest)? {
            Some(length) => {
                self.at += length;
                Ok(rest.get(..length).unwrap_or_default())
            }
            None => Err(self.wrong("a value is cut off")),
        }
    }

    /// Reads one whole value and writes it as JSON. Strings that are not UTF-8
    /// are made so, bytes too.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub fn json(&mut self, out: &mut String) -> Result<(), Malformed> {
        self.json_at(out, 0)
    }

    fn json_at(&mut self, out: &mut String, depth: usize) -> Result<(), Malformed> {
        use std::fmt::Write;
        if depth > MAX_DEPTH {
            return Err(self.wrong("values are nested too deeply"));
        }
        let token = self.token()?;
        match token {
            Token::Nil => out.push_str("null"),
            Token::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Token::Int(value) => drop(write!(out, "{value}")),
            Token::Uint(value) => drop(write!(out, "{value}")),
            Token::Float(value) => out.push_str(&serde_json::Value::from(value).to_string()),
            Token::Str(text) | Token::Bin(text) | Token::Ext(_, text) => {
                out.push_str(&serde_json::Value::from(String::from_utf8_lossy(text)).to_string());
            }
            Token::Array(count) => {
                out.push('[');
                for at in 0..count {
                    if at > 0 {
                        out.push(',');
                    }
                    self.json_at(out, depth + 1)?;
                }
                out.push(']');
            }
            Token::Map(count) => {
                out.push('{');
                for at in 0..count {
                    if at > 0 {
                        out.push(',');
                    }
                    let mut key = String::new();
                    self.json_at(&mut key, depth + 1)?;
                    if key.starts_with('"') {
                        out.push_str(&key);
                    } else {
                        out.push_str(&serde_json::Value::from(key).to_string());
                    }
                    out.push(':');
                    self.json_at(out, depth + 1)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

fn signed(value: i64) -> Token<'static> {
    match u64::try_from(value) {
        Ok(value) => Token::Uint(value),
        Err(_) => Token::Int(value),
    }
}

/// Writes a string.
pub fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Writes bytes, of which there may be 255 at most.
pub fn write_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..255).unwrap_or(bytes);
    out.extend_from_slice(&[0xc4, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_as_the_specification_says() {
        let json = |bytes: &[u8]| {
            let mut out = String::new();
            let mut reader = Reader::new(bytes);
            reader.json(&mut out).map(|()| out)
        };
        // From the front page of msgpack.org.
        assert_eq!(
            json(b"\x82\xa7compact\xc3\xa6schema\x00").unwrap(),
            r#"{"compact":true,"schema":0}"#
        );
        assert_eq!(json(&[0xd0, 0x80]).unwrap(), "-128");
        assert_eq!(json(&[0xff]).unwrap(), "-1");
        assert_eq!(json(&[0xcd, 1, 0]).unwrap(), "256");
        assert_eq!(json(&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]).unwrap(), "1.5");
        assert_eq!(
            json(&[0x93, 0xc0, 0xa1, b'"', 0x81, 1, 2]).unwrap(),
            r#"[null,"\"",{"1":2}]"#
        );
        assert!(json(&[0xc1]).is_err());
        assert!(json(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(json(&[0x91; 100]).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        assert!(Scanner::default().scan(&[0x91; 10_000]).is_err());
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(vec![0xc0]),
            (0_u8..0x80).prop_map(|n| vec![n]),
            any::<u64>().prop_map(|n| [&[0xcf][..], &n.to_be_bytes()].concat()),
            any::<i32>().prop_map(|n| [&[0xd2][..], &n.to_be_bytes()].concat()),
            any::<f64>().prop_map(|n| [&[0xcb][..], &n.to_be_bytes()].concat()),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|text| {
                let mut out = Vec::new();
                write_str(&mut out, &text);
                out
            }),
            prop::collection::vec(any::<u8>(), 0..200).prop_map(|text| {
                let mut out = Vec::new();
                write_bin(&mut out, &text);
                out
            }),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|parts| [
                    vec![0x90 | parts.len() as u8],
                    parts.concat()
                ]
                .concat()),
                prop::collection::vec((inner.clone(), inner), 0..4).prop_map(|pairs| {
                    let mut out = vec![0x80 | pairs.len() as u8];
                    for (key, value) in pairs {
                        out.extend(key);
                        out.extend(value);
                    }
                    out
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_stream_is_cut_into_its_values(values in prop::collection::vec(value(), 1..5), step in 1_usize..50) {
            let whole = values.concat();
            let mut scanner = Scanner::default();
            let (mut found, mut from, mut till) = (Vec::new(), 0, 0);
            while till < whole.len() {
                till = (till + step).min(whole.len());
                while let Some(length) = scanner.scan(&whole[from..till]).unwrap() {
                    found.push(whole[from..from + length].to_vec());
                    from += length;
                }
            }
            prop_assert_eq!(&found, &values);
            for value in &values {
                let mut reader = Reader::new(value);
                let mut json = String::new();
                reader.json(&mut json).unwrap();
                prop_assert!(reader.is_empty());
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Scanner::default().scan(&bytes);
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && reader.json(&mut String::new()).is_ok() {}
        }
    }
}
