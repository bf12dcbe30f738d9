//! What happens during a deployment, as typed values: streamed by the API,
//! drawn by the CLI, kept by the audit log.

use std::sync::Arc;

use nonna_model::plan::{StepId, StepKind};
use nonna_model::{DeploymentId, Name, ReleaseNumber};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// In which deployment.
    pub deployment: DeploymentId,
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// It waits for an earlier deployment of the same environment.
    Queued {
        /// The deployment it waits for.
        behind: DeploymentId,
    },
    /// It begins, or goes on after Nonna was started again.
    Started {
        /// Whether it was begun by an earlier process.
        resumed: bool,
    },
    /// A step begins.
    StepStarted {
        /// Which.
        step: StepId,
        /// What it does.
        #[serde(rename = "do")]
        kind: StepKind,
        /// The service it is about.
        service: Option<Name>,
    },
    /// A step tells how far it is.
    StepProgress {
        /// Which.
        step: StepId,
        /// In words.
        message: String,
    },
    /// A build waits for others to end: told again whenever its place changes.
    BuildQueued {
        /// Which step.
        step: StepId,
        /// Its place among those that wait, from 1: the next one.
        position: u32,
        /// How many builds are under way.
        running: u32,
    },
    /// A line that a build printed.
    BuildOutput {
        /// Which step.
        step: StepId,
        /// The line, without its end, control characters removed.
        line: String,
    },
    /// A line that a job printed: a release command, say.
    JobOutput {
        /// Which step.
        step: StepId,
        /// The line, without its end, control characters removed.
        line: String,
    },
    /// A replica's process runs.
    ReplicaStarted {
        /// Which step.
        step: StepId,
        /// Of which release.
        release: ReleaseNumber,
        /// Which replica.
        index: u32,
    },
    /// A replica answered its health check.
    ReplicaHealthy {
        /// Which step.
        step: StepId,
        /// Of which release.
        release: ReleaseNumber,
        /// Which replica.
        index: u32,
        /// What it answered: `GET / → 200 OK in 3 ms`.
        answer: String,
    },
    /// Requests go to the new replicas.
    RoutesSwitched {
        /// Which step.
        step: StepId,
        /// How long the switch itself took, in microseconds.
        micros: u64,
        /// Where the service is reached.
        urls: Vec<String>,
    },
    /// A step is done.
    StepFinished {
        /// Which.
        step: StepId,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepId,
        /// Why.
        error: Error,
    },
    /// What was done is being undone.
    UndoStarted,
    /// A step was undone.
    StepUndone {
        /// Which.
        step: StepId,
    },
    /// It is over.
    Finished {
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The plan is carried out.
    Succeeded,
    /// It failed and the old state stands, or stands again.
    RolledBack {
        /// Why.
        error: Error,
    },
    /// It failed where only forward leads; doing it again goes on from there.
    Failed {
        /// Why.
        error: Error,
    },
}

/// Where a deployment's events go. Emitting never blocks and never fails.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// A sink that nobody reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl EventSink for Discard {
    fn emit(&self, _event: Event) {}
}

/// What an adapter gets to report the progress of one step.
#[derive(Clone)]
pub struct Progress {
    deployment: DeploymentId,
    step: StepId,
    sink: Arc<dyn EventSink>,
}

impl Progress {
    /// Reports for this step of this deployment.
    #[must_use]
    pub fn new(deployment: DeploymentId, step: StepId, sink: Arc<dyn EventSink>) -> Self {
        Self {
            deployment,
            step,
            sink,
        }
    }

    /// Reports to nobody: for one-off calls outside a deployment.
    #[must_use]
    pub fn discard() -> Self {
        Self::new(DeploymentId::generate(), 0, Arc::new(Discard))
    }

    /// The same, telling another sink.
    #[must_use]
    pub fn with_sink(&self, sink: Arc<dyn EventSink>) -> Self {
        Self::new(self.deployment.clone(), self.step, sink)
    }

    /// Where it reports to.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn EventSink> {
        Arc::clone(&self.sink)
    }

    /// The deployment.
    #[must_use]
    pub fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> StepId {
        self.step
    }

    /// Emits any kind of event.
    pub fn emit(&self, kind: EventKind) {
        let at = jiff::Timestamp::now().as_millisecond();
        self.sink.emit(Event {
            deployment: self.deployment.clone(),
            at,
            kind,
        });
    }

    /// Says how far the step is.
    pub fn message(&self, message: impl Into<String>) {
        self.emit(EventKind::StepProgress {
            step: self.step,
            message: message.into(),
        });
    }

    /// Passes on a line that a job printed.
    pub fn job_output(&self, line: &str) {
        let line = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        self.emit(EventKind::JobOutput {
            step: self.step,
            line,
        });
    }

    /// Passes on a line that a build printed.
    pub fn build_output(&self, line: &str) {
        let line = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        self.emit(EventKind::BuildOutput {
            step: self.step,
            line,
        });
    }
}
