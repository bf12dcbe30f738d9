//! One queue an environment: deployments take their turn in the order in which
//! they were asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nonna_model::{DeploymentId, Name};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// An environment by its names, which never change.
pub(super) type Place = (Name, Name);

struct Waiting {
    id: DeploymentId,
    cancel: CancellationToken,
    turn: Option<oneshot::Sender<()>>,
    /// Work of Nonna's own that gives way as soon as somebody asks for more.
    yields: bool,
}

/// All queues.
#[derive(Clone, Default)]
pub(super) struct Queues {
    all: Arc<Mutex<HashMap<Place, VecDeque<Waiting>>>>,
}

/// A place in a queue. Dropped, the next one's turn comes.
pub(super) struct Ticket {
    queues: Queues,
    place: Place,
    id: DeploymentId,
    turn: Option<oneshot::Receiver<()>>,
    /// Cancels this deployment.
    pub(super) cancel: CancellationToken,
    /// Who stands right before.
    pub(super) behind: Option<DeploymentId>,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, VecDeque<Waiting>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place at the end.
    pub(super) fn enter(&self, place: Place, id: DeploymentId) -> Ticket {
        self.push(place, id, false)
    }

    /// Takes the turn if nobody has it. The token is cancelled when somebody
    /// else wants it.
    pub(super) fn try_enter(&self, place: Place) -> Option<Ticket> {
        if self.lock().contains_key(&place) {
            return None;
        }
        let ticket = self.push(place, DeploymentId::generate(), true);
        ticket.is_front().then_some(ticket)
    }

    fn push(&self, place: Place, id: DeploymentId, yields: bool) -> Ticket {
        let cancel = CancellationToken::new();
        let mut all = self.lock();
        let queue = all.entry(place.clone()).or_default();
        if let Some(first) = queue.front().filter(|w| w.yields) {
            first.cancel.cancel();
        }
        let behind = queue.iter().rev().find(|w| !w.yields).map(|w| w.id.clone());
        let (sender, turn) = if queue.is_empty() {
            (None, None)
        } else {
            let (sender, receiver) = oneshot::channel();
            (Some(sender), Some(receiver))
        };
        queue.push_back(Waiting {
            id: id.clone(),
            cancel: cancel.clone(),
            turn: sender,
            yields,
        });
        Ticket {
            queues: self.clone(),
            place,
            id,
            turn,
            cancel,
            behind,
        }
    }

    /// Cancels a deployment that is under way or waits; false if there is none.
    pub(super) fn cancel(&self, id: &DeploymentId) -> bool {
        let all = self.lock();
        let found = all.values().flatten().find(|w| w.id == *id);
        if let Some(waiting) = found {
            waiting.cancel.cancel();
        }
        found.is_some()
    }

    /// The deployments of an environment that are under way or wait.
    pub(super) fn members(&self, place: &Place) -> Vec<DeploymentId> {
        let all = self.lock();
        let queue = all.get(place).into_iter().flatten();
        queue.filter(|w| !w.yields).map(|w| w.id.clone()).collect()
    }

    /// How many deployments are under way or wait, everywhere.
    pub(super) fn len(&self) -> usize {
        self.lock().values().flatten().filter(|w| !w.yields).count()
    }
}

impl Ticket {
    /// Whether its turn has come.
    pub(super) fn is_front(&self) -> bool {
        self.turn.is_none()
    }

    /// Waits for its turn.
    pub(super) async fn wait(&mut self) {
        if let Some(turn) = self.turn.as_mut() {
            // The sender is never dropped unsent while this ticket stands.
            let _ = turn.await;
            self.turn = None;
        }
    }

    /// Whose place it is.
    pub(super) fn id(&self) -> &DeploymentId {
        &self.id
    }

    /// The environment.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut all = self.queues.lock();
        let Some(queue) = all.get_mut(&self.place) else {
            return;
        };
        queue.retain(|w| w.id != self.id);
        match queue.front_mut() {
            Some(first) => {
                if let Some(turn) = first.turn.take() {
                    let _ = turn.send(());
                }
            }
            None => {
                all.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        ("shop".parse().unwrap(), "production".parse().unwrap())
    }

    #[tokio::test]
    async fn turns_come_in_order_and_a_place_given_up_is_skipped() {
        let queues = Queues::default();
        let first = queues.enter(place(), DeploymentId::generate());
        let second = queues.enter(place(), DeploymentId::generate());
        let mut third = queues.enter(place(), DeploymentId::generate());
        assert!(first.is_front() && !second.is_front() && !third.is_front());
        assert_eq!(second.behind.as_ref(), Some(&first.id));
        drop(second);
        assert!(!third.is_front());
        drop(first);
        third.wait().await;
        assert!(third.is_front());
        drop(third);
        assert_eq!(queues.len(), 0);
        assert!(queues.try_enter(place()).is_some());
    }

    #[test]
    fn own_work_gives_way() {
        let queues = Queues::default();
        let own = queues.try_enter(place()).unwrap();
        assert!(queues.try_enter(place()).is_none());
        let asked = queues.enter(place(), DeploymentId::generate());
        assert!(own.cancel.is_cancelled());
        assert_eq!(asked.behind, None);
        assert!(!asked.is_front());
    }

    #[test]
    fn other_environments_do_not_wait() {
        let queues = Queues::default();
        let _first = queues.enter(place(), DeploymentId::generate());
        let other = queues.enter(
            ("shop".parse().unwrap(), "staging".parse().unwrap()),
            DeploymentId::generate(),
        );
        assert!(other.is_front());
    }
}
