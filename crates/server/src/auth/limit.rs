//! How often an address may try to log in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many failures an address may have at once.
const BURST: u32 = 10;
/// How long until one of them is forgiven.
const FORGIVE: Duration = Duration::from_secs(6);
/// How many addresses are remembered.
const MOST: usize = 4096;

/// Counts failures by address.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

fn left(count: u32, since: Instant, now: Instant) -> u32 {
    let forgiven = now.saturating_duration_since(since).as_secs() / FORGIVE.as_secs();
    count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
}

impl Limiter {
    /// Whether the address may try; else how long it must wait.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&address) {
            Some((count, since)) if left(*count, *since, Instant::now()) >= BURST => Err(FORGIVE),
            _ => Ok(()),
        }
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, address: IpAddr) {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (count, since)| left(*count, *since, now) > 0);
        }
        if failures.len() >= MOST && !failures.contains_key(&address) {
            return;
        }
        let entry = failures.entry(address).or_insert((0, now));
        *entry = (left(entry.0, entry.1, now) + 1, now);
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
            assert!(limiter.check(bad).is_ok());
            limiter.failed(bad);
        }
        assert!(limiter.check(bad).is_err());
        assert!(limiter.check("192.0.2.2".parse().unwrap()).is_ok());
    }
}
