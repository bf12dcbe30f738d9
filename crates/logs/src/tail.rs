//! Live tails: thousands at once. Those that want the same share one
//! evaluation, records are shared and never copied, and whoever is slow is told
//! what it missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::frame::Frame;
use crate::metrics::Counters;
use crate::query::{Expr, Scope};
use crate::record::RecordView;

/// How often tails are told of news: people do not see the difference, and the
/// machine does.
const PACE: Duration = Duration::from_millis(50);
/// So many bytes of the newest records are kept for tails that lag.
const RING_BYTES: usize = 4 * 1024 * 1024;

/// Records that a tail wants, in the order in which they came.
#[derive(Debug, Clone)]
pub struct Picked {
    frame: Arc<Frame>,
    /// `None`: all of the frame.
    places: Option<Arc<[u32]>>,
    from: u64,
}

impl Picked {
    /// How many records, at most: those before the tail began are left out by
    /// [`Picked::iter`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.places
            .as_ref()
            .map_or(self.frame.batch.len(), |places| places.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The records with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, RecordView<'_>)> {
        let all = self.places.is_none().then(|| 0..self.frame.batch.len());
        let some = self
            .places
            .iter()
            .flat_map(|places| places.iter().map(|place| *place as usize));
        all.into_iter().flatten().chain(some).filter_map(|place| {
            let number = self.frame.first + place as u64;
            let record = self.frame.batch.get(place)?;
            (number >= self.from).then_some((number, record))
        })
    }
}

/// What a tail is told.
#[derive(Debug, Clone)]
pub enum News {
    /// New records.
    Records(Picked),
    /// So many records that it wanted are gone before it came to them.
    Missed(u64),
}

#[derive(Debug)]
struct Kept {
    id: u64,
    places: Option<Arc<[u32]>>,
    /// How many records the group had found before this frame.
    before: u64,
}

#[derive(Debug)]
struct Group {
    scope: Scope,
    expr: Expr,
    found: u64,
    ring: VecDeque<Kept>,
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Frames that no group was asked about.
    inbox: VecDeque<Arc<Frame>>,
    inbox_bytes: usize,
    /// Frames that were given to the groups, by number.
    frames: VecDeque<(u64, Arc<Frame>)>,
    frames_bytes: usize,
    next_id: u64,
    groups: BTreeMap<u64, Arc<Mutex<Group>>>,
    by_key: BTreeMap<String, (u64, usize)>,
    next_group: u64,
    /// A frame was thrown away before any group saw it.
    overrun: u64,
    closed: bool,
}

