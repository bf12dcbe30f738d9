//! Reading TOML that may be broken: every syntax error is noted, and as much
//! of the rest as can be made out is read on, so that one forgotten quote does
//! not hide the other mistakes.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::problem::Report;

/// How often a text is read again without the lines that were wrong.
const PASSES: usize = 8;

/// Reads the text as TOML and gives the table to `read`, with whether the
/// table is whole: if not, what seems missing may only have been lost.
pub(super) fn with_table<T>(
    text: &str,
    report: &mut Report<'_>,
    read: impl FnOnce(&DeTable<'_>, bool, &mut Report<'_>) -> T,
) -> T {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return read(root.get_ref(), true, report);
    }
    let mut lines = BTreeSet::new();
    for error in &errors {
        let at = error.span().unwrap_or(text.len()..text.len());
        // What follows on the same line is mostly the same mistake again.
        if lines.insert(report.line_of(at.start)) {
            let message = error.message().trim();
            report.add(&at, format!("this is not TOML: {message}"));
        }
    }
    // The parser loses what comes after some mistakes. Without the lines that
    // are wrong it finds the rest, at the same places.
    let mut work = text.as_bytes().to_vec();
    for _ in 0..PASSES {
        blank(&mut work, text, &lines, report);
        let Ok(rest) = std::str::from_utf8(&work) else {
            break;
        };
        let (root, errors) = DeTable::parse_recoverable(rest);
        if errors.is_empty() {
            return read(root.get_ref(), false, report);
        }
        let before = lines.len();
        lines.extend(
            errors
                .iter()
                .map(|error| report.line_of(error.span().map_or(text.len(), |at| at.start))),
        );
        if lines.len() == before {
            break;
        }
    }
    read(&DeTable::new(), false, report)
}

/// Turns the lines into spaces. With the header of a table goes the whole
/// table, whose fields would else seem to be the table's before.
fn blank(work: &mut [u8], text: &str, lines: &BTreeSet<usize>, report: &Report<'_>) {
    for line in lines {
        let mut line = *line;
        let is_header = |line: usize| text[report.line_range(line)].trim_start().starts_with('[');
        let header = is_header(line);
        loop {
            work[report.line_range(line)].fill(b' ');
            line += 1;
            if !header || line >= report.lines() || is_header(line) {
                break;
            }
        }
    }
}
