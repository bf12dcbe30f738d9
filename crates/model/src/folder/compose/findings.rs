//! What is found on the way through Compose files: mistakes, and what is not
//! carried over, each with its file and line.

use std::ops::Range;

use super::super::yaml::Node;
use crate::manifest::{Problem, Problems, Report, nearest, shorten, value::InvalidValue};

struct Mistake {
    file: usize,
    at: Range<usize>,
    message: String,
    suggestion: Option<String>,
}

/// The files that were read, and what was found in them.
#[derive(Default)]
pub(super) struct Findings {
    files: Vec<(String, String)>,
    /// Of files whose text could not even be made out.
    problems: Vec<Problem>,
    mistakes: Vec<Mistake>,
    notes: Vec<(usize, usize, String)>,
}

impl Findings {
    /// Another file; its number.
    pub(super) fn file(&mut self, shown: String, text: String) -> usize {
        self.files.push((shown, text));
        self.files.len() - 1
    }

    /// Mistakes that are complete already.
    pub(super) fn extend(&mut self, problems: Problems) {
        self.problems.extend(problems.0);
    }

    pub(super) fn mistake(&mut self, node: &Node, message: impl Into<String>) {
        self.at(node.file, &node.at, message, None::<String>);
    }

    pub(super) fn suggest(
        &mut self,
        node: &Node,
        message: impl Into<String>,
        suggestion: Option<impl Into<String>>,
    ) {
        self.at(node.file, &node.at, message, suggestion);
    }

    pub(super) fn at(
        &mut self,
        file: usize,
        at: &Range<usize>,
        message: impl Into<String>,
        suggestion: Option<impl Into<String>>,
    ) {
        self.mistakes.push(Mistake {
            file,
            at: at.clone(),
            message: message.into(),
            suggestion: suggestion.map(Into::into),
        });
    }

    /// A value that cannot stand.
    pub(super) fn invalid(&mut self, node: &Node, what: &str, why: InvalidValue) {
        self.suggest(node, format!("`{what}`: {}", why.message), why.suggestion);
    }

    /// A value of the wrong kind.
    pub(super) fn wrong_kind(&mut self, node: &Node, what: &str, expected: &str) {
        self.mistake(node, format!("`{what}` must be {expected}, not {}", node.kind()));
    }

    /// A key that nobody knows.
    pub(super) fn unknown(
        &mut self,
        file: usize,
        at: &Range<usize>,
        name: &str,
        of: &str,
        known: impl Iterator<Item = &'static str>,
    ) {
        let meant = nearest(name, known);
        self.at(
            file,
            at,
            format!("`{}` is nothing that {of} has", shorten(name)),
            meant,
        );
    }

    /// Something that is left behind, or other than it was.
    pub(super) fn note(&mut self, node: &Node, message: impl Into<String>) {
        self.note_at(node.file, &node.at, message);
    }

    pub(super) fn note_at(&mut self, file: usize, at: &Range<usize>, message: impl Into<String>) {
        let message = message.into();
        let line = self.files.get(file).map_or(0, |(_, text)| {
            text.bytes().take(at.start).filter(|b| *b == b'\n').count() + 1
        });
        if !self
            .notes
            .iter()
            .any(|(f, l, m)| (*f, *l) == (file, line) && *m == message)
        {
            self.notes.push((file, line, message));
        }
    }

    /// The notes, in the order of the files, or every mistake.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Problems> {
        let mut problems = std::mem::take(&mut self.problems);
        for (number, (shown, text)) in self.files.iter().enumerate() {
            let mut report = Report::new(shown, text);
            for mistake in self.mistakes.iter().filter(|m| m.file == number) {
                report.suggest(&mistake.at, mistake.message.clone(), mistake.suggestion.clone());
            }
            if let Err(found) = report.finish() {
                problems.extend(found.0);
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        self.notes.sort();
        Ok(self
            .notes
            .iter()
            .map(|(file, line, message)| {
                let shown = self
                    .files
                    .get(*file)
                    .map(|(shown, _)| shown.as_str())
                    .unwrap_or_default();
                format!("{shown}:{line}: {message}")
            })
            .collect())
    }
}
