//! Deadlines without a timer each: a connection or stream says by when
//! something must have happened, and a sweep every tick wakes those that are
//! late. Moving a deadline costs one store.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::Phase;

/// The length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(100);

const NEVER: u32 = u32::MAX;

/// How many ticks a duration is, at least one.
pub(crate) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis()))
        .unwrap_or(NEVER / 2)
        .clamp(1, NEVER / 2)
}

/// Something with a deadline.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) phase: Cell<Phase>,
    deadline: Cell<u32>,
    /// How many ticks activity moves the deadline by; 0: not at all.
    step: Cell<u32>,
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    pub(crate) fn new(phase: Phase) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(phase),
            deadline: Cell::new(NEVER),
            step: Cell::new(0),
            fired: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// Enters a phase that must be left after so many ticks.
    pub(crate) fn fixed(&self, phase: Phase, now: u32, ticks: u32) {
        self.phase.set(phase);
        self.deadline.set(now.saturating_add(ticks));
        self.step.set(0);
        self.fired.set(false);
    }

    /// Enters a phase in which something must happen every so many ticks.
    pub(crate) fn rolling(&self, phase: Phase, now: u32, ticks: u32) {
        self.fixed(phase, now, ticks);
        self.step.set(ticks);
    }

    /// Something happened.
    #[inline]
    pub(crate) fn active(&self, now: u32) {
        let step = self.step.get();
        if step != 0 {
            self.deadline.set(now.saturating_add(step));
        }
    }

    /// Whether the deadline passed.
    pub(crate) fn fired(&self) -> bool {
        self.fired.get()
    }

    /// Remembers whom to wake.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes whoever polls it.
    pub(crate) fn wake(&self) {
        // Cloned, so that nothing is borrowed while foreign code runs.
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// All watches of a worker, and its coarse clock.
#[derive(Debug)]
pub(crate) struct Deadlines {
    epoch: Instant,
    now: Cell<u32>,
    watches: RefCell<Vec<Weak<Watch>>>,
}

impl Deadlines {
    pub(crate) fn new(epoch: Instant) -> Self {
        let deadlines = Self {
            epoch,
            now: Cell::new(0),
            watches: RefCell::new(Vec::new()),
        };
        deadlines.update();
        deadlines
    }

    /// The tick that it was at the last sweep.
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// Reads the real clock: after a pause in which no sweep was needed.
    pub(crate) fn update(&self) {
        let now = self.epoch.elapsed().as_millis() / TICK.as_millis();
        self.now.set(u32::try_from(now).unwrap_or(NEVER - 1));
    }

    pub(crate) fn add(&self, watch: &Rc<Watch>) {
        self.watches.borrow_mut().push(Rc::downgrade(watch));
    }

    /// Wakes those that are late. Returns how many are watched.
    pub(crate) fn sweep(&self) -> usize {
        self.update();
        let now = self.now.get();
        let mut late = Vec::new();
        let mut watches = self.watches.borrow_mut();
        watches.retain(|watch| {
            let Some(watch) = watch.upgrade() else {
                return false;
            };
            if watch.deadline.get() <= now {
                watch.deadline.set(NEVER);
                watch.fired.set(true);
                late.push(watch);
            }
            true
        });
        let count = watches.len();
        if count < watches.capacity() / 4 {
            watches.shrink_to(count * 2);
        }
        drop(watches);
        for watch in late {
            watch.wake();
        }
        count
    }

    /// Wakes all, so that they see that the edge is ending.
    pub(crate) fn wake_all(&self) {
        let all: Vec<_> = self.watches.borrow().iter().filter_map(Weak::upgrade).collect();
        for watch in all {
            watch.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(101)), 2);
        assert_eq!(ticks(Duration::MAX), NEVER / 2);
    }

    #[test]
    fn late_watches_fire_once_and_activity_moves_the_deadline() {
        let deadlines = Deadlines::new(Instant::now() - Duration::from_secs(10));
        let now = deadlines.now();
        let late = Watch::new(Phase::Idle);
        late.fixed(Phase::Idle, now - 5, 5);
        let active = Watch::new(Phase::Idle);
        active.rolling(Phase::Body, now - 5, 5);
        active.active(now);
        deadlines.add(&late);
        deadlines.add(&active);
        assert_eq!(deadlines.sweep(), 2);
        assert!(late.fired() && !active.fired());
        drop(late);
        assert_eq!(deadlines.sweep(), 1);
    }
}
