//! Connections: how many there may be, and which goes where there are too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// A connection that was silent for so long makes room for another where there
/// is none.
const GIVES_WAY: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Slot {
    /// Milliseconds from the start of the process's slots to its last message.
    active: AtomicU64,
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    slots: BTreeMap<u64, Arc<Slot>>,
}

/// Places for connections.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    begun: Instant,
    open: Mutex<Open>,
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    slots: Arc<Slots>,
    id: u64,
    slot: Arc<Slot>,
}

impl Slots {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            begun: Instant::now(),
            open: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn open(&self) -> usize {
        self.lock().slots.len()
    }

    /// A place, if need be that of the connection which was silent for longest.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Held> {
        self.take_from(GIVES_WAY)
    }

    fn take_from(self: &Arc<Self>, gives_way: Duration) -> Option<Held> {
        let now = self.now();
        let mut open = self.lock();
        if open.slots.len() >= self.most {
            let silent = open
                .slots
                .iter()
                .filter(|(_, slot)| !slot.gone.is_cancelled())
                .min_by_key(|(_, slot)| slot.active.load(Ordering::Relaxed))
                .map(|(id, slot)| (*id, Arc::clone(slot)))?;
            let since = now.saturating_sub(silent.1.active.load(Ordering::Relaxed));
            if u128::from(since) < gives_way.as_millis() {
                return None;
            }
            silent.1.gone.cancel();
            open.slots.remove(&silent.0);
        }
        let id = open.next;
        open.next += 1;
        let slot = Arc::new(Slot {
            active: AtomicU64::new(now),
            gone: CancellationToken::new(),
        });
        open.slots.insert(id, Arc::clone(&slot));
        drop(open);
        Some(Held {
            slots: Arc::clone(self),
            id,
            slot,
        })
    }
}

impl Held {
    /// A message came.
    pub(crate) fn active(&self) {
        self.slot.active.store(self.slots.now(), Ordering::Relaxed);
    }

    /// Resolves when the place was given to another.
    pub(crate) async fn gone(&self) {
        self.slot.gone.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.slots.lock().slots.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_most_silent_connection_gives_way_and_a_lively_one_does_not() {
        let slots = Slots::new(2);
        let first = slots.take().unwrap();
        let second = slots.take().unwrap();
        assert!(slots.take().is_none(), "both were active just now");
        std::thread::sleep(Duration::from_millis(30));
        first.active();
        let third = slots.take_from(Duration::from_millis(20)).unwrap();
        second.gone().await;
        assert!(!first.slot.gone.is_cancelled());
        assert_eq!(slots.open(), 2);
        drop((first, second, third));
        assert_eq!(slots.open(), 0);
    }
}
