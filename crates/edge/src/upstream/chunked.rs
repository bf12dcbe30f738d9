//! Chunked bodies of answers, decoded without copying.

use std::io;

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::parse;
use crate::proxy::head::may_trail;

/// The longest size line, with its extensions.
const SIZE_LINE: usize = 4 * 1024;
/// The longest trailer block.
const TRAILERS: usize = 16 * 1024;

/// Where in a chunked body the decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunked {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    End,
}

/// What the decoder found.
#[derive(Debug)]
pub(crate) enum Step {
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// The body is complete.
    End(Option<HeaderMap>),
}

impl Chunked {
    /// Takes the next piece from the buffer.
    pub(crate) fn step(&mut self, buf: &mut Bytes) -> io::Result<Step> {
        loop {
            match *self {
                Self::Size => {
                    let Some(end) = memchr::memchr(b'\n', buf) else {
                        return more(buf.len(), SIZE_LINE);
                    };
                    let size = size_of_chunk(&buf[..end])?;
                    buf.advance(end + 1);
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Data(size)
                    };
                }
                Self::Data(left) => {
                    if buf.is_empty() {
                        return Ok(Step::More);
                    }
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                    let data = buf.split_to(count);
                    let left = left - count as u64;
                    *self = if left == 0 {
                        Self::DataEnd
                    } else {
                        Self::Data(left)
                    };
                    return Ok(Step::Data(data));
                }
                Self::DataEnd => {
                    if buf.len() < 2 {
                        return Ok(Step::More);
                    }
                    if !buf.starts_with(b"\r\n") {
                        return Err(invalid());
                    }
                    buf.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers => {
                    if buf.starts_with(b"\r\n") {
                        buf.advance(2);
                        *self = Self::End;
                        return Ok(Step::End(None));
                    }
                    let Some(end) = memchr::memmem::find(buf, b"\r\n\r\n") else {
                        return more(buf.len(), TRAILERS);
                    };
                    let block = buf.split_to(end + 4);
                    *self = Self::End;
                    let trailers = parse::trailers(&block, may_trail)?;
                    return Ok(Step::End((!trailers.is_empty()).then_some(trailers)));
                }
                Self::End => return Ok(Step::End(None)),
            }
        }
    }
}

fn more(have: usize, most: usize) -> io::Result<Step> {
    if have > most {
        Err(invalid())
    } else {
        Ok(Step::More)
    }
}

fn size_of_chunk(line: &[u8]) -> io::Result<u64> {
    let line = line.strip_suffix(b"\r").ok_or_else(invalid)?;
    let end = line
        .iter()
        .position(|b| !b.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    let rest = rest.trim_ascii_start();
    if !(1..=15).contains(&digits.len()) || !(rest.is_empty() || rest.starts_with(b";")) {
        return Err(invalid());
    }
    let digits = std::str::from_utf8(digits).map_err(|_| invalid())?;
    u64::from_str_radix(digits, 16).map_err(|_| invalid())
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the chunked body is not valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes input that arrives in pieces of so many bytes.
    fn decode(input: &[u8], piece: usize) -> io::Result<(Vec<u8>, Option<HeaderMap>)> {
        let mut decoder = Chunked::Size;
        let mut buf = Bytes::new();
        let mut pieces = input.chunks(piece);
        let mut out = Vec::new();
        loop {
            match decoder.step(&mut buf)? {
                Step::Data(data) => out.extend_from_slice(&data),
                Step::End(trailers) => return Ok((out, trailers)),
                Step::More => {
                    let piece = pieces
                        .next()
                        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                    buf = [&buf[..], piece].concat().into();
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_size_decode_alike() {
        let input = b"3\r\nabc\r\n0a;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n";
        for piece in 1..=input.len() {
            let (body, trailers) = decode(input, piece).unwrap();
            assert_eq!(body, b"abc0123456789");
            let trailers = trailers.unwrap();
            assert_eq!(trailers["x-sum"], "7");
            assert!(!trailers.contains_key("content-length"));
        }
        assert_eq!(decode(b"0\r\n\r\n", 2).unwrap().0, b"");
    }

    #[test]
    fn nonsense_is_refused() {
        for input in [
            &b"x\r\n"[..],
            b"\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"1 1\r\na\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert_eq!(
                decode(input, 64).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{input:?}"
            );
        }
    }
}
