//! LEB128: numbers in as few bytes as they need.

/// Adds a number: seven bits a byte, the lowest first, the top bit set on all
/// but the last.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits")]
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    out.push(number as u8);
}

/// Takes a number; answers what comes behind it. `None` where it is cut off or
/// longer than 64 bits.
pub(crate) fn take(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Signed numbers, small ones of both signs in few bytes.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Takes a number that [`put_signed`] added.
pub(crate) fn take_signed(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = take(bytes)?;
    Some(((number >> 1).cast_signed() ^ -(number & 1).cast_signed(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, number);
            assert_eq!(take(&out), Some((number, &[][..])));
            out.pop();
            assert_eq!(take(&out), None);
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            assert_eq!(take_signed(&out), Some((number, &[][..])));
        }
        assert_eq!(take(&[0xff; 11]), None);
    }
}
