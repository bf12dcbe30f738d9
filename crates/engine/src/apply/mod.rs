//! The executor: carries a plan out, step by step, or back.
//!
//! Each step is written to the journal before the world is touched. Steps
//! whose predecessors are done run at the same time. A failure before the
//! commit undoes what was begun, in reverse; after the commit there is only
//! forward. [`Engine::apply`] is called again with the same plan after a crash
//! and goes on from the journal: every step is idempotent, so those of which
//! it is unknown how far they got are simply done, or undone, again.

mod job;
mod push;
mod step;
mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use nonna_model::plan::{Plan, Step, StepId, StepKind};
use nonna_model::{DeploymentId, ServiceId};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::event::{EventKind, EventSink, Outcome, Progress};
use crate::ports::journal::{Entry, Mark};
use crate::ports::{Builder, Journal, Publisher, Router, Runtime};

/// What builds may use.
#[derive(Debug, Clone, Copy)]
pub struct BuildLimits {
    /// The longest a build may take.
    pub timeout: Duration,
    /// The most it may print, in bytes.
    pub output: u64,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30 * 60),
            output: 64 * 1024 * 1024,
        }
    }
}

/// The engine: the ports it works through.
#[derive(Clone)]
pub struct Engine {
    /// Where services run.
    pub runtime: Arc<dyn Runtime>,
    /// What makes images.
    pub builder: Arc<dyn Builder>,
    /// What puts images into registries.
    pub publisher: Arc<dyn Publisher>,
    /// What leads requests to replicas.
    pub router: Arc<dyn Router>,
    /// What remembers.
    pub journal: Arc<dyn Journal>,
    /// What builds may use.
    pub limits: BuildLimits,
}

/// One deployment while it is carried out.
struct Run<'a> {
    engine: &'a Engine,
    deployment: &'a DeploymentId,
    plan: &'a Plan,
    sink: Arc<dyn EventSink>,
    /// The images known so far, by service.
    images: Mutex<BTreeMap<ServiceId, String>>,
}

/// How often a step behind the commit, or an undo, is tried before the
/// deployment is called failed.
const ATTEMPTS: u32 = 4;

impl Engine {
    /// Carries the plan out, or goes on with it where an earlier process died.
    ///
    /// `cancel` leads back to the old state, unless the commit has happened.
    /// Dropping the future is like a crash: call again to go on.
    ///
    /// # Errors
    /// Only where the journal fails: how the deployment itself ended is in the
    /// [`Outcome`].
    pub async fn apply(
        &self,
        deployment: &DeploymentId,
        plan: &Plan,
        sink: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let entries = self.journal.entries(deployment).await?;
        let run = Run {
            engine: self,
            deployment,
            plan,
            sink,
            images: Mutex::new(self.journal.images(deployment).await?),
        };
        run.emit(EventKind::Started {
            resumed: !entries.is_empty(),
        });
        let outcome = match self.journal.turned_back(deployment).await? {
            Some(error) => run.undo(error).await?,
            None => run.forward(&entries, cancel).await?,
        };
        self.journal.finish(deployment, plan, &outcome).await?;
        run.emit(EventKind::Finished {
            outcome: outcome.clone(),
        });
        Ok(outcome)
    }
}

/// How a step ended: done, failed, or the journal failed.
type StepResult = (StepId, Result<Result<()>>);

