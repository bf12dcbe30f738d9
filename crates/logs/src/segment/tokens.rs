//! Words, as filters know them.

/// 0: not of a word; 1: a digit; 2: a letter, `_` or a byte of a character
/// beyond ASCII.
static CLASS: [u8; 256] = {
    let mut class = [0_u8; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let b = byte as u8;
        if b.is_ascii_digit() {
            class[byte] = 1;
        } else if b.is_ascii_alphabetic() || b == b'_' || b >= 0x80 {
            class[byte] = 2;
        }
        byte += 1;
    }
    class
};

/// Whether a byte is part of a word.
pub(crate) fn is_word(byte: u8) -> bool {
    CLASS[usize::from(byte)] != 0
}

/// Odd numbers of random bits.
const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xbf58_476d_1ce4_e5b9;

/// Calls with the hash of each word of a text that filters hold: numbers of
/// fewer than four digits and single bytes are in every block and left out.
#[inline]
pub(crate) fn hashes(text: &[u8], mut each: impl FnMut(u64)) {
    let mut bytes = text.iter();
    'words: loop {
        let (mut hash, mut word, mut len, mut class);
        loop {
            let Some(byte) = bytes.next() else { break 'words };
            class = CLASS[usize::from(*byte)];
            if class != 0 {
                word = u64::from(*byte);
                hash = 0_u64;
                len = 1_u64;
                break;
            }
        }
        let mut ended = true;
        for byte in bytes.by_ref() {
            let of = CLASS[usize::from(*byte)];
            if of == 0 {
                ended = false;
                break;
            }
            class |= of;
            word = word << 8 | u64::from(*byte);
            len += 1;
            if len & 7 == 0 {
                hash = (hash ^ word).wrapping_mul(K1).rotate_left(29);
                word = 0;
            }
        }
        if len >= 4 || (class != 1 && len >= 2) {
            each(finish(hash, word, len));
        }
        if ended {
            break;
        }
    }
}

/// Mixes a word's state into its hash; never 0.
#[inline]
fn finish(hash: u64, word: u64, len: u64) -> u64 {
    let mut h = (hash ^ word ^ len << 56).wrapping_mul(K2);
    h ^= h >> 32;
    h = h.wrapping_mul(K1);
    (h ^ h >> 29) | 1
}

/// The hashes of the whole words of a text that a filter can be asked for.
/// `open_start` and `open_end`: the text may begin or end within a word.
pub(crate) fn query_hashes(text: &[u8], open_start: bool, open_end: bool) -> Vec<u64> {
    let mut inner = text;
    if open_start {
        let skip = inner.iter().take_while(|b| is_word(**b)).count();
        inner = &inner[skip..];
    }
    if open_end {
        let skip = inner.iter().rev().take_while(|b| is_word(**b)).count();
        inner = &inner[..inner.len() - skip];
    }
    let mut found = Vec::new();
    hashes(inner, |hash| found.push(hash));
    found
}

/// A set of hashes that forgets nothing until it is cleared.
#[derive(Debug)]
pub(crate) struct HashSet {
    slots: Vec<u64>,
    len: usize,
}

impl Default for HashSet {
    fn default() -> Self {
        Self {
            slots: vec![0; 1 << 15],
            len: 0,
        }
    }
}

impl HashSet {
    /// Adds a hash, which is never 0.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 20) as usize & mask;
        loop {
            match self.slots[at] {
                0 => break,
                found if found == hash => return,
                _ => at = (at + 1) & mask,
            }
        }
        self.slots[at] = hash;
        self.len += 1;
        if self.len * 2 > self.slots.len() {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let wanted = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![0; wanted]);
        self.len = 0;
        for hash in old {
            if hash != 0 {
                self.insert(hash);
            }
        }
    }

    /// Takes all out into a list.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u64>) {
        out.clear();
        out.extend(self.slots.iter().copied().filter(|hash| *hash != 0));
        self.slots.fill(0);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let all = |text: &str| query_hashes(text.as_bytes(), false, false);
        assert_eq!(all("a 12 345 ! "), [0_u64; 0]);
        assert_eq!(all("path=/orders/1234").len(), 3);
        assert_eq!(all("orders"), all("/orders?"));
        assert_ne!(all("orders"), all("Orders"));
        assert_ne!(all("abcdefgh"), all("abcdefghabcdefgh"));
        assert_eq!(query_hashes(b"ders/1234/new", true, true), all("1234"));
        assert_eq!(query_hashes(b"ders", true, true), [0_u64; 0]);
        let mut set = HashSet::default();
        for n in 1..100_000_u64 {
            set.insert(n.wrapping_mul(K1) | 1);
            set.insert(n.wrapping_mul(K1) | 1);
        }
        let mut out = Vec::new();
        set.drain_into(&mut out);
        out.sort_unstable();
        let before = out.len();
        out.dedup();
        assert_eq!(out.len(), before);
        assert!(before > 90_000);
    }
}
