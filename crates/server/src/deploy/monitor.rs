//! The health monitor: asks the replicas that serve, at the interval of their
//! check, and takes those that fail out of the routes until they answer again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use nonna_engine::ports::runtime::Command;
use nonna_model::observed::Observed;
use nonna_model::{EnvironmentId, ServiceId};
use nonna_store::records::EnvironmentSnapshot;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::health::{Life, life};
use super::manager::{Deployments, lock};
use super::probe::{self, Question};
use super::queue::Place;
use super::reconcile::serving;

/// A replica that is asked now and then.
#[derive(Debug, Clone)]
struct Target {
    place: Place,
    environment: EnvironmentId,
    service: ServiceId,
    index: u32,
    question: Question,
    address: Option<SocketAddr>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    failures: u32,
    next: Instant,
    asking: bool,
}

/// All that are asked.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Mutex<BTreeMap<Life, Target>>,
    changed: Notify,
}

impl Targets {
    fn replace(&self, environment: &EnvironmentId, new: BTreeMap<Life, Target>) {
        let mut all = lock(&self.all);
        all.retain(|life, target| target.environment != *environment || new.contains_key(life));
        for (life, target) in new {
            all.entry(life)
                .and_modify(|known| {
                    known.address = target.address;
                    known.question = target.question.clone();
                })
                .or_insert(target);
        }
        self.changed.notify_one();
    }

    /// Asks none of an environment that is gone.
    pub(super) fn forget(&self, place: &Place) {
        lock(&self.all).retain(|_, target| target.place != *place);
    }

    /// Those whose time has come, and when the next one's will.
    fn due(&self, now: Instant) -> (Vec<(Life, Target)>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (life, target) in lock(&self.all).iter_mut().filter(|(_, t)| !t.asking) {
            if target.next <= now {
                target.asking = true;
                due.push((life.clone(), target.clone()));
            } else {
                next = Some(next.map_or(target.next, |n| n.min(target.next)));
            }
        }
        (due, next)
    }

    /// Notes an answer; answers whether the replica counts as healthy now.
    fn answered(&self, life: &Life, healthy: bool) -> Option<bool> {
        let mut all = lock(&self.all);
        let target = all.get_mut(life)?;
        target.asking = false;
        target.next = Instant::now() + target.interval;
        target.failures = if healthy {
            0
        } else {
            target.failures.saturating_add(1)
        };
        if healthy {
            Some(true)
        } else if target.failures >= target.retries.max(1) {
            Some(false)
        } else {
            None
        }
    }
}

impl Deployments {
    /// Asks the serving replicas of an environment from now on.
    pub(super) fn health_targets(&self, snapshot: &EnvironmentSnapshot, observed: &Observed) {
        let mut targets = BTreeMap::new();
        let now = Instant::now();
        for service in &snapshot.services {
            let Some(current) = &service.current else { continue };
            let spec = &current.release.spec;
            for replica in serving(observed, &service.id, current) {
                let Some((question, address)) = probe::question(&spec.health, spec.protocol, replica.address)
                else {
                    continue;
                };
                let interval = Duration::from_millis(spec.health.interval_ms.max(1_000));
                targets.insert(
                    life(replica),
                    Target {
                        place: (
                            snapshot.scope.project_name.clone(),
                            snapshot.scope.environment_name.clone(),
                        ),
                        environment: snapshot.scope.environment.clone(),
                        service: service.id.clone(),
                        index: replica.index,
                        question,
                        address,
                        interval,
                        timeout: Duration::from_millis(spec.health.timeout_ms.max(100)),
                        retries: spec.health.retries,
                        failures: 0,
                        next: now + interval,
                        asking: false,
                    },
                );
            }
        }
        self.targets.replace(&snapshot.scope.environment, targets);
    }

    /// Asks, until the server stops.
    pub(crate) async fn monitor(self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let (due, next) = self.targets.due(Instant::now());
            for (life, target) in due {
                under_way.push(self.ask(life, target));
            }
            let sleep = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = self.targets.changed.notified() => {}
                () = sleep => {}
                Some((life, target, healthy)) = under_way.next() => {
                    if let Some(healthy) = self.targets.answered(&life, healthy)
                        && self.health.note(&target.service, &life, healthy)
                    {
                        if healthy {
                            tracing::info!(service = %target.service, replica = target.index, "replica is healthy again");
                        } else {
                            tracing::warn!(service = %target.service, replica = target.index, "replica fails its health check and gets no requests");
                        }
                        self.refresh(&target.place).await;
                    }
                }
            }
        }
    }

    async fn ask(&self, life: Life, target: Target) -> (Life, Target, bool) {
        let healthy = match (&target.question, target.address) {
            (Question::Command(command), _) => self.run_check(&target, command.clone()).await,
            (question, Some(address)) => probe::ask(question, address, target.timeout).await,
            (_, None) => true,
        };
        (life, target, healthy)
    }

    async fn run_check(&self, target: &Target, arguments: Vec<String>) -> bool {
        let (input_sender, input) = mpsc::channel(1);
        drop(input_sender);
        let (output, mut printed) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let command = Command {
            arguments,
            terminal: None,
            input,
            output,
        };
        let run = self
            .parts
            .runtime
            .exec(&target.service, Some(target.index), command, &cancel);
        let drain = async { while printed.recv().await.is_some() {} };
        let both = async { tokio::join!(run, drain).0 };
        match tokio::time::timeout(target.timeout, both).await {
            Ok(Ok(code)) => code == 0,
            // That the engine does not answer says nothing of the replica.
            Ok(Err(_)) => true,
            Err(_) => {
                cancel.cancel();
                false
            }
        }
    }
}
