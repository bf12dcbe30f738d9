//! Filters: which words a block may hold.
//!
//! Binary fuse filters (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller
//! Than Xor Filters", 2022) of eight bits: about 9.7 bits a word, and one block
//! in 256 is opened in vain.

/// Bytes before the fingerprints: seed (8), segment length (4), number of
/// segments (4), all little-endian.
pub(crate) const HEADER: usize = 16;
/// How often another seed is tried.
const TRIES: u64 = 64;

/// Where a word's three fingerprints are, and what they are together.
struct Places {
    at: [usize; 3],
    print: u8,
}

#[derive(Clone, Copy)]
struct Shape {
    seed: u64,
    segment: u32,
    segments: u32,
}

fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

impl Shape {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the filter's length")]
    fn places(self, key: u64) -> Places {
        let hash = mix(key.wrapping_add(self.seed));
        let span = u64::from(self.segments) * u64::from(self.segment);
        let mask = u64::from(self.segment) - 1;
        let first = ((u128::from(hash) * u128::from(span)) >> 64) as u64;
        let second = (first + u64::from(self.segment)) ^ (hash >> 18 & mask);
        let third = (first + 2 * u64::from(self.segment)) ^ (hash & mask);
        Places {
            at: [first as usize, second as usize, third as usize],
            print: (hash ^ hash >> 32) as u8,
        }
    }

    fn len(self) -> usize {
        (self.segments as usize + 2) * self.segment as usize
    }
}

/// The memory that making filters takes, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    counts: Vec<u8>,
    hashes: Vec<u64>,
    order: Vec<(u64, u8)>,
    queue: Vec<u32>,
}

impl Builder {
    /// Adds a filter of these different keys to the bytes. A filter without
    /// keys is empty: it says "no" to everything. Where none can be made
    /// (which random keys never cause) it is one that says "perhaps" always.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes of some thousand words"
    )]
    pub(crate) fn build(&mut self, keys: &[u64], out: &mut Vec<u8>) {
        if keys.is_empty() {
            return;
        }
        let n = keys.len().max(2) as f64;
        let segment = 1_u32 << ((n.ln() / 3.33_f64.ln() + 2.25).floor() as u32).min(18);
        let factor = (0.875 + 0.25 * 1e6_f64.ln() / n.ln()).max(1.125);
        let capacity = (n * factor).round();
        let segments = ((capacity / f64::from(segment)).ceil() as u32)
            .saturating_sub(2)
            .max(1);
        for attempt in 0..TRIES {
            let shape = Shape {
                seed: mix(attempt + 1),
                segment,
                segments,
            };
            if self.peel(shape, keys) {
                self.write(shape, out);
                return;
            }
        }
        out.extend_from_slice(&[0; HEADER]);
    }

    /// Finds an order in which every key has a place of its own.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "places fit in 32 bits, slots in 8"
    )]
    fn peel(&mut self, shape: Shape, keys: &[u64]) -> bool {
        self.counts.clear();
        self.counts.resize(shape.len(), 0);
        self.hashes.clear();
        self.hashes.resize(shape.len(), 0);
        self.order.clear();
        self.queue.clear();
        for key in keys {
            for (slot, at) in shape.places(*key).at.into_iter().enumerate() {
                // Count in the upper six bits, the slots' parity in the lower two.
                if self.counts[at] >= 252 {
                    return false;
                }
                self.counts[at] = (self.counts[at] + 4) ^ slot as u8;
                self.hashes[at] ^= *key;
            }
        }
        for at in 0..shape.len() {
            if self.counts[at] >> 2 == 1 {
                self.queue.push(at as u32);
            }
        }
        while let Some(at) = self.queue.pop() {
            let at = at as usize;
            if self.counts[at] >> 2 != 1 {
                continue;
            }
            let key = self.hashes[at];
            let slot = self.counts[at] & 3;
            self.order.push((key, slot));
            for (other, place) in shape.places(key).at.into_iter().enumerate() {
                self.counts[place] = (self.counts[place] - 4) ^ other as u8;
                self.hashes[place] ^= key;
                if self.counts[place] >> 2 == 1 {
                    self.queue.push(place as u32);
                }
            }
        }
        self.order.len() == keys.len()
    }

    fn write(&self, shape: Shape, out: &mut Vec<u8>) {
        out.extend_from_slice(&shape.seed.to_le_bytes());
        out.extend_from_slice(&shape.segment.to_le_bytes());
        out.extend_from_slice(&shape.segments.to_le_bytes());
        let start = out.len();
        out.resize(start + shape.len(), 0);
        let prints = &mut out[start..];
        for (key, slot) in self.order.iter().rev() {
            let places = shape.places(*key);
            let mut print = places.print;
            for (other, at) in places.at.into_iter().enumerate() {
                if other != usize::from(*slot) {
                    print ^= prints[at];
                }
            }
            prints[places.at[usize::from(*slot)]] = print;
        }
    }
}

/// Asks a filter whose bytes are somewhere else: `read` gives so many bytes
/// from a place in it, or `None` where they cannot be had (then it may hold).
pub(crate) fn may_hold(
    len: usize,
    keys: &[u64],
    mut read: impl FnMut(usize, &mut [u8]) -> Option<()>,
) -> bool {
    if keys.is_empty() {
        return true;
    }
    if len < HEADER {
        return false;
    }
    let mut header = [0_u8; HEADER];
    if read(0, &mut header).is_none() {
        return true;
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let shape = Shape {
        seed: u64::from(number(0)) | u64::from(number(4)) << 32,
        segment: number(8),
        segments: number(12),
    };
    // No filter could be made; or not one of ours.
    if !shape.segment.is_power_of_two() || shape.len() != len - HEADER {
        return true;
    }
    keys.iter().all(|key| {
        let places = shape.places(*key);
        let mut print = places.print;
        for at in places.at {
            let mut byte = [0_u8; 1];
            if read(HEADER + at, &mut byte).is_none() {
                return true;
            }
            print ^= byte[0];
        }
        print == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: &[u8], key: u64) -> bool {
        may_hold(filter.len(), &[key], |at, out| {
            out.copy_from_slice(filter.get(at..at + out.len())?);
            Some(())
        })
    }

    #[test]
    fn all_that_went_in_is_found_and_little_else() {
        let mut builder = Builder::default();
        for n in [0_u64, 1, 2, 3, 10, 100, 1_000, 20_000, 100_000] {
            let keys: Vec<u64> = (0..n).map(|k| mix(k) | 1).collect();
            let mut filter = Vec::new();
            builder.build(&keys, &mut filter);
            assert!(keys.iter().all(|key| holds(&filter, *key)), "{n}");
            let wrong = (0..10_000)
                .filter(|k| holds(&filter, mix(k + 1_000_000) | 1))
                .count();
            assert!(wrong < 100, "{n}: {wrong} of 10000 in vain");
            if n >= 1_000 {
                assert!(filter.len() as u64 * 8 < n * 12, "{n}: {} bytes", filter.len());
            }
        }
    }
}
