//! How much a service may write.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::record::Source;

/// How many lines a service may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Lines a second, for long.
    pub lines_per_second: u64,
    /// Lines at once.
    pub burst: u64,
}

#[derive(Debug)]
struct Bucket {
    source: Arc<Source>,
    /// Thousand-millionths of a line.
    tokens: u128,
    filled: i64,
    dropped: u64,
}

/// How much services may write.
#[derive(Debug, Clone, Default)]
pub struct RateLimits {
    /// Every service of which nothing else is said; `None`: as much as it likes.
    pub all: Option<RateLimit>,
    /// These services (their labels).
    pub of: BTreeMap<Arc<str>, RateLimit>,
}

impl RateLimits {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_none() && self.of.is_empty()
    }

    pub(crate) fn limit(&self, service: &str) -> Option<RateLimit> {
        self.of.get(service).copied().or(self.all)
    }
}

/// The limits of all services, as they are used.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    buckets: HashMap<Arc<str>, Bucket>,
}

/// Services that wrote nothing for so long are forgotten: nanoseconds.
const FORGET_AFTER: i64 = 600 * 1_000_000_000;
const LINE: u128 = 1_000_000_000;

impl Limiter {
    /// Whether a line of this source may pass.
    pub(crate) fn passes(&mut self, limit: RateLimit, source: &Arc<Source>, now: i64) -> bool {
        if !self.buckets.contains_key(&source.service) {
            self.buckets.insert(
                Arc::clone(&source.service),
                Bucket {
                    source: Arc::clone(source),
                    tokens: u128::from(limit.burst) * LINE,
                    filled: now,
                    dropped: 0,
                },
            );
        }
        let Some(bucket) = self.buckets.get_mut(&source.service) else {
            return true;
        };
        // A clock that goes backwards gives nothing and takes nothing.
        let passed = u128::try_from(now - bucket.filled).unwrap_or(0);
        bucket.filled = now;
        let most = u128::from(limit.burst.max(1)) * LINE;
        bucket.tokens = (bucket.tokens + passed * u128::from(limit.lines_per_second)).min(most);
        if bucket.tokens >= LINE {
            bucket.tokens -= LINE;
            return true;
        }
        bucket.dropped += 1;
        false
    }

    /// What was dropped since it was asked last.
    pub(crate) fn take_dropped(&mut self, now: i64) -> Vec<(Arc<Source>, u64)> {
        let dropped = self.buckets.values_mut().filter(|bucket| bucket.dropped > 0);
        let dropped = dropped
            .map(|b| (Arc::clone(&b.source), std::mem::take(&mut b.dropped)))
            .collect();
        self.buckets
            .retain(|_, bucket| now - bucket.filled < FORGET_AFTER);
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = RateLimit {
            lines_per_second: 10,
            burst: 5,
        };
        let source = Source::new("a/b/c", "1", Stream::Stdout);
        let mut limiter = Limiter::default();
        let passed = |limiter: &mut Limiter, now: i64| {
            (0..100).filter(|_| limiter.passes(limit, &source, now)).count()
        };
        assert_eq!(passed(&mut limiter, 0), 5);
        assert_eq!(passed(&mut limiter, 200_000_000), 2);
        assert_eq!(passed(&mut limiter, 100_000_000), 0, "the clock went backwards");
        assert_eq!(passed(&mut limiter, 10_000_000_000), 5);
        let dropped = limiter.take_dropped(10_000_000_000);
        assert_eq!(dropped.iter().map(|d| d.1).sum::<u64>(), 400 - 12);
        assert!(limiter.take_dropped(i64::MAX / 2).is_empty());
    }
}
