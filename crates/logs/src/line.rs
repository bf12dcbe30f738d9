//! One line of a log.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The longest line that is kept, in bytes; the rest is cut off.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// A line, and when it was.
///
/// The line holds no control characters and nothing that turns the direction
/// of writing: they are escaped (`\n`, `\u{1b}`). Whatever somebody sends, it
/// cannot look like another record, in the file or on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogRecord {
    at: i64,
    line: String,
}

impl LogRecord {
    /// A record of this time (milliseconds since 1970, UTC), the line escaped
    /// and cut to [`MAX_LINE_BYTES`].
    #[must_use]
    pub fn new(at: i64, line: &str) -> Self {
        let mut out = String::with_capacity(line.len().min(MAX_LINE_BYTES));
        for c in line.chars() {
            if out.len() + c.len_utf8() > MAX_LINE_BYTES - '…'.len_utf8() {
                out.push('…');
                break;
            }
            if is_harmless(c) {
                out.push(c);
            } else {
                // Writing to a string cannot fail.
                let _ = write!(out, "{}", c.escape_default());
            }
        }
        Self { at, line: out }
    }

    /// When: milliseconds since 1970, UTC.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.at
    }

    /// What.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The record as a line of a file, with its end.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if serde_json::to_writer(&mut *out, self).is_err() {
            // Cannot happen for a number and a text; if it did, half a line
            // must not stay.
            out.truncate(start);
            return;
        }
        out.push(b'\n');
    }

    /// Reads a file's line; `None` for what no record was written as: a line
    /// that a power failure cut off.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            at: i64,
            #[serde(borrow)]
            line: std::borrow::Cow<'a, str>,
        }
        let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
        // Escaped once more, should somebody else have written to the file.
        Some(Self::new(raw.at, &raw.line))
    }
}

fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_look_like_two() {
        let evil = "GET / 200\n{\"at\":1,\"line\":\"forged\"}\r\u{1b}[2J\u{85}\u{2028}\u{202e}x\0é🦀";
        let record = LogRecord::new(5, evil);
        assert!(
            !record
                .line()
                .chars()
                .any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}')
        );
        assert!(record.line().contains("é🦀") && record.line().contains("\\n{"));
        let mut out = Vec::new();
        record.write_to(&mut out);
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(out.last(), Some(&b'\n'));
        assert_eq!(LogRecord::parse(&out), Some(record));
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        for text in ["x".repeat(100_000), "é".repeat(50_000), "\u{1b}".repeat(50_000)] {
            let record = LogRecord::new(0, &text);
            assert!(
                record.line().len() <= MAX_LINE_BYTES + 8,
                "{}",
                record.line().len()
            );
            assert!(record.line().ends_with('…'));
        }
    }

    #[test]
    fn half_a_line_is_no_record() {
        let mut out = Vec::new();
        LogRecord::new(1, "whole").write_to(&mut out);
        for cut in 0..out.len() - 1 {
            assert_eq!(LogRecord::parse(&out[..cut]), None);
        }
    }
}
