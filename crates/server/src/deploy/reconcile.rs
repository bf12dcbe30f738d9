//! Keeping what runs as it was deployed: routes follow replicas that come back
//! at other addresses, and replicas that are gone are started again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nonna_engine::Result;
use nonna_engine::event::Progress;
use nonna_engine::ports::router::ServiceRoutes;
use nonna_engine::ports::runtime::{Launch, RuntimeEvent};
use nonna_model::observed::{Observed, ObservedReplica, ReplicaState};
use nonna_model::plan::{CurrentRelease, Scope};
use nonna_model::service::RestartPolicy;
use nonna_model::{EnvironmentId, ServiceId};
use nonna_store::records::{EnvironmentSnapshot, Service};

use super::health;
use super::manager::{Deployments, lock};
use super::queue::Place;
use super::routes::Generation;

/// How often everything is looked at, whatever the runtime said.
const PERIOD: Duration = Duration::from_secs(30);
/// How long changes are gathered before they are looked at: several replicas
/// start and end at once.
const GATHER: Duration = Duration::from_millis(100);
/// The first and the longest pause before a service's replicas are started
/// again after that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// A service whose replicas could not be started.
struct Failing {
    pause: Duration,
    until: Instant,
}

fn place(scope: &Scope) -> Place {
    (scope.project_name.clone(), scope.environment_name.clone())
}

/// The replicas of the current release that should get requests, if healthy.
pub(super) fn serving<'a>(
    observed: &'a Observed,
    service: &ServiceId,
    current: &CurrentRelease,
) -> Vec<&'a ObservedReplica> {
    let wanted = if current.paused { 0 } else { current.replicas };
    observed
        .replicas_of(service)
        .into_iter()
        .filter(|r| r.release == current.release.number && r.index < wanted && r.state.is_running())
        .collect()
}

impl Deployments {
    /// Makes every route right from the store and one observation.
    pub(crate) async fn restore_routes(&self) -> Result<()> {
        let seen = self.parts.routes.now();
        let snapshots = self.parts.store.snapshots().await?;
        let observed = match self.parts.runtime.observe_all().await {
            Ok(observed) => observed,
            Err(error) => {
                // The table must hold every host, so that people read that the
                // service is down, not that there is none.
                tracing::warn!(%error, "the container engine could not be asked for the replicas");
                Vec::new()
            }
        };
        for snapshot in &snapshots {
            let nothing = Observed::nothing(snapshot.scope.environment.clone());
            let found = observed
                .iter()
                .find(|o| o.environment == snapshot.scope.environment)
                .unwrap_or(&nothing);
            self.route(snapshot, found, seen).await;
        }
        Ok(())
    }

    /// Brings an environment's routes up to date.
    pub(super) async fn refresh(&self, place: &Place) {
        let organization = &self.parts.organization;
        let seen = self.seen(place);
        let snapshot = self
            .parts
            .store
            .environment_snapshot(organization, &place.0, &place.1)
            .await;
        match snapshot {
            Ok(Some(snapshot)) => {
                self.refresh_snapshot(&snapshot, seen).await;
            }
            Ok(None) => self.targets.forget(place),
            Err(error) => tracing::warn!(%error, "routes were not brought up to date"),
        }
    }

    async fn refresh_snapshot(&self, snapshot: &EnvironmentSnapshot, seen: Generation) -> Option<Observed> {
        match self.parts.runtime.observe(&snapshot.scope.environment).await {
            Ok(observed) => {
                self.route(snapshot, &observed, seen).await;
                Some(observed)
            }
            Err(error) => {
                tracing::warn!(%error, environment = %snapshot.scope.environment, "an environment could not be observed");
                None
            }
        }
    }

    /// The last switch that a refresh may follow: what a deployment that is
    /// under way has switched itself is its own.
    fn seen(&self, place: &Place) -> Generation {
        let now = self.parts.routes.now();
        lock(&self.begun).get(place).copied().unwrap_or(now)
    }

