//! What Nonna itself does, as records beside those of the services: deployments
//! and builds.

use std::sync::Arc;

use nonna_engine::event::{Event, EventKind, EventSink, Outcome};
use nonna_engine::words::Steps;
use nonna_logs::{Batch, Level, LogProxy, Record, Refused, Source, Stream};
use nonna_model::plan::{Plan, StepId};
use nonna_store::records::Deployment;

use super::label;

/// Under this name stands what is of no single service.
const ENVIRONMENT: &str = "nonna";

/// Keeps a deployment's events as records, and passes them on.
pub(crate) struct Recording {
    inner: Arc<dyn EventSink>,
    proxy: Arc<LogProxy>,
    plan: Plan,
    steps: Steps,
}

impl Recording {
    pub(crate) fn new(proxy: Arc<LogProxy>, deployment: &Deployment, inner: Arc<dyn EventSink>) -> Self {
        Self {
            inner,
            proxy,
            steps: Steps::of(&deployment.plan),
            plan: deployment.plan.clone(),
        }
    }

    fn source(&self, step: Option<StepId>) -> Arc<Source> {
        let service = step.and_then(|step| self.steps.service(step));
        let release = service.and_then(|name| {
            let planned = self
                .plan
                .services
                .values()
                .find(|planned| planned.name.as_str() == name)?;
            Some(planned.release.as_ref()?.number.to_string())
        });
        Source::new(
            &label(&self.plan.scope, service.unwrap_or(ENVIRONMENT)),
            release.as_deref().unwrap_or_default(),
            Stream::Nonna,
        )
    }
}

fn step_of(kind: &EventKind) -> Option<StepId> {
    match kind {
        EventKind::StepStarted { step, .. }
        | EventKind::StepProgress { step, .. }
        | EventKind::BuildQueued { step, .. }
        | EventKind::BuildOutput { step, .. }
        | EventKind::JobOutput { step, .. }
        | EventKind::ReplicaStarted { step, .. }
        | EventKind::ReplicaHealthy { step, .. }
        | EventKind::RoutesSwitched { step, .. }
        | EventKind::StepFinished { step, .. }
        | EventKind::StepFailed { step, .. }
        | EventKind::StepUndone { step } => Some(*step),
        _ => None,
    }
}

/// The event's stable word, and how serious it is; `None` for the lines of
/// programs, which say themselves how serious they are.
fn kind(kind: &EventKind) -> (&'static str, Option<Level>) {
    match kind {
        EventKind::BuildOutput { .. } => ("build", None),
        EventKind::JobOutput { .. } => ("job", None),
        EventKind::StepFailed { .. }
        | EventKind::Finished {
            outcome: Outcome::Failed { .. } | Outcome::RolledBack { .. },
        } => ("deployment", Some(Level::Error)),
        EventKind::UndoStarted | EventKind::StepUndone { .. } => ("deployment", Some(Level::Warn)),
        _ => ("deployment", Some(Level::Info)),
    }
}

/// The event as a line; `None` where nothing is to be told.
fn line(steps: &Steps, event: &Event) -> Option<String> {
    match &event.kind {
        EventKind::BuildOutput { line, .. } | EventKind::JobOutput { line, .. } => Some(line.clone()),
        EventKind::Started { resumed: false } => Some("deployment begins".to_owned()),
        EventKind::Started { resumed: true } => Some("deployment goes on".to_owned()),
        EventKind::Finished { outcome } => Some(match outcome {
            Outcome::Succeeded => "deployment succeeded".to_owned(),
            Outcome::RolledBack { error } => format!("deployment rolled back: {}", error.message),
            Outcome::Failed { error } => format!("deployment failed: {}", error.message),
        }),
        _ => steps.line(event),
    }
}

impl EventSink for Recording {
    fn emit(&self, event: Event) {
        if let Some(text) = line(&self.steps, &event) {
            let source = self.source(step_of(&event.kind));
            let (word, level) = kind(&event.kind);
            let mut batch = Batch::new();
            let index = batch.source(&source);
            batch.push(
                index,
                &Record {
                    time: Some(event.at.saturating_mul(1_000_000)),
                    level,
                    fields: &[("kind", word), ("deployment", event.deployment.as_str())],
                    line: text.as_bytes(),
                },
            );
            match self.proxy.intake().try_push(batch) {
                Ok(ack) => ack.ignore(),
                Err(Refused::Full(batch)) => {
                    self.proxy.intake().dropped(
                        &source,
                        "too much waited to be written down",
                        batch.len() as u64,
                    );
                }
                Err(Refused::Closed(_)) => {}
            }
        }
        self.inner.emit(event);
    }
}
