//! The ways in which progress is told.

use nonna_engine::event::Event;
use nonna_model::plan::Plan;

use super::draw::Drawing;
use super::plain::Lines;
use crate::output::Printer;

/// How progress is told.
pub(super) enum Progress<'p> {
    /// Redrawn on a terminal.
    Drawing(Drawing<'p>),
    /// Line by line.
    Lines(Lines<'p>),
    /// As one JSON object a line.
    Json(&'p Printer),
    /// Not at all.
    Nothing,
}

impl<'p> Progress<'p> {
    /// The way that fits the flags and the terminal.
    pub(super) fn new(printer: &'p Printer, plan: &Plan) -> Self {
        if printer.is_json() {
            Self::Json(printer)
        } else if printer.is_quiet() {
            Self::Nothing
        } else if printer.can_draw() {
            Self::Drawing(Drawing::new(printer, plan))
        } else {
            Self::Lines(Lines::new(printer, plan))
        }
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: &Event) {
        match self {
            Self::Drawing(drawing) => drawing.event(event),
            Self::Lines(lines) => lines.event(event),
            Self::Json(printer) => printer.json_line(event),
            Self::Nothing => {}
        }
    }

    /// A remark in between.
    pub(super) fn note(&mut self, text: &str) {
        match self {
            Self::Drawing(drawing) => drawing.note(text),
            Self::Lines(lines) => lines.note(text),
            Self::Json(_) | Self::Nothing => {}
        }
    }

    /// Nothing more comes: the terminal is left clean.
    pub(super) fn end(&mut self) {
        if let Self::Drawing(drawing) = self {
            drawing.end();
        }
    }
}
