//! Git's pkt-line framing: four hexadecimal digits of length, themselves
//! counted, then so many bytes (gitprotocol-common(5)).

/// Ends a section.
pub const FLUSH: &[u8] = b"0000";
/// The most that one line can hold.
pub const MOST: usize = 65_516;

/// One line; `None` where it holds more than [`MOST`] bytes.
#[must_use]
pub fn line(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() > MOST {
        return None;
    }
    let mut out = format!("{:04x}", payload.len() + 4).into_bytes();
    out.extend_from_slice(payload);
    Some(out)
}

/// What stands first in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A line, and where the rest begins.
    Line(&'a [u8]),
    /// The end of a section.
    Flush,
    /// Another of the short ones (delimiter, end of answer).
    Special(u8),
}

/// Takes the first packet off; `Ok(None)`: more bytes are needed.
///
/// # Errors
/// `()` where this is no pkt-line.
#[expect(
    clippy::result_unit_err,
    reason = "there is nothing to say but that it is none"
)]
pub fn split(bytes: &[u8]) -> Result<Option<(Packet<'_>, &[u8])>, ()> {
    let Some((head, rest)) = bytes.split_at_checked(4) else {
        return Ok(None);
    };
    if !head.iter().all(u8::is_ascii_hexdigit) {
        return Err(());
    }
    let text = std::str::from_utf8(head).map_err(|_| ())?;
    let length = usize::from_str_radix(text, 16).map_err(|_| ())?;
    match length {
        0 => Ok(Some((Packet::Flush, rest))),
        1..4 => Ok(Some((Packet::Special(u8::try_from(length).unwrap_or(0)), rest))),
        length if length > MOST + 4 => Err(()),
        length => Ok(rest
            .split_at_checked(length - 4)
            .map(|(line, rest)| (Packet::Line(line), rest))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_manual() {
        assert_eq!(line(b"a\n").unwrap(), b"0006a\n");
        assert_eq!(line(b"foobar\n").unwrap(), b"000bfoobar\n");
        assert_eq!(line(b"").unwrap(), b"0004");
        assert_eq!(split(b"0000x"), Ok(Some((Packet::Flush, &b"x"[..]))));
        assert_eq!(split(b"0001"), Ok(Some((Packet::Special(1), &b""[..]))));
        assert_eq!(split(b"00"), Ok(None));
        assert_eq!(split(b"0006a"), Ok(None));
        assert_eq!(split(b"+006a\n"), Err(()));
        assert_eq!(split(b"ffff"), Err(()));
        assert!(line(&vec![0; MOST + 1]).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(payload in prop::collection::vec(any::<u8>(), 0..2000), rest in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut bytes = line(&payload).unwrap();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(split(&bytes), Ok(Some((Packet::Line(&payload), rest.as_slice()))));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = split(&bytes);
        }
    }
}
