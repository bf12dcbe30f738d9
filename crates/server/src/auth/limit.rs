//! How often somebody may try: to log in, to be a forge.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many failures an address may have at once.
const BURST: u32 = 10;
/// How long until one of them is forgiven.
const FORGIVE: Duration = Duration::from_secs(6);
/// How many are remembered.
const MOST: usize = 4096;

/// Counts failures, or whatever must not happen too often, by who does it.
#[derive(Debug)]
pub(crate) struct Limiter<K = IpAddr> {
    burst: u32,
    forgive: Duration,
    failures: Mutex<HashMap<K, (u32, Instant)>>,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Self::new(BURST, FORGIVE)
    }
}

impl<K> Limiter<K> {
    /// Allows so many at once; one is forgiven in this time.
    pub(crate) fn new(burst: u32, forgive: Duration) -> Self {
        Self {
            burst,
            forgive,
            failures: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Limiter<K> {
    fn left(&self, count: u32, since: Instant, now: Instant) -> u32 {
        let forgiven = now.saturating_duration_since(since).as_millis() / self.forgive.as_millis().max(1);
        count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// Whether they may try; else how long they must wait.
    pub(crate) fn check(&self, who: &K) -> Result<(), Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(who) {
            Some((count, since)) if self.left(*count, *since, Instant::now()) >= self.burst => {
                Err(self.forgive)
            }
            _ => Ok(()),
        }
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, who: K) {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (count, since)| self.left(*count, *since, now) > 0);
        }
        if failures.len() >= MOST && !failures.contains_key(&who) {
            return;
        }
        let entry = failures.entry(who).or_insert((0, now));
        *entry = (self.left(entry.0, entry.1, now) + 1, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let limiter = Limiter::default();
        let bad: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..BURST {
            assert!(limiter.check(&bad).is_ok());
            limiter.failed(bad);
        }
        assert!(limiter.check(&bad).is_err());
        assert!(limiter.check(&"192.0.2.2".parse().unwrap()).is_ok());
    }
}
