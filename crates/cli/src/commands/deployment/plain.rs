//! Progress as plain lines, the same whenever the same happens: for pipes,
//! files and continuous integration.

use nonna_engine::event::{Event, EventKind};
use nonna_model::plan::{Plan, StepId};

use super::words::{self, Steps};
use crate::output::units::millis;
use crate::output::{Printer, clean};

/// Writes lines.
pub(super) struct Lines<'p> {
    printer: &'p Printer,
    steps: Steps,
}

impl<'p> Lines<'p> {
    /// For the steps of a plan.
    pub(super) fn new(printer: &'p Printer, plan: &Plan) -> Self {
        Self {
            printer,
            steps: Steps::of(plan),
        }
    }

    fn say(&self, step: StepId, text: &str) {
        self.printer
            .note(&format!("[{}] {}", self.steps.title(step), clean(text)));
    }

    /// A remark in between.
    pub(super) fn note(&self, text: &str) {
        self.printer.note(&clean(text));
    }

    /// Something happened.
    pub(super) fn event(&self, event: &Event) {
        match &event.kind {
            EventKind::Queued { behind } => self.note(&format!("Waiting for the deployment {behind} to end")),
            EventKind::Started { resumed: true } => self.note("The server was started again and goes on"),
            EventKind::StepStarted { step, .. } => self.say(*step, "begins"),
            EventKind::StepProgress { step, message } => self.say(*step, message),
            EventKind::BuildQueued {
                step,
                position,
                running,
            } => self.say(*step, &words::queued(*position, *running)),
            EventKind::BuildOutput { step, line } | EventKind::JobOutput { step, line } => {
                self.say(*step, &format!("| {line}"));
            }
            EventKind::ReplicaStarted { step, release, index } => {
                self.say(*step, &format!("replica {index} of {release} runs"));
            }
            EventKind::ReplicaHealthy {
                step,
                release,
                index,
                answer,
            } => self.say(
                *step,
                &format!("replica {index} of {release} is healthy: {answer}"),
            ),
            EventKind::RoutesSwitched { step, micros, .. } => {
                self.say(
                    *step,
                    &format!("requests go to the new replicas (switched in {micros} µs)"),
                );
            }
            EventKind::StepFinished { step, millis: took } => {
                self.say(*step, &format!("done in {}", millis(*took)));
            }
            EventKind::StepFailed { step, error } => self.say(*step, &format!("failed: {}", error.message)),
            EventKind::UndoStarted => self.note("Undoing what was done"),
            EventKind::StepUndone { step } => self.say(*step, "undone"),
            // The end is told by the result; what a newer server may add is
            // not known here.
            _ => {}
        }
    }
}
