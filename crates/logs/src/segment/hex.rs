//! Numbers in hexadecimal: ids of traces, requests and commits. As digits they
//! cost five bits each and more, as bytes four, and no compressor makes them
//! smaller; so they are taken out of lines and kept side by side.

use super::HEX_MARK;

/// A run of fewer digits stays where it is.
const SHORTEST: usize = 8;
/// So does a longer one: its length must fit a byte.
const LONGEST: usize = 254;

/// 0: no digit; 1: a decimal digit; 2: `a` to `f`.
static CLASS: [u8; 256] = {
    let mut class = [0_u8; 256];
    let mut byte = b'0';
    while byte <= b'9' {
        class[byte as usize] = 1;
        byte += 1;
    }
    byte = b'a';
    while byte <= b'f' {
        class[byte as usize] = 2;
        byte += 1;
    }
    class
};

fn class(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

/// Adds a text to another; in place of each run of digits the mark and how
/// many they are, and the digits to a column, two a byte. Decimal numbers are
/// no such runs: they compress better as they are. The text must not hold the
/// mark.
pub(super) fn pack(text: &[u8], out: &mut Vec<u8>, column: &mut Vec<u8>) {
    let mut kept = 0;
    // A run that is long enough has a digit at every eighth place.
    let mut at = SHORTEST - 1;
    while at < text.len() {
        if class(text[at]) == 0 {
            at += SHORTEST;
            continue;
        }
        let start = text[kept..at]
            .iter()
            .rposition(|b| class(*b) == 0)
            .map_or(kept, |before| kept + before + 1);
        let end = text[at..]
            .iter()
            .position(|b| class(*b) == 0)
            .map_or(text.len(), |after| at + after);
        let run = &text[start..end];
        if (SHORTEST..=LONGEST).contains(&run.len()) && run.iter().any(|b| class(*b) == 2) {
            out.extend_from_slice(&text[kept..start]);
            // Cannot be cut off: the longest fits.
            out.extend_from_slice(&[HEX_MARK, run.len() as u8]);
            for pair in run.chunks(2) {
                let low = pair.get(1).map_or(0, |digit| value(*digit));
                column.push(value(pair[0]) << 4 | low);
            }
            kept = end;
        }
        at = end + SHORTEST;
    }
    out.extend_from_slice(&text[kept..]);
}

fn value(digit: u8) -> u8 {
    match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

/// How many bytes of the column a packed text has. `None`: it is damaged.
pub(super) fn bytes_of(text: &[u8]) -> Option<usize> {
    let mut bytes = 0;
    for at in memchr::memchr_iter(HEX_MARK, text) {
        let digits = usize::from(*text.get(at + 1)?);
        if !(SHORTEST..=LONGEST).contains(&digits) {
            return None;
        }
        bytes += digits.div_ceil(2);
    }
    Some(bytes)
}

/// Adds a packed text with its digits put back; takes them from the beginning
/// of the column.
pub(super) fn unpack(text: &[u8], column: &mut &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(HEX_MARK, rest) {
        out.extend_from_slice(&rest[..at]);
        let digits = rest.get(at + 1).copied().map_or(0, usize::from);
        let (run, others) = column
            .split_at_checked(digits.div_ceil(2))
            .unwrap_or((column, &[]));
        *column = others;
        let end = out.len() + digits;
        for byte in run {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
        out.truncate(end);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The part of a text without digits that stands in a packed line as it is
/// wherever the text stands in the line itself. `None`: no part of it must.
pub(crate) fn untouched(text: &[u8]) -> Option<&[u8]> {
    let start = text.iter().position(|b| class(*b) == 0)?;
    let end = text.iter().rposition(|b| class(*b) == 0)? + 1;
    let part = text.get(start..end)?;
    let is_packed = part.split(|b| class(*b) == 0).any(|run| run.len() >= SHORTEST);
    (!is_packed && !part.contains(&HEX_MARK)).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut column) = (Vec::new(), Vec::new());
        pack(text, &mut out, &mut column);
        (out, column)
    }

    #[test]
    fn ids_are_packed_and_words_and_numbers_are_not() {
        let (out, column) = packed(b"{\"trace_id\":\"a534a6a6b7fd0b63\",\"user\":12345678,\"x\":\"decade\"}");
        assert_eq!(
            out,
            b"{\"trace_id\":\"\x02\x10\",\"user\":12345678,\"x\":\"decade\"}"
        );
        assert_eq!(column, [0xa5, 0x34, 0xa6, 0xa6, 0xb7, 0xfd, 0x0b, 0x63]);
        let (out, column) = packed(b"a12345678 14d7973c");
        assert_eq!((out.as_slice(), column.len()), (&b"\x02\x09 \x02\x08"[..], 9));
    }

    #[test]
    fn what_can_be_looked_for_is_what_no_packing_touches() {
        assert_eq!(untouched(b"error"), Some(&b"rror"[..]));
        assert_eq!(untouched(b"order persisted"), Some(&b"order persist"[..]));
        assert_eq!(untouched(b"deadbeef"), None);
        assert_eq!(untouched(b"x deadbeef y"), None);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(text in "[0-9a-fg \u{1}é-]{0,700}", whole in "[0-9a-f]{240,270}") {
            for text in [text.clone(), whole.clone(), format!("{text}{whole}"), format!("{whole} {text}")] {
                let (out, column) = packed(text.as_bytes());
                prop_assert_eq!(bytes_of(&out), Some(column.len()));
                let (mut back, mut rest) = (Vec::new(), column.as_slice());
                unpack(&out, &mut rest, &mut back);
                prop_assert_eq!(back, text.as_bytes());
                prop_assert!(rest.is_empty());
            }
        }

        #[test]
        fn what_is_looked_for_is_found_in_packed_lines(line in "[a-fgh 19]{0,60}", at in any::<prop::sample::Index>(), len in 1..20_usize) {
            let bytes = line.as_bytes();
            let start = at.index(bytes.len() + 1);
            let needle = &bytes[start..(start + len).min(bytes.len())];
            if let Some(part) = untouched(needle) && !needle.iter().any(u8::is_ascii_digit) {
                let (out, _) = packed(bytes);
                prop_assert!(memchr::memmem::find(&out, part).is_some());
            }
        }
    }
}
