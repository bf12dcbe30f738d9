//! Takes deployments in, gives each its turn, carries it out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nonna_engine::apply::{BuildLimits, Engine};
use nonna_engine::event::{EventKind, EventSink, Outcome};
use nonna_engine::ports::{Builder, Journal, Publisher, Router, Runtime};
use nonna_engine::{Code, Error, Result};
use nonna_model::build::BuildPlan;
use nonna_model::service::BuildSource;
use nonna_model::{DeploymentId, Name, OrganizationId};
use nonna_store::Store;
use nonna_store::records::{Deployment, DeploymentKind, DeploymentState, Idempotency, NewDeployment};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desired::Planned;
use super::events::Events;
use super::health::Health;
use super::intent::Intent;
use super::monitor::Targets;
use super::provisional::Provisional;
use super::queue::{Place, Queues, Ticket};
use super::routes::{Generation, RouteTable};
use crate::config::Config;
use crate::logs::Logs;
use crate::memory;

/// The kind of the blobs that keep what a deployment that waits was asked for.
pub(super) const INTENT: &str = "deployment-intent";

/// How often a plan is made anew when the state moved under it.
const PLANNINGS: u32 = 5;

/// How many answers without a deployment are remembered.
const MOST_EMPTY: usize = 256;

/// What deployments are made of.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) organization: OrganizationId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) builder: Arc<dyn Builder>,
    /// Where deployments are told of beside what services print.
    pub(crate) logs: Option<Logs>,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) routes: Arc<RouteTable>,
    /// Held from the moment an image is looked for until the store knows that
    /// a deployment needs it, so that nobody removes it in between.
    pub(crate) keeping: Arc<tokio::sync::RwLock<()>>,
}

/// Something that was asked for.
pub(crate) struct Request {
    pub(crate) project: Name,
    pub(crate) environment: Name,
    pub(crate) intent: Intent,
    pub(crate) actor: String,
    /// Only if the plan has this digest.
    pub(crate) plan: Option<String>,
    /// Cancel what is under way or waits.
    pub(crate) replace: bool,
    pub(crate) idempotency: Option<Idempotency>,
}

/// How many deployments ended how, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) succeeded: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) unchanged: AtomicU64,
}

/// Everything about deployments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deployments(Arc<Inner>);

pub(crate) struct Inner {
    pub(super) parts: Parts,
    pub(super) provisional: Provisional,
    pub(super) queues: Queues,
    pub(super) events: Events,
    pub(super) health: Health,
    pub(super) targets: Targets,
    pub(super) counts: Counts,
    pub(crate) tasks: TaskTracker,
    /// Cancelled: no new deployment is taken.
    pub(super) closing: CancellationToken,
    /// Cancelled: deployments are dropped where they are; the journal knows.
    dropping: CancellationToken,
    /// What the routes' generation was when an environment's deployment began.
    pub(super) begun: Mutex<HashMap<Place, Generation>>,
    /// Deployments that had nothing to do: answered, never kept.
    empty: Mutex<BTreeMap<DeploymentId, Deployment>>,
    engine: Engine,
}

impl std::ops::Deref for Deployments {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Locks, whatever a thread that died may have left: all of it is plain data.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deployments {
    /// How source would be built, and why.
    pub(crate) async fn explain(&self, source: &BuildSource, port: Option<u16>) -> Result<BuildPlan> {
        self.parts.builder.explain(source, port).await
    }

    pub(crate) fn new(parts: Parts) -> Self {
        let engine = Engine {
            runtime: Arc::clone(&parts.runtime),
            builder: Arc::clone(&parts.builder),
            publisher: Arc::clone(&parts.publisher),
            router: Arc::clone(&parts.routes) as Arc<dyn Router>,
            journal: Arc::clone(&parts.journal),
            limits: BuildLimits {
                timeout: parts.config.build.timeout,
                output: parts.config.build.output_limit,
            },
        };
        let events = Events::start(Arc::clone(&parts.store));
        Self(Arc::new(Inner {
            parts,
            provisional: Provisional::default(),
            queues: Queues::default(),
            events,
            health: Health::default(),
            targets: Targets::default(),
            counts: Counts::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            dropping: CancellationToken::new(),
            begun: Mutex::default(),
            empty: Mutex::default(),
            engine,
        }))
    }

    /// How many ended how.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where events come from.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// The deployments of an environment that are under way or wait.
    pub(crate) fn under_way(&self, project: &Name, environment: &Name) -> Vec<DeploymentId> {
        self.queues.members(&(project.clone(), environment.clone()))
    }

    /// How many replicas get no requests because they fail their check.
    pub(crate) fn unhealthy(&self) -> usize {
        self.health.count()
    }

    /// How many deployments are under way or wait.
    pub(crate) fn active(&self) -> usize {
        self.queues.len()
    }

