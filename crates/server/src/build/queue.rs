//! Which build runs next. As many run at the same time as the settings say;
//! the others wait, and projects take turns, so that one with many builds
//! never holds up another's single one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nonna_model::ProjectId;
use tokio::sync::watch;

/// Where a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It may run.
    Running,
    /// It waits.
    Waiting {
        /// Its place, from 1: the next one.
        position: u32,
        /// How many run meanwhile.
        running: u32,
    },
}

/// Which build it is, for people.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) project: String,
    pub(crate) environment: String,
    pub(crate) service: String,
    pub(crate) release: String,
    pub(crate) deployment: String,
    /// When it was asked for: milliseconds since 1970, UTC.
    pub(crate) since: i64,
}

struct Build {
    id: u64,
    about: About,
    place: watch::Sender<Place>,
}

#[derive(Default)]
struct State {
    next: u64,
    running: Vec<Build>,
    waiting: HashMap<ProjectId, VecDeque<Build>>,
    /// The projects that have builds waiting, the next one's turn first.
    turns: VecDeque<ProjectId>,
}

/// The queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BuildQueue {
    state: Arc<Mutex<State>>,
    limit: usize,
}

/// A build's place. Dropped, wherever it stands, it is given to the next one.
pub(crate) struct Ticket {
    queue: BuildQueue,
    id: u64,
    project: ProjectId,
    place: watch::Receiver<Place>,
}

impl BuildQueue {
    /// A queue of which so many builds may run at the same time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Arc::default(),
            limit: limit.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many may run at the same time.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// All builds: those that run, then those that wait, the next one first.
    pub(crate) fn list(&self) -> Vec<(About, Place)> {
        let state = self.lock();
        let all = state.running.iter().chain(state.waiting.values().flatten());
        let mut all: Vec<(About, Place)> = all
            .map(|build| (build.about.clone(), *build.place.borrow()))
            .collect();
        all.sort_by_key(|(about, place)| match place {
            Place::Running => (0, about.since),
            Place::Waiting { position, .. } => (*position, about.since),
        });
        all
    }

    /// Takes a place.
    pub(crate) fn enter(&self, project: ProjectId, about: About) -> Ticket {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        let (sender, place) = watch::channel(Place::Waiting {
            position: u32::MAX,
            running: 0,
        });
        if !state.turns.contains(&project) {
            state.turns.push_back(project.clone());
        }
        state
            .waiting
            .entry(project.clone())
            .or_default()
            .push_back(Build {
                id,
                about,
                place: sender,
            });
        state.settle(self.limit);
        Ticket {
            queue: self.clone(),
            id,
            project,
            place,
        }
    }

    /// How many run, and how many wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (
            state.running.len(),
            state.waiting.values().map(VecDeque::len).sum(),
        )
    }
}

impl State {
    /// Lets run what may, and tells the others where they stand.
    fn settle(&mut self, limit: usize) {
        while self.running.len() < limit {
            let Some(build) = self.take_next() else { break };
            build.place.send_replace(Place::Running);
            self.running.push(build);
        }
        let running = count(self.running.len());
        // As turns will come, if nothing else happens.
        let mut position = 0;
        let mut round = 0;
        loop {
            let mut any = false;
            for project in &self.turns {
                let Some(build) = self.waiting.get(project).and_then(|builds| builds.get(round)) else {
                    continue;
                };
                any = true;
                position += 1;
                let place = Place::Waiting { position, running };
                build.place.send_if_modified(|now| {
                    let differs = *now != place;
                    *now = place;
                    differs
                });
            }
            if !any {
                return;
            }
            round += 1;
        }
    }

    fn take_next(&mut self) -> Option<Build> {
        let project = self.turns.pop_front()?;
        let builds = self.waiting.get_mut(&project)?;
        let build = builds.pop_front();
        if builds.is_empty() {
            self.waiting.remove(&project);
        } else {
            self.turns.push_back(project);
        }
        build
    }