    async fn route(&self, snapshot: &EnvironmentSnapshot, observed: &Observed, seen: Generation) {
        for service in &snapshot.services {
            let Some(current) = &service.current else { continue };
            let replicas = serving(observed, &service.id, current);
            let lives: BTreeSet<_> = replicas.iter().map(|r| health::life(r)).collect();
            self.health.keep_only(&service.id, &lives);
            if current.release.spec.port.is_none() {
                continue;
            }
            let routable = self.health.routable(&service.id, replicas);
            let scope = &snapshot.scope;
            let routes = ServiceRoutes {
                service: service.id.clone(),
                label: format!(
                    "{}/{}/{}",
                    scope.project_name, scope.environment_name, service.name
                ),
                routes: current.release.spec.routes.clone(),
                upstreams: routable.iter().filter_map(|r| r.address).collect(),
                protocol: current.release.spec.protocol,
                paused: current.paused,
            };
            match self.parts.routes.refresh(seen, routes).await {
                Ok(true) => tracing::debug!(service = %service.id, "routes brought up to date"),
                Ok(false) => {}
                Err(error) => tracing::warn!(service = %service.id, %error, "routes could not be set"),
            }
        }
        self.health_targets(snapshot, observed);
    }

    /// Watches the runtime and looks at everything now and then, until the
    /// server stops.
    pub(crate) async fn reconcile(self) {
        let mut events = self.parts.runtime.watch();
        let mut failing: HashMap<ServiceId, Failing> = HashMap::new();
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once, and the start has looked already.
        tick.tick().await;
        loop {
            let mut changed: BTreeSet<EnvironmentId> = BTreeSet::new();
            let mut everything = false;
            tokio::select! {
                () = self.closing.cancelled() => return,
                _ = tick.tick() => everything = true,
                event = events.next() => match event {
                    Some(event) => {
                        note(event, &mut changed, &mut everything);
                        let deadline = tokio::time::sleep(GATHER);
                        tokio::pin!(deadline);
                        loop {
                            tokio::select! {
                                () = &mut deadline => break,
                                Some(event) = events.next() => note(event, &mut changed, &mut everything),
                            }
                        }
                    }
                    // The contract says it never ends; without it the ticks remain.
                    None => tokio::time::sleep(GATHER).await,
                },
            }
            self.look(&changed, everything, &mut failing).await;
        }
    }

    async fn look(
        &self,
        changed: &BTreeSet<EnvironmentId>,
        everything: bool,
        failing: &mut HashMap<ServiceId, Failing>,
    ) {
        // Before the store is read: what a deployment switches from here on
        // must win over what is read now.
        let all_seen = self.parts.routes.now();
        let snapshots = match self.parts.store.snapshots().await {
            Ok(snapshots) => snapshots,
            Err(error) => {
                tracing::warn!(%error, "the store could not be read");
                return;
            }
        };
        let observed: BTreeMap<EnvironmentId, Observed> = if everything {
            match self.parts.runtime.observe_all().await {
                Ok(all) => all.into_iter().map(|o| (o.environment.clone(), o)).collect(),
                Err(error) => {
                    tracing::warn!(%error, "the container engine could not be asked for the replicas");
                    return;
                }
            }
        } else {
            BTreeMap::new()
        };
        for snapshot in &snapshots {
            let id = &snapshot.scope.environment;
            if !everything && !changed.contains(id) {
                continue;
            }
            let seen = self.seen(&place(&snapshot.scope)).min(all_seen);
            let observed = if everything {
                let nothing = Observed::nothing(id.clone());
                let found = observed.get(id).cloned().unwrap_or(nothing);
                self.route(snapshot, &found, seen).await;
                found
            } else {
                match self.refresh_snapshot(snapshot, seen).await {
                    Some(observed) => observed,
                    None => continue,
                }
            };
            self.mend(snapshot, &observed, failing).await;
        }
    }