    /// Takes a deployment in. It is kept and has begun, or waits, when this
    /// returns; with nothing to do it has succeeded.
    pub(crate) async fn submit(&self, request: Request) -> Result<Deployment> {
        if self.closing.is_cancelled() {
            return Err(Error::provider(
                Code::ServerUnavailable,
                "The server is stopping and takes no more deployments.",
            )
            .hint("Try again in a moment.")
            .retry());
        }
        let this = self.clone();
        // A client that goes away in the middle stops nothing half done.
        let task = self.tasks.spawn(async move { this.take(request).await });
        task.await
            .map_err(|e| Error::bug(format!("taking a deployment in ended early: {e}")))?
    }

    async fn take(&self, request: Request) -> Result<Deployment> {
        let place = (request.project.clone(), request.environment.clone());
        if let Intent::Deploy(desired) = &request.intent {
            self.make_secrets_up(&place, desired, &request.actor).await?;
        }
        if request.replace {
            for id in self.queues.members(&place) {
                self.parts.store.request_cancel(&id).await?;
                self.queues.cancel(&id);
            }
        }
        let id = DeploymentId::generate();
        let mut ticket = self.queues.enter(place.clone(), id.clone());
        if ticket.behind.is_none() {
            // Only Nonna's own work can stand before it, and that gives way.
            ticket.wait().await;
        }
        let keeping = self.parts.keeping.read().await;
        let mut planning = 0;
        let (planned, created) = loop {
            let planned = self.plan(&place, &request.intent).await?;
            check_digest(request.plan.as_deref(), &planned)?;
            if planned.plan.is_empty() && ticket.is_front() {
                return Ok(self.nothing_to_do(id, &request, planned));
            }
            self.keep_declared(&planned).await?;
            if !ticket.is_front() {
                self.keep_intent(&id, &request).await?;
            }
            let new = NewDeployment {
                id: id.clone(),
                kind: request.intent.kind(),
                plan: planned.plan.clone(),
                actor: request.actor.clone(),
                idempotency: request.idempotency.clone(),
            };
            planning += 1;
            match self.parts.store.create_deployment(new).await {
                Err(error)
                    if error.code == Code::PlanChanged && request.plan.is_none() && planning < PLANNINGS => {}
                result => break (planned, result?),
            }
        };
        drop(keeping);
        if created.existed {
            return Ok(created.deployment);
        }
        self.provisional.forget(&place.0, &place.1);
        tracing::info!(
            deployment = %id,
            kind = %request.intent.kind(),
            project = %place.0,
            environment = %place.1,
            actor = %request.actor,
            "deployment taken in"
        );
        let mut deployment = created.deployment;
        if let Some(behind) = ticket.behind.clone().filter(|_| !ticket.is_front()) {
            self.events.now(&id, EventKind::Queued { behind });
            let this = self.clone();
            self.tasks
                .spawn(async move { this.queued(ticket, request.intent, request.plan, planned).await });
        } else {
            self.parts.store.start_deployment(&id).await?;
            deployment.state = DeploymentState::Running;
            self.begin(ticket, deployment.clone());
        }
        Ok(deployment)
    }

    fn nothing_to_do(&self, id: DeploymentId, request: &Request, planned: Planned) -> Deployment {
        self.counts.unchanged.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now().as_millisecond();
        let deployment = Deployment {
            id: id.clone(),
            kind: request.intent.kind(),
            plan: planned.plan,
            actor: request.actor.clone(),
            state: DeploymentState::Succeeded,
            cancel_requested: false,
            outcome: Some(Outcome::Succeeded),
            created_at: now,
            started_at: Some(now),
            finished_at: Some(now),
        };
        let mut empty = lock(&self.empty);
        if empty.len() >= MOST_EMPTY {
            empty.clear();
        }
        empty.insert(id, deployment.clone());
        deployment
    }

    /// A deployment that had nothing to do and was never kept.
    pub(crate) fn empty_one(&self, id: &DeploymentId) -> Option<Deployment> {
        lock(&self.empty).get(id).cloned()
    }

    async fn keep_intent(&self, id: &DeploymentId, request: &Request) -> Result<()> {
        let text = serde_json::to_vec(&(&request.intent, &request.plan))
            .map_err(|e| Error::bug(format!("what was asked for cannot be written: {e}")))?;
        self.parts.store.put_blob(INTENT, id.as_str(), &text).await
    }

    /// Waits for its turn, plans again, and goes on.
    pub(super) async fn queued(
        &self,
        mut ticket: Ticket,
        intent: Intent,
        expected: Option<String>,
        mut planned: Planned,
    ) {
        let cancel = ticket.cancel.clone();
        let id = ticket.id().clone();
        tokio::select! {
            () = ticket.wait() => {}
            () = cancel.cancelled() => return self.end(&id, &planned, Err(Error::cancelled())).await,
            // Its row says that it waits: the next start goes on from there.
            () = self.dropping.cancelled() => return,
        }
        let keeping = self.parts.keeping.read().await;
        let mut planning = 0;
        let started = loop {
            planned = match self.plan(ticket.place(), &intent).await {
                Ok(planned) => planned,
                Err(error) => return self.end(&id, &planned, Err(error)).await,
            };
            if let Err(error) = check_digest(expected.as_deref(), &planned) {
                return self.end(&id, &planned, Err(error)).await;
            }
            if planned.plan.is_empty() {
                return self.end(&id, &planned, Ok(())).await;
            }
            planning += 1;
            match self.start_with(&id, &planned).await {
                Err(error) if error.code == Code::PlanChanged && planning < PLANNINGS => {}
                Err(error) => return self.end(&id, &planned, Err(error)).await,
                Ok(started) => break started,
            }
        };
        drop(keeping);
        let _ = self.parts.store.delete_blob(INTENT, id.as_str()).await;
        match started {
            Some(deployment) => self.begin(ticket, deployment),
            None => tracing::error!(deployment = %id, "a deployment that waited is gone from the store"),
        }
    }