impl Run<'_> {
    fn emit(&self, kind: EventKind) {
        self.progress(0).emit(kind);
    }

    fn progress(&self, step: StepId) -> Progress {
        Progress::new(self.deployment.clone(), step, Arc::clone(&self.sink))
    }

    fn image(&self, service: &ServiceId) -> Option<String> {
        let known = self
            .images
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(service)
            .cloned();
        known.or_else(|| self.plan.services.get(service)?.release.as_ref()?.image.clone())
    }

    async fn keep_image(&self, service: &ServiceId, image: String) -> Result<()> {
        self.engine
            .journal
            .set_image(self.deployment, service, &image)
            .await?;
        self.images
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(service.clone(), image);
        Ok(())
    }

    fn commit_step(&self) -> Option<StepId> {
        self.plan
            .steps
            .iter()
            .find(|s| s.kind == StepKind::Commit)
            .map(|s| s.id)
    }

    /// Whether the step stands behind the commit (or is the commit).
    fn is_final(&self, step: &Step) -> bool {
        self.commit_step().is_some_and(|commit| step.id >= commit)
    }

    /// The steps that need not be done again after a crash: what came before a
    /// commit that happened, and images that were kept. All else is cheap to
    /// do again, and the world may have changed meanwhile.
    fn settled(&self, entries: &[Entry]) -> BTreeSet<StepId> {
        let mut last: BTreeMap<StepId, Mark> = BTreeMap::new();
        for entry in entries {
            last.insert(entry.step, entry.mark);
        }
        let is_done = |id: StepId| last.get(&id) == Some(&Mark::Done);
        let committed = self.commit_step().filter(|id| is_done(*id));
        self.plan
            .steps
            .iter()
            .filter(|step| match (&step.kind, committed) {
                (_, Some(commit)) if step.id <= commit => true,
                (StepKind::Build { service, also, .. }, _) => {
                    is_done(step.id)
                        && std::iter::once(service)
                            .chain(also)
                            .all(|service| self.image(service).is_some())
                }
                (StepKind::Pull { service }, _) => is_done(step.id) && self.image(service).is_some(),
                // What it changed is not to be changed again.
                (StepKind::RunJob { .. }, _) => is_done(step.id),
                _ => false,
            })
            .map(|step| step.id)
            .collect()
    }

    async fn forward(&self, entries: &[Entry], cancel: &CancellationToken) -> Result<Outcome> {
        let mut done = self.settled(entries);
        self.clear_jobs(&done).await;
        let mut waiting: Vec<&Step> = self.plan.steps.iter().filter(|s| !done.contains(&s.id)).collect();
        // What is under way is told to stop when one of them fails.
        let stop = cancel.child_token();
        let mut under_way = FuturesUnordered::new();
        let mut failure: Option<(bool, Error)> = None;
        loop {
            if failure.is_none() {
                let (ready, rest): (Vec<&Step>, Vec<&Step>) = waiting
                    .iter()
                    .partition(|s| s.after.iter().all(|id| done.contains(id)));
                waiting = rest;
                for step in ready {
                    if cancel.is_cancelled() && !self.is_final(step) {
                        failure = Some((false, Error::cancelled()));
                        break;
                    }
                    under_way.push(self.attempt(step, &stop));
                }
            }
            let Some((id, result)) = under_way.next().await else {
                break;
            };
            match result? {
                Ok(()) => {
                    done.insert(id);
                }
                Err(error) => {
                    let is_final = self.plan.steps.iter().any(|s| s.id == id && self.is_final(s));
                    stop.cancel();
                    // The first failure is the cause; what it made stop says
                    // only that it was stopped.
                    failure.get_or_insert((is_final, error));
                }
            }
        }
        match failure {
            None => Ok(Outcome::Succeeded),
            Some((true, error)) => Ok(Outcome::Failed { error }),
            Some((false, error)) => {
                self.engine.journal.turn_back(self.deployment, &error).await?;
                self.undo(error).await
            }
        }
    }

    /// One step with its lines in the journal.
    async fn attempt(&self, step: &Step, stop: &CancellationToken) -> StepResult {
        (step.id, self.attempt_inner(step, stop).await)
    }

    async fn attempt_inner(&self, step: &Step, stop: &CancellationToken) -> Result<Result<()>> {
        let journal = &self.engine.journal;
        journal
            .record(
                self.deployment,
                Entry {
                    step: step.id,
                    mark: Mark::Begun,
                },
            )
            .await?;
        let service = step
            .kind
            .service()
            .and_then(|id| self.plan.services.get(id))
            .map(|s| s.name.clone());
        self.emit(EventKind::StepStarted {
            step: step.id,
            kind: step.kind.clone(),
            service,
        });
        let begun = Instant::now();
        if step.kind == StepKind::Commit {
            // The journal writes the commit and its mark in one transaction.
            journal.commit(self.deployment, self.plan, step.id).await?;
            self.finished(step.id, begun);
            return Ok(Ok(()));
        }
        let result = if self.is_final(step) {
            // Nothing stops what only leads forward.
            self.persist(step.id, || step::perform(self, step, CancellationToken::new()))
                .await
        } else {
            step::perform(self, step, stop.clone()).await
        };
        match result {
            Ok(()) => {
                journal
                    .record(
                        self.deployment,
                        Entry {
                            step: step.id,
                            mark: Mark::Done,
                        },
                    )
                    .await?;
                // Only now: until the journal knew, what it left told how it ended.
                if matches!(step.kind, StepKind::RunJob { .. }) {
                    self.clear_job(step).await;
                }
                self.finished(step.id, begun);
                Ok(Ok(()))
            }
            Err(error) => {
                journal
                    .record(
                        self.deployment,
                        Entry {
                            step: step.id,
                            mark: Mark::Failed,
                        },
                    )
                    .await?;
                self.emit(EventKind::StepFailed {
                    step: step.id,
                    error: error.clone(),
                });
                Ok(Err(error))
            }
        }
    }

    /// Removes what jobs left whose end the journal knows.
    async fn clear_jobs(&self, done: &BTreeSet<StepId>) {
        for step in &self.plan.steps {
            if matches!(step.kind, StepKind::RunJob { .. }) && done.contains(&step.id) {
                self.clear_job(step).await;
            }
        }
    }

    async fn clear_job(&self, step: &Step) {
        let StepKind::RunJob { service, job } = &step.kind else {
            return;
        };
        let removed = self
            .persist(step.id, || self.engine.runtime.remove_jobs(service, Some(*job)))
            .await;
        if let Err(error) = removed {
            // An ended container: the next deployment, or the next job, clears
            // it away. It is no reason to undo what went well.
            tracing::warn!(%service, %error, "what a job left was not removed");
        }
    }

    fn finished(&self, step: StepId, begun: Instant) {
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.emit(EventKind::StepFinished { step, millis });
    }

    /// Tries what must succeed several times, with growing pauses.
    async fn persist<F, T>(&self, step: StepId, mut action: F) -> Result<()>
    where
        F: FnMut() -> T,
        T: Future<Output = Result<()>>,
    {
        let mut pause = Duration::from_millis(250);
        let mut attempt = 1;
        loop {
            match action().await {
                Err(error) if error.retryable && attempt < ATTEMPTS => {
                    self.progress(step).message(format!("{error} Trying again."));
                    tokio::time::sleep(pause).await;
                    pause *= 3;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }
}