    /// Starts the replicas that should run and are not there.
    async fn mend(
        &self,
        snapshot: &EnvironmentSnapshot,
        observed: &Observed,
        failing: &mut HashMap<ServiceId, Failing>,
    ) {
        for service in &snapshot.services {
            let Some(current) = service.current.as_ref().filter(|c| !c.paused) else {
                continue;
            };
            if !is_missing(observed, &service.id, current) {
                failing.remove(&service.id);
                continue;
            }
            if failing.get(&service.id).is_some_and(|f| f.until > Instant::now()) {
                continue;
            }
            if let Err(error) = self.start_again(&snapshot.scope, service).await {
                let pause = failing
                    .get(&service.id)
                    .map_or(FIRST_PAUSE, |f| (f.pause * 2).min(LONGEST_PAUSE));
                tracing::warn!(
                    service = %service.id, name = %service.name, code = %error.code, %error,
                    again_in_s = pause.as_secs(), "replicas could not be started again"
                );
                failing.insert(
                    service.id.clone(),
                    Failing {
                        pause,
                        until: Instant::now() + pause,
                    },
                );
            }
        }
    }

    async fn start_again(&self, scope: &Scope, service: &Service) -> Result<()> {
        let Some(ticket) = self.queues.try_enter(place(scope)) else {
            // A deployment is under way: it sees to it.
            return Ok(());
        };
        // With the turn taken, what is read now stays true.
        let organization = &self.parts.organization;
        let (project, environment) = ticket.place();
        let snapshot = self
            .parts
            .store
            .environment_snapshot(organization, project, environment)
            .await?;
        let current = snapshot
            .as_ref()
            .and_then(|s| s.services.iter().find(|s| s.id == service.id))
            .and_then(|s| s.current.clone())
            .filter(|c| !c.paused);
        let observed = self.parts.runtime.observe(&scope.environment).await?;
        let Some(current) = current.filter(|c| is_missing(&observed, &service.id, c)) else {
            return Ok(());
        };
        let Some(image) = current.release.image.clone() else {
            return Ok(());
        };
        tracing::info!(service = %service.id, name = %service.name, "replicas are gone and started again");
        self.parts.runtime.ensure_network(scope).await?;
        for mount in &current.release.spec.volumes {
            self.parts
                .runtime
                .ensure_volume(scope, &service.id, &mount.name)
                .await?;
        }
        let launch = Launch {
            origin: self.parts.journal.origin(&image).await?,
            scope: scope.clone(),
            service: service.id.clone(),
            service_name: service.name.clone(),
            release: current.release.number,
            image,
            secrets: self
                .parts
                .journal
                .open_secrets(&service.id, &current.release.spec.secrets)
                .await?,
            spec: current.release.spec,
        };
        let started = self
            .parts
            .runtime
            .start_replicas(&launch, current.replicas, &Progress::discard(), &ticket.cancel)
            .await;
        if ticket.cancel.is_cancelled() {
            // Somebody deploys: whatever came of it is theirs to see to.
            return Ok(());
        }
        started?;
        let place = ticket.place().clone();
        self.refresh(&place).await;
        Ok(())
    }
}

fn note(event: RuntimeEvent, changed: &mut BTreeSet<EnvironmentId>, everything: &mut bool) {
    match event {
        RuntimeEvent::Changed { environment } => {
            changed.insert(environment);
        }
        RuntimeEvent::Resumed => *everything = true,
    }
}

/// Whether replicas that should run are not there, or have ended for good. One
/// that the runtime itself starts again is there.
fn is_missing(observed: &Observed, service: &ServiceId, current: &CurrentRelease) -> bool {
    let replicas = observed.replicas_of(service);
    let present = |index: u32| {
        replicas.iter().any(|r| {
            r.release == current.release.number
                && r.index == index
                && match (&r.state, current.release.spec.restart) {
                    (ReplicaState::Running | ReplicaState::Restarting, _) | (_, RestartPolicy::Never) => true,
                    (ReplicaState::Exited { code, out_of_memory }, RestartPolicy::OnFailure) => {
                        *code == 0 && !out_of_memory
                    }
                    _ => false,
                }
        })
    };
    !(0..current.replicas).all(present)
}