/// The tails of one log proxy.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    filled: Condvar,
    tails: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// How many tails there are.
    pub(crate) fn tails(&self) -> usize {
        self.tails.load(Ordering::Relaxed)
    }

    /// Gives a frame to whoever wants it; costs nothing where there is nobody,
    /// and never waits.
    pub(crate) fn publish(&self, frame: &Arc<Frame>) {
        if self.tails.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut inner = lock(&self.inner);
        inner.inbox_bytes += frame.batch.bytes();
        inner.inbox.push_back(Arc::clone(frame));
        while inner.inbox_bytes > RING_BYTES && inner.inbox.len() > 1 {
            if let Some(lost) = inner.inbox.pop_front() {
                inner.inbox_bytes -= lost.batch.bytes();
                inner.overrun += lost.batch.len() as u64;
            }
        }
        if inner.inbox.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// A new tail.
    pub(crate) fn subscribe(self: &Arc<Self>, scope: Scope, expr: Expr, counters: Arc<Counters>) -> Tail {
        self.tails.fetch_add(1, Ordering::SeqCst);
        let key = format!("{scope:?} {}", expr.key());
        let mut inner = lock(&self.inner);
        let known = inner.by_key.get_mut(&key).map(|(id, members)| {
            *members += 1;
            *id
        });
        let id = known.unwrap_or_else(|| {
            let id = inner.next_group;
            inner.next_group += 1;
            let group = Group {
                scope,
                expr,
                found: 0,
                ring: VecDeque::new(),
                told: watch::Sender::new(0),
            };
            inner.groups.insert(id, Arc::new(Mutex::new(group)));
            inner.by_key.insert(key.clone(), (id, 1));
            id
        });
        let group = inner.groups.get(&id).map(Arc::clone);
        drop(inner);
        let (seen, told) = match &group {
            Some(group) => {
                let group = lock(group);
                (group.found, group.told.subscribe())
            }
            None => (0, watch::Sender::new(0).subscribe()),
        };
        Tail {
            hub: Arc::downgrade(self),
            key,
            group,
            told,
            seen,
            next: 0,
            from: 0,
            counters,
        }
    }

    fn leave(&self, key: &str) {
        let mut inner = lock(&self.inner);
        if let Some((id, members)) = inner.by_key.get_mut(key) {
            *members -= 1;
            if *members == 0 {
                let id = *id;
                inner.by_key.remove(key);
                inner.groups.remove(&id);
            }
        }
        if self.tails.fetch_sub(1, Ordering::SeqCst) == 1 {
            inner.inbox.clear();
            inner.inbox_bytes = 0;
            inner.frames.clear();
            inner.frames_bytes = 0;
        }
    }

    /// Ends [`Hub::run`].
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        for group in std::mem::take(&mut inner.groups).into_values() {
            lock(&group).told.send_modify(|_| {});
        }
        self.filled.notify_all();
    }

    /// The thread that evaluates, until [`Hub::close`].
    pub(crate) fn run(&self) {
        loop {
            let mut inner = lock(&self.inner);
            while inner.inbox.is_empty() && !inner.closed {
                inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            if inner.closed {
                return;
            }
            let frames = std::mem::take(&mut inner.inbox);
            inner.inbox_bytes = 0;
            let lost = std::mem::take(&mut inner.overrun);
            let groups: Vec<Arc<Mutex<Group>>> = inner.groups.values().map(Arc::clone).collect();
            let first_id = inner.next_id;
            for frame in &frames {
                let id = inner.next_id;
                inner.next_id += 1;
                inner.frames_bytes += frame.batch.bytes();
                inner.frames.push_back((id, Arc::clone(frame)));
            }
            while inner.frames_bytes > RING_BYTES && inner.frames.len() > 1 {
                if let Some((_, old)) = inner.frames.pop_front() {
                    inner.frames_bytes -= old.batch.bytes();
                }
            }
            let oldest = inner.frames.front().map_or(inner.next_id, |(id, _)| *id);
            drop(inner);
            for group in groups {
                evaluate(&mut lock(&group), &frames, first_id, oldest, lost);
            }
            drop(frames);
            std::thread::sleep(PACE);
        }
    }

    fn frame(&self, id: u64) -> Option<Arc<Frame>> {
        let inner = lock(&self.inner);
        let first = inner.frames.front()?.0;
        let at = usize::try_from(id.checked_sub(first)?).ok()?;
        inner.frames.get(at).map(|(_, frame)| Arc::clone(frame))
    }
}

fn evaluate(group: &mut Group, frames: &VecDeque<Arc<Frame>>, first: u64, oldest: u64, lost: u64) {
    // How many of the lost it wanted nobody knows: it is told of all.
    group.found += lost;
    let mut told = lost > 0;
    for (id, frame) in (first..).zip(frames) {
        let allowed: Vec<bool> = frame
            .batch
            .sources()
            .iter()
            .map(|s| group.scope.allows(s))
            .collect();
        let all = matches!(group.expr, Expr::All) && allowed.iter().all(|allowed| *allowed);
        let places: Option<Arc<[u32]>> = if all {
            None
        } else {
            let wanted = (0_u32..).zip(frame.batch.iter()).filter(|(_, record)| {
                allowed.get(record.source_index.get()).copied().unwrap_or(false) && group.expr.matches(record)
            });
            Some(wanted.map(|(place, _)| place).collect())
        };
        let count = places.as_ref().map_or(frame.batch.len(), |places| places.len()) as u64;
        if count > 0 {
            let before = group.found;
            group.ring.push_back(Kept { id, places, before });
            group.found += count;
            told = true;
        }
    }
    while group.ring.front().is_some_and(|kept| kept.id < oldest) {
        group.ring.pop_front();
    }
    if told {
        let found = group.found;
        group.told.send_replace(found);
    }
}

/// A live tail. Dropping it ends it.
#[derive(Debug)]
pub struct Tail {
    hub: Weak<Hub>,
    key: String,
    group: Option<Arc<Mutex<Group>>>,
    told: watch::Receiver<u64>,
    /// How many of the group's records it has seen, or been told it missed.
    seen: u64,
    next: u64,
    from: u64,
    counters: Arc<Counters>,
}

impl Tail {
    /// Records before this number are left out.
    pub(crate) fn start_at(&mut self, number: u64) {
        self.from = number;
    }

