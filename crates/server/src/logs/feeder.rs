//! Has the output of every replica captured, as replicas come and go.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::runtime::RuntimeEvent;
use nonna_logs::LogProxy;
use nonna_logs::capture::{Capture, Container, pump};
use nonna_model::observed::{Observed, ObservedReplica, ReplicaState};
use nonna_model::{EnvironmentId, ServiceId};
use nonna_store::Store;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::label;

/// How often everything is looked at, whatever the runtime said.
const PERIOD: Duration = Duration::from_secs(30);
/// How long changes are gathered: several replicas start and end at once.
const GATHER: Duration = Duration::from_millis(50);
/// A replica that runs though its output ended is read again after this long.
const AGAIN: Duration = Duration::from_secs(5);

/// What the feeder needs.
pub(crate) struct Feeder {
    pub(crate) proxy: Arc<LogProxy>,
    pub(crate) capture: Arc<dyn Capture>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) store: Arc<dyn Store>,
}

/// One life of a replica, from one start to the next.
type Life = Option<i64>;

#[derive(Default)]
struct State {
    /// What is being read. Dropping it ends the reading.
    pumps: HashMap<Arc<str>, Pumping>,
    /// What was read to its end, and when.
    done: HashMap<Arc<str>, (Life, Instant)>,
}

struct Pumping {
    life: Life,
    /// `None`: of a replica that is gone.
    environment: Option<EnvironmentId>,
    task: AbortHandle,
}

impl Drop for Pumping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feeder {
    /// Feeds until `closing`.
    pub(crate) async fn run(self, closing: CancellationToken) {
        let mut events = self.runtime.watch();
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut state = State::default();
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changed: BTreeSet<EnvironmentId> = BTreeSet::new();
        loop {
            let mut everything = false;
            let mut note = |event| match event {
                RuntimeEvent::Changed { environment } => {
                    changed.insert(environment);
                }
                RuntimeEvent::Resumed => everything = true,
            };
            tokio::select! {
                () = closing.cancelled() => return,
                _ = tick.tick() => note(RuntimeEvent::Resumed),
                Some(event) = events.next() => note(event),
                Some(id) = ends.recv() => {
                    if let Some(environment) = state.finished(&id) {
                        note(RuntimeEvent::Changed { environment });
                    }
                }
            }
            tokio::time::sleep(GATHER).await;
            while let Some(Some(event)) = futures_util::FutureExt::now_or_never(events.next()) {
                note(event);
            }
            let observed = if everything {
                changed.clear();
                self.runtime.observe_all().await
            } else {
                let mut seen = Vec::new();
                for environment in std::mem::take(&mut changed) {
                    if let Ok(observed) = self.runtime.observe(&environment).await {
                        seen.push(observed);
                    }
                }
                Ok(seen)
            };
            match observed {
                Ok(observed) => self.look(&observed, everything, &mut state, &ended).await,
                // The runtime says when it is there again.
                Err(error) => tracing::debug!(%error, "replicas could not be observed for their output"),
            }
        }
    }

    async fn look(
        &self,
        observed: &[Observed],
        everything: bool,
        state: &mut State,
        ended: &mpsc::UnboundedSender<Arc<str>>,
    ) {
        if everything {
            let there: BTreeSet<&str> = observed
                .iter()
                .flat_map(|observed| &observed.replicas)
                .map(|replica| replica.id.as_str())
                .collect();
            state.done.retain(|id, _| there.contains(&**id));
            for left in self.capture.left() {
                if !there.contains(&*left.id) && !state.pumps.contains_key(&left.id) {
                    self.begin(left, None, None, state, ended);
                }
            }
            // What is being read may be gone already and not read to its end.
            self.proxy
                .retain_positions(|id| there.contains(id) || state.pumps.contains_key(id));
        }
        let due: Vec<(&Observed, &ObservedReplica)> = observed
            .iter()
            .flat_map(|observed| observed.replicas.iter().map(move |replica| (observed, replica)))
            .filter(|(_, replica)| state.is_due(replica))
            .collect();
        if due.is_empty() {
            return;
        }
        let labels = match self.labels().await {
            Ok(labels) => labels,
            Err(error) => {
                tracing::warn!(%error, "the store could not be read; output is captured later");
                return;
            }
        };
        for (observed, replica) in due {
            let Some(service) = labels.get(&replica.service) else {
                continue;
            };
            let container = Container {
                id: replica.id.as_str().into(),
                service: Arc::clone(service),
                replica: format!("{}.{}", replica.release, replica.index).into(),
            };
            let (life, of) = (replica.started_at, Some(observed.environment.clone()));
            self.begin(container, life, of, state, ended);
        }
    }

    fn begin(
        &self,
        container: Container,
        life: Life,
        environment: Option<EnvironmentId>,
        state: &mut State,
        ended: &mpsc::UnboundedSender<Arc<str>>,
    ) {
        let id = Arc::clone(&container.id);
        let (proxy, capture) = (Arc::clone(&self.proxy), Arc::clone(&self.capture));
        let ended = ended.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = pump(&proxy, capture.as_ref(), &container).await {
                tracing::warn!(%error, service = %container.service, replica = %container.replica, "the output of a replica cannot be captured");
            }
            // Nobody hears it only while the server stops.
            let _ = ended.send(container.id);
        });
        let pumping = Pumping {
            life,
            environment,
            task: task.abort_handle(),
        };
        state.pumps.insert(id, pumping);
    }

    /// By service: its label.
    async fn labels(&self) -> nonna_engine::Result<HashMap<ServiceId, Arc<str>>> {
        let mut labels = HashMap::new();
        for snapshot in self.store.snapshots().await? {
            for service in snapshot.services {
                let of = label(&snapshot.scope, service.name.as_str());
                labels.insert(service.id, of.into());
            }
        }
        Ok(labels)
    }
}

impl State {
    /// Takes note that a replica's output has ended; answers its environment.
    fn finished(&mut self, id: &Arc<str>) -> Option<EnvironmentId> {
        let pumping = self.pumps.remove(id)?;
        self.done.insert(Arc::clone(id), (pumping.life, Instant::now()));
        pumping.environment.clone()
    }

    /// Whether its output is to be read now.
    fn is_due(&self, replica: &ObservedReplica) -> bool {
        if replica.state == ReplicaState::Created || self.pumps.contains_key(replica.id.as_str()) {
            return false;
        }
        match self.done.get(replica.id.as_str()) {
            None => true,
            Some((life, _)) if *life != replica.started_at => true,
            Some((_, at)) => replica.state.is_running() && at.elapsed() >= AGAIN,
        }
    }
}
