//! Mistakes in a manifest: where they are, what is wrong, how to mend them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How many mistakes are listed at most. A file with more is no manifest, and
/// nobody reads further.
pub const MAX_PROBLEMS: usize = 500;

/// How much of a line is shown around a mistake, in characters.
const EXCERPT: usize = 120;
/// How much of the offending text is repeated, in characters.
const OFFENDING: usize = 80;

/// One mistake in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file, as its reader named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The text that is wrong, shortened, without control characters.
    pub offending: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write in its place, where that can be guessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The line itself, or the part of it around the mistake.
    pub excerpt: String,
    /// Which characters of the excerpt are wrong: the first one, from 0.
    pub caret: usize,
    /// How many characters of the excerpt are wrong; at least 1.
    pub length: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// Every mistake in a manifest, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            let number = problem.line.to_string();
            let margin = " ".repeat(number.len());
            writeln!(f, "{problem}")?;
            writeln!(f, "  {margin} |")?;
            writeln!(f, "  {number} | {}", problem.excerpt)?;
            writeln!(
                f,
                "  {margin} | {}{}",
                " ".repeat(problem.caret),
                "^".repeat(problem.length.max(1))
            )?;
        }
        let mut files: Vec<&str> = self.0.iter().map(|p| p.file.as_str()).collect();
        files.dedup();
        let file = if files.is_empty() {
            "the manifest".to_owned()
        } else {
            files.join(" and ")
        };
        match self.0.len() {
            1 => write!(f, "1 mistake in {file}"),
            MAX_PROBLEMS => write!(f, "{MAX_PROBLEMS} mistakes in {file}; the rest is not listed"),
            count => write!(f, "{count} mistakes in {file}"),
        }
    }
}

/// A manifest's text with what is wrong in it.
pub(crate) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
    found: Vec<Problem>,
    // Tells a mistake that was met twice, once in a service and once in an
    // environment that inherits it.
    seen: BTreeSet<(usize, String)>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            file,
            text,
            line_starts,
            found: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// The line, from 0, in which a byte stands.
    pub(crate) fn line_of(&self, byte: usize) -> usize {
        self.line_starts
            .partition_point(|start| *start <= byte)
            .saturating_sub(1)
    }

    /// The bytes of a line, from 0, without its end.
    pub(crate) fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        let end = self
            .line_starts
            .get(line + 1)
            .map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }

    /// How many lines there are.
    pub(crate) fn lines(&self) -> usize {
        self.line_starts.len()
    }

    /// Notes a mistake that cannot be guessed right.
    pub(crate) fn add(&mut self, at: &Range<usize>, message: impl Into<String>) {
        self.push(at, message.into(), None);
    }

    /// Notes a mistake with what to write in its place, if that is known.
    pub(crate) fn suggest(
        &mut self,
        at: &Range<usize>,
        message: impl Into<String>,
        suggestion: Option<impl Into<String>>,
    ) {
        self.push(at, message.into(), suggestion.map(Into::into));
    }

    fn push(&mut self, at: &Range<usize>, message: String, suggestion: Option<String>) {
        if self.is_full() || !self.seen.insert((at.start, message.clone())) {
            return;
        }
        let start = floor(self.text, at.start);
        let end = floor(self.text, at.end.max(start));
        let line = self.line_of(start);
        let range = self.line_range(line);
        let whole = self.text[range.clone()].trim_end_matches('\r');
        let before = self.text[range.start..start.min(range.end)].chars().count();
        let within_line = &self.text[start.min(range.end)..end.min(range.end).max(start.min(range.end))];
        let width = within_line.trim_end().chars().count();
        // A line that fits is shown whole.
        let from = if whole.chars().nth(EXCERPT).is_none() {
            0
        } else {
            before.saturating_sub(EXCERPT / 2)
        };
        let excerpt: String = whole.chars().skip(from).take(EXCERPT).map(visible).collect();
        let caret = before - from;
        let room = excerpt.chars().count().saturating_sub(caret);
        self.found.push(Problem {
            file: self.file.to_owned(),
            line: line + 1,
            column: before + 1,
            offending: shorten(&self.text[start..end]),
            message,
            suggestion,
            excerpt,
            caret,
            length: width.min(room).max(1),
        });
    }

    /// Whether nothing more will be listed, so that nothing more needs to be
    /// guessed.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_PROBLEMS
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order of the file.
    pub(crate) fn finish(mut self) -> Result<(), Problems> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        Err(Problems(self.found))
    }
}

/// The next lower place where a character begins.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// No control character of a file may reach a terminal.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || is_bidirectional(c) => '\u{fffd}',
        c => c,
    }
}

/// Characters that make a line look other than it is.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// A text made fit to be repeated in a message: one line, short, visible.
pub(crate) fn shorten(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars.by_ref().take(OFFENDING).map(visible).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}