    /// What is new; waits for it. `None` when the log proxy has ended.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            match self.take() {
                Some(News::Records(picked)) if picked.is_empty() => {}
                Some(news) => return Some(news),
                None => {
                    // The group is held by this tail too: ask the hub first.
                    let closed = self.hub.upgrade().is_none_or(|hub| lock(&hub.inner).closed);
                    if closed || self.told.changed().await.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    fn take(&mut self) -> Option<News> {
        let hub = self.hub.upgrade()?;
        let group = self.group.as_ref()?;
        let (id, places, before, count);
        {
            let group = lock(group);
            let at = group
                .ring
                .partition_point(|kept| kept.before < self.seen || kept.id < self.next);
            match group.ring.get(at) {
                Some(kept) => {
                    (id, places, before) = (kept.id, kept.places.clone(), kept.before);
                    let after = group.ring.get(at + 1).map_or(group.found, |next| next.before);
                    count = after - before;
                }
                None if group.found > self.seen => {
                    let missed = group.found - self.seen;
                    self.seen = group.found;
                    drop(group);
                    return Some(self.missed(missed));
                }
                None => return None,
            }
        }
        if before > self.seen {
            let missed = before - self.seen;
            self.seen = before;
            return Some(self.missed(missed));
        }
        self.next = id + 1;
        match hub.frame(id) {
            Some(frame) => {
                let held = places.as_ref().map_or(frame.batch.len(), |places| places.len()) as u64;
                self.seen = before + held.min(count);
                Some(News::Records(Picked {
                    frame,
                    places,
                    from: self.from,
                }))
            }
            None => {
                self.seen = before + count;
                Some(self.missed(count))
            }
        }
    }

    fn missed(&self, records: u64) -> News {
        self.counters.missed.fetch_add(records, Ordering::Relaxed);
        News::Missed(records)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.leave(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, Source, Stream};

    fn frame(first: u64, lines: &[&str]) -> Arc<Frame> {
        let source = Source::new("a/b/c", "1", Stream::Stdout);
        Arc::new(Frame {
            first,
            received: 0,
            batch: Batch::of_lines(&source, lines.iter().map(|line| line.as_bytes())),
            marks: Vec::new(),
        })
    }

    fn start() -> (Arc<Hub>, std::thread::JoinHandle<()>) {
        let hub = Arc::new(Hub::default());
        let run = Arc::clone(&hub);
        (hub, std::thread::spawn(move || run.run()))
    }

    #[tokio::test]
    async fn tails_get_what_they_want_and_nothing_else() {
        let (hub, thread) = start();
        let counters = Arc::new(Counters::default());
        let mut all = hub.subscribe(Scope::Everything, Expr::All, Arc::clone(&counters));
        let mut some = hub.subscribe(Scope::Everything, Expr::words("b"), Arc::clone(&counters));
        let none = Scope::Environments(["x/y".into()].into());
        let mut forbidden = hub.subscribe(none, Expr::All, Arc::clone(&counters));
        assert_eq!(hub.tails(), 3);
        hub.publish(&frame(10, &["a", "b", "a b"]));
        let Some(News::Records(picked)) = all.next().await else {
            panic!("records")
        };
        assert_eq!(
            picked.iter().map(|(number, _)| number).collect::<Vec<_>>(),
            [10, 11, 12]
        );
        let Some(News::Records(picked)) = some.next().await else {
            panic!("records")
        };
        assert_eq!(
            picked.iter().map(|(number, _)| number).collect::<Vec<_>>(),
            [11, 12]
        );
        let quiet = tokio::time::timeout(Duration::from_millis(150), forbidden.next()).await;
        assert!(quiet.is_err());
        drop((all, some));
        assert_eq!(hub.tails(), 1);
        hub.close();
        assert!(forbidden.next().await.is_none());
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_slow_tail_is_told_what_it_missed() {
        let (hub, thread) = start();
        let mut slow = hub.subscribe(Scope::Everything, Expr::All, Arc::default());
        let line = "x".repeat(100_000);
        let mut sent = 0;
        for _ in 0..200 {
            hub.publish(&frame(sent, &[&line, &line]));
            sent += 2;
            if sent % 40 == 0 {
                std::thread::sleep(PACE);
            }
        }
        let (mut got, mut missed, mut last) = (0, 0, None);
        while got + missed < sent {
            match slow.next().await.unwrap() {
                News::Records(picked) => {
                    for (number, _) in picked.iter() {
                        assert!(last.is_none_or(|last| number > last));
                        last = Some(number);
                        got += 1;
                    }
                }
                News::Missed(lost) => missed += lost,
            }
        }
        assert_eq!(got + missed, sent);
        assert!(missed > 0 && got > 0, "{got} {missed}");
        assert_eq!(last, Some(sent - 1));
        hub.close();
        thread.join().unwrap();
    }
}
