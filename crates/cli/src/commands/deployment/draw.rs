//! Progress on a terminal: what runs has a spinner, what a build prints
//! scrolls by below it, what is done stays as a line.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nonna_engine::event::{Event, EventKind};
use nonna_model::plan::{Plan, StepId};

use super::words::{self, Steps};
use crate::output::units::millis;
use crate::output::{Paint, Printer, clean};

/// How many lines of a build's output are seen at once.
const TAIL: usize = 6;
/// How often spinners turn.
const TICK: Duration = Duration::from_millis(100);

/// Draws.
pub(super) struct Drawing<'p> {
    printer: &'p Printer,
    steps: Steps,
    bars: MultiProgress,
    running: BTreeMap<StepId, Running>,
    undoing: bool,
}

struct Running {
    bar: ProgressBar,
    tail: VecDeque<String>,
    tail_bars: Vec<ProgressBar>,
}

impl<'p> Drawing<'p> {
    /// For the steps of a plan.
    pub(super) fn new(printer: &'p Printer, plan: &Plan) -> Self {
        Self {
            printer,
            steps: Steps::of(plan),
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15)),
            running: BTreeMap::new(),
            undoing: false,
        }
    }

    /// A remark in between; it stays.
    pub(super) fn note(&self, text: &str) {
        let _ = self.bars.println(clean(text));
    }

    /// The terminal is left as it should be.
    pub(super) fn end(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            running.clear();
        }
        let _ = self.bars.clear();
    }

    fn keep(&self, mark: &str, paint: Paint, text: &str, weak: &str) {
        let mark = self.printer.paint_err(paint, mark);
        let weak = self.printer.paint_err(Paint::Dim, weak);
        let _ = self.bars.println(format!("{mark} {} {weak}", clean(text)));
    }

    fn begin(&mut self, step: StepId) {
        let title = self.steps.title(step);
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {prefix} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner())
                .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "),
        );
        bar.set_prefix(title);
        bar.enable_steady_tick(TICK);
        self.running.insert(
            step,
            Running {
                bar,
                tail: VecDeque::new(),
                tail_bars: Vec::new(),
            },
        );
    }

    fn message(&self, step: StepId, text: &str) {
        if let Some(running) = self.running.get(&step) {
            running.bar.set_message(self.printer.paint_err(Paint::Dim, text));
        }
    }

    fn output(&mut self, step: StepId, line: &str) {
        let line = self.printer.paint_err(Paint::Dim, line);
        let Some(running) = self.running.get_mut(&step) else {
            return;
        };
        running.tail.push_back(line);
        if running.tail.len() > TAIL {
            running.tail.pop_front();
        } else {
            let last = running.tail_bars.last().unwrap_or(&running.bar);
            let bar = self.bars.insert_after(last, ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("  │ {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            running.tail_bars.push(bar);
        }
        for (bar, line) in running.tail_bars.iter().zip(&running.tail) {
            bar.set_message(line.clone());
        }
    }

    fn finish(&mut self, step: StepId) {
        if let Some(running) = self.running.remove(&step) {
            running.clear();
        }
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Queued { behind } => {
                self.keep(
                    "…",
                    Paint::Notice,
                    "waits for an earlier deployment",
                    &behind.to_string(),
                );
            }
            EventKind::Started { resumed: true } => {
                self.keep("↻", Paint::Notice, "the server was started again and goes on", "");
            }
            EventKind::StepStarted { step, .. } => self.begin(*step),
            EventKind::StepProgress { step, message } => self.message(*step, message),
            EventKind::BuildQueued {
                step,
                position,
                running,
            } => self.message(*step, &words::queued(*position, *running)),
            EventKind::BuildOutput { step, line } | EventKind::JobOutput { step, line } => {
                self.output(*step, line);
            }
            EventKind::ReplicaStarted { step, release, index } => {
                self.message(
                    *step,
                    &format!("replica {index} of {release} runs, waiting for its health check"),
                );
            }
            EventKind::ReplicaHealthy {
                step, index, answer, ..
            } => {
                self.message(*step, &format!("replica {index} is healthy: {answer}"));
            }
            EventKind::StepFinished { step, millis: took } => {
                self.finish(*step);
                self.keep("✓", Paint::Good, &self.steps.title(*step), &millis(*took));
            }
            EventKind::StepFailed { step, error } => {
                self.finish(*step);
                self.keep("✗", Paint::Bad, &self.steps.title(*step), &error.message);
            }
            EventKind::UndoStarted if !self.undoing => {
                self.undoing = true;
                self.keep("↩", Paint::Notice, "undoing what was done", "");
            }
            EventKind::StepUndone { step } => {
                self.finish(*step);
                self.keep("↩", Paint::Notice, &self.steps.title(*step), "undone");
            }
            _ => {}
        }
    }
}

impl Running {
    fn clear(self) {
        for bar in &self.tail_bars {
            bar.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }
}
