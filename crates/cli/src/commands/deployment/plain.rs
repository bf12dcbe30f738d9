//! Progress as plain lines, the same whenever the same happens: for pipes,
//! files and continuous integration.

use nonna_engine::event::Event;
use nonna_model::plan::Plan;

use super::words::Steps;
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

    /// A remark in between.
    pub(super) fn note(&self, text: &str) {
        self.printer.note(&clean(text));
    }

    /// Something happened.
    pub(super) fn event(&self, event: &Event) {
        if let Some(line) = self.steps.line(event) {
            self.note(&line);
        }
    }
}