    fn remove(&mut self, id: u64, project: &ProjectId) {
        self.running.retain(|build| build.id != id);
        if let Some(builds) = self.waiting.get_mut(project) {
            builds.retain(|build| build.id != id);
            if builds.is_empty() {
                self.waiting.remove(project);
                self.turns.retain(|turn| turn != project);
            }
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Ticket {
    /// Waits for its turn, telling of every change of its place. Dropped and
    /// called again, it goes on waiting.
    pub(crate) async fn wait(&mut self, mut tell: impl FnMut(u32, u32)) {
        loop {
            match *self.place.borrow_and_update() {
                Place::Running => return,
                Place::Waiting { position, running } => tell(position, running),
            }
            // The sender lives in the queue as long as this ticket does.
            if self.place.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.remove(self.id, &self.project);
        let limit = self.queue.limit;
        state.settle(limit);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn project(number: usize) -> ProjectId {
        format!(
            "prj-{}",
            char::from(b'a' + u8::try_from(number).unwrap())
                .to_string()
                .repeat(16)
        )
        .parse()
        .unwrap()
    }

    fn place(ticket: &Ticket) -> Place {
        *ticket.place.borrow()
    }

    fn waiting(position: u32, running: u32) -> Place {
        Place::Waiting { position, running }
    }

    #[test]
    fn projects_take_turns() {
        let queue = BuildQueue::new(1);
        let a1 = queue.enter(project(0), About::default());
        let a2 = queue.enter(project(0), About::default());
        let a3 = queue.enter(project(0), About::default());
        let b1 = queue.enter(project(1), About::default());
        assert_eq!(place(&a1), Place::Running);
        assert_eq!(place(&a2), waiting(1, 1));
        assert_eq!(place(&b1), waiting(2, 1));
        assert_eq!(place(&a3), waiting(3, 1));
        drop(a1);
        assert_eq!(place(&a2), Place::Running);
        assert_eq!(place(&b1), waiting(1, 1));
        // Given up while it waits: the others move up.
        drop(b1);
        assert_eq!(place(&a3), waiting(1, 1));
        drop(a2);
        assert_eq!(place(&a3), Place::Running);
        drop(a3);
        assert_eq!(queue.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_build_hears_where_it_stands_until_its_turn_comes() {
        let queue = BuildQueue::new(1);
        let first = queue.enter(project(0), About::default());
        let second = queue.enter(project(1), About::default());
        let mut third = queue.enter(project(2), About::default());
        let waiter = tokio::spawn(async move {
            let mut heard = Vec::new();
            third.wait(|position, _| heard.push(position)).await;
            heard
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        drop(second);
        assert_eq!(waiter.await.unwrap(), [2, 1]);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Enter(usize),
        Leave(usize),
    }

    proptest! {
        /// Whatever comes and goes in whatever order: no slot is lost, none is
        /// given twice, places are exactly 1, 2, 3 …, and no project is served
        /// twice while another one waits.
        #[test]
        fn no_slot_is_lost_and_nobody_is_passed_over(
            limit in 1_usize..4,
            acts in prop::collection::vec(
                prop_oneof![(0_usize..4).prop_map(Act::Enter), (0_usize..40).prop_map(Act::Leave)],
                0..60,
            ),
        ) {
            let queue = BuildQueue::new(limit);
            let mut tickets: Vec<Ticket> = Vec::new();
            // How often each other project was served since it began to wait.
            let mut passed: HashMap<u64, HashMap<ProjectId, u32>> = HashMap::new();
            for act in acts {
                let before: Vec<u64> = running(&tickets);
                match act {
                    Act::Enter(number) => tickets.push(queue.enter(project(number), About::default())),
                    Act::Leave(at) if !tickets.is_empty() => {
                        let at = at % tickets.len();
                        drop(tickets.swap_remove(at));
                    }
                    Act::Leave(_) => {}
                }
                let now = running(&tickets);
                prop_assert_eq!(now.len(), tickets.len().min(limit));
                let mut places: Vec<u32> = tickets
                    .iter()
                    .filter_map(|t| match place(t) {
                        Place::Waiting { position, .. } => Some(position),
                        Place::Running => None,
                    })
                    .collect();
                places.sort_unstable();
                let wanted: Vec<u32> = (1..=count(places.len())).collect();
                prop_assert_eq!(places, wanted);
                let served: Vec<ProjectId> = tickets
                    .iter()
                    .filter(|t| now.contains(&t.id) && !before.contains(&t.id))
                    .map(|t| t.project.clone())
                    .collect();
                // The first that waits of each project is the one whose turn counts.
                let mut heads: HashMap<ProjectId, u64> = HashMap::new();
                for ticket in tickets.iter().filter(|t| place(t) != Place::Running) {
                    let head = heads.entry(ticket.project.clone()).or_insert(ticket.id);
                    *head = (*head).min(ticket.id);
                }
                passed.retain(|id, _| heads.values().any(|head| head == id));
                for (owner, head) in &heads {
                    let counts = passed.entry(*head).or_default();
                    for project in served.iter().filter(|p| *p != owner) {
                        let times = counts.entry(project.clone()).or_default();
                        *times += 1;
                        prop_assert!(*times <= 1, "{project} was served {times} times while {owner} waited");
                    }
                }
            }
            tickets.clear();
            prop_assert_eq!(queue.counts(), (0, 0));
        }
    }

    fn running(tickets: &[Ticket]) -> Vec<u64> {
        let running = tickets.iter().filter(|t| place(t) == Place::Running);
        running.map(|t| t.id).collect()
    }
}