    async fn start_with(&self, id: &DeploymentId, planned: &Planned) -> Result<Option<Deployment>> {
        self.keep_declared(planned).await?;
        self.parts.store.replace_plan(id, &planned.plan).await?;
        self.parts.store.start_deployment(id).await?;
        self.parts.store.deployment(id).await
    }

    /// Ends a deployment that never began.
    pub(super) async fn end(&self, id: &DeploymentId, planned: &Planned, result: Result<()>) {
        let outcome = match result {
            Ok(()) => Outcome::Succeeded,
            Err(error) => Outcome::RolledBack { error },
        };
        if let Err(error) = self.parts.journal.finish(id, &planned.plan, &outcome).await {
            tracing::error!(deployment = %id, %error, "how a deployment ended could not be kept");
        }
        let _ = self.parts.store.delete_blob(INTENT, id.as_str()).await;
        self.count(&outcome);
        self.events.now(id, EventKind::Finished { outcome });
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Succeeded => &self.counts.succeeded,
            Outcome::RolledBack { .. } => &self.counts.rolled_back,
            Outcome::Failed { .. } => &self.counts.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Carries out, in a task of its own, what has its turn.
    pub(super) fn begin(&self, ticket: Ticket, deployment: Deployment) {
        let this = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = Box::pin(this.carry_out(&ticket, &deployment)) => {}
                // As good as a crash: the journal says where to go on.
                () = this.dropping.cancelled() => {
                    tracing::info!(deployment = %deployment.id, "deployment left for the next start");
                }
            }
            drop(ticket);
            // Nobody waits for this any more.
            let _ = tokio::task::spawn_blocking(memory::give_back).await;
        });
    }

    async fn carry_out(&self, ticket: &Ticket, deployment: &Deployment) {
        let place = ticket.place().clone();
        lock(&self.begun).insert(place.clone(), self.parts.routes.now());
        let mut sink: Arc<dyn EventSink> = Arc::new(self.events.clone());
        if let Some(logs) = &self.parts.logs {
            sink = logs.recording(deployment, sink);
        }
        let result = self
            .engine
            .apply(&deployment.id, &deployment.plan, sink, &ticket.cancel)
            .await;
        lock(&self.begun).remove(&place);
        let succeeded = matches!(result, Ok(Outcome::Succeeded));
        match result {
            Ok(outcome) => {
                self.count(&outcome);
                match &outcome {
                    Outcome::Succeeded => tracing::info!(deployment = %deployment.id, "deployment succeeded"),
                    Outcome::RolledBack { error } => {
                        tracing::warn!(deployment = %deployment.id, code = %error.code, %error, "deployment rolled back");
                    }
                    Outcome::Failed { error } => {
                        tracing::error!(deployment = %deployment.id, code = %error.code, %error, "deployment failed");
                    }
                }
            }
            // The journal failed: nothing more is known than that. The row
            // still says running, and the next start goes on.
            Err(error) => {
                tracing::error!(deployment = %deployment.id, code = %error.code, %error, "the journal failed under a deployment");
                self.events.now(
                    &deployment.id,
                    EventKind::Finished {
                        outcome: Outcome::Failed { error },
                    },
                );
            }
        }
        if deployment.kind == DeploymentKind::Destroy {
            self.health.forget_removed(&deployment.plan);
        }
        if let (Some(logs), true) = (&self.parts.logs, succeeded) {
            logs.forget_removed(&deployment.plan);
        }
        self.refresh(&place).await;
    }

    /// Cancels a deployment; answers how far it is.
    pub(crate) async fn cancel(&self, id: &DeploymentId) -> Result<DeploymentState> {
        if let Some(empty) = self.empty_one(id) {
            return Ok(empty.state);
        }
        let state = self.parts.store.request_cancel(id).await?;
        if !state.is_finished() {
            self.queues.cancel(id);
        }
        Ok(state)
    }

    /// Takes no more, gives what is under way `patience` to end, and leaves
    /// the rest to the next start.
    pub(crate) async fn close(&self, patience: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            self.dropping.cancel();
            // Dropping runs at the next await of each: soon.
            let _ = tokio::time::timeout(Duration::from_secs(2), self.tasks.wait()).await;
        }
        self.events.flush().await;
    }
}

fn check_digest(expected: Option<&str>, planned: &Planned) -> Result<()> {
    match expected {
        Some(expected) if expected != planned.plan.digest() => Err(Error::user(
            Code::PlanChanged,
            "The plan is not the one that was agreed to any more.",
        )
        .hint("Look at it again: `nonna plan`.")),
        _ => Ok(()),
    }
}
