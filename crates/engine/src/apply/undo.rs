//! The way back: what was begun before the commit is undone, in reverse.

use std::time::Duration;

use nonna_model::ServiceId;
use nonna_model::plan::{PlannedService, Step, StepKind};
use tokio_util::sync::CancellationToken;

use super::{Run, step};
use crate::error::{Error, Result};
use crate::event::{EventKind, Outcome};
use crate::ports::journal::{Entry, Mark};

impl Run<'_> {
    /// Undoes every step that was begun and not undone yet. `cause` is why.
    pub(super) async fn undo(&self, cause: Error) -> Result<Outcome> {
        self.emit(EventKind::UndoStarted);
        let journal = &self.engine.journal;
        let entries = journal.entries(self.deployment).await?;
        for step in self.plan.steps.iter().rev() {
            let last = entries.iter().rev().find(|e| e.step == step.id).map(|e| e.mark);
            if matches!(last, None | Some(Mark::Undone)) {
                continue;
            }
            journal
                .record(
                    self.deployment,
                    Entry {
                        step: step.id,
                        mark: Mark::UndoBegun,
                    },
                )
                .await?;
            let result = self.persist(step.id, || self.undo_step(step)).await;
            if let Err(error) = result {
                self.emit(EventKind::StepFailed {
                    step: step.id,
                    error: error.clone(),
                });
                let error = cause
                    .detail(format!("Undoing it failed as well: {error}"))
                    .hint("Mend what stands in the way, then deploy again: it goes on from what is there.");
                return Ok(Outcome::Failed { error });
            }
            journal
                .record(
                    self.deployment,
                    Entry {
                        step: step.id,
                        mark: Mark::Undone,
                    },
                )
                .await?;
            self.emit(EventKind::StepUndone { step: step.id });
        }
        Ok(Outcome::RolledBack { error: cause })
    }

    async fn undo_step(&self, step: &Step) -> Result<()> {
        let runtime = &self.engine.runtime;
        match &step.kind {
            // Planned only where there was none: what is there now is ours.
            StepKind::EnsureNetwork => runtime.remove_network(&self.plan.scope.environment).await,
            StepKind::EnsureVolume { service, volume } => runtime.remove_volume(service, volume).await,
            // What it changed in a database stays changed: only its own maker
            // could undo that. What is left of it goes.
            StepKind::RunJob { service, job } => runtime.remove_jobs(service, Some(*job)).await,
            StepKind::StopReplicas { service, .. } => self.restart_previous(service, step).await,
            StepKind::StartReplicas { service } => {
                let planned = self.planned(service)?;
                let keep = planned
                    .previous
                    .as_ref()
                    .map(|p| (p.release.number, previous_running(planned)));
                // Nothing was led to them, unless routes had been switched,
                // and those are switched back by now.
                step::retire(self, service, keep, Duration::from_secs(1)).await
            }
            StepKind::SwitchRoutes { service } => self.route_to_previous(service).await,
            // Images stay: the next attempt is quicker for it. Behind the commit
            // nothing is undone.
            StepKind::Build { .. }
            | StepKind::Pull { .. }
            | StepKind::Push { .. }
            | StepKind::Commit
            | StepKind::RetireReplicas { .. }
            | StepKind::RemoveRoutes { .. }
            | StepKind::RemoveVolume { .. }
            | StepKind::RemoveNetwork => Ok(()),
        }
    }

    async fn restart_previous(&self, service: &ServiceId, step: &Step) -> Result<()> {
        let planned = self.planned(service)?;
        let Some(previous) = &planned.previous else {
            return Ok(());
        };
        let launch = self.launch(service, planned, &previous.release).await?;
        let count = previous_running(planned);
        let never = CancellationToken::new();
        self.engine
            .runtime
            .start_replicas(&launch, count, &self.progress(step.id), &never)
            .await?;
        self.route_to_previous(service).await
    }

    async fn route_to_previous(&self, service: &ServiceId) -> Result<()> {
        let planned = self.planned(service)?;
        let router = &self.engine.router;
        match &planned.previous {
            Some(previous) if previous.release.spec.port.is_some() => {
                let observed = self.engine.runtime.observe(&self.plan.scope.environment).await?;
                let running = previous_running(planned);
                let routes = self.routes(service, planned, &previous.release, running, &observed);
                router.set_routes(routes).await?;
                Ok(())
            }
            _ => router.remove_routes(service).await,
        }
    }
}

fn previous_running(planned: &PlannedService) -> u32 {
    planned
        .previous
        .as_ref()
        .map_or(0, |p| if p.paused { 0 } else { p.replicas })
}
