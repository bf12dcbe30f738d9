//! Reading back what was written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nonna_engine::{Code, Error, Result};

use crate::line::LogRecord;

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadQuery {
    /// Not before: milliseconds since 1970, UTC.
    pub since: Option<i64>,
    /// Not after: milliseconds since 1970, UTC.
    pub until: Option<i64>,
    /// The last so many; `None`: as many as [`ReadQuery::MOST`].
    pub tail: Option<usize>,
    /// Only lines that hold this text.
    pub grep: Option<String>,
}

impl ReadQuery {
    /// The most records one read gives: the newest.
    pub const MOST: usize = 100_000;

    /// Whether a record is wanted, its place apart.
    #[must_use]
    pub fn matches(&self, record: &LogRecord) -> bool {
        self.since.is_none_or(|since| record.at() >= since)
            && self.until.is_none_or(|until| record.at() <= until)
            && self
                .grep
                .as_ref()
                .is_none_or(|text| record.line().contains(text.as_str()))
    }
}

/// Reads segments, oldest first, each as far as its length says. Blocks.
pub(crate) fn read(segments: &[(PathBuf, u64)], query: &ReadQuery) -> Result<Vec<LogRecord>> {
    let wanted = query.tail.unwrap_or(ReadQuery::MOST).min(ReadQuery::MOST);
    let mut found = VecDeque::new();
    for (path, bytes) in segments.iter().rev() {
        if found.len() >= wanted {
            break;
        }
        let Some(text) = text(path, *bytes, query.since)? else {
            continue;
        };
        let lines = text.rsplit(|byte| *byte == b'\n');
        let records = lines
            .filter_map(LogRecord::parse)
            .filter(|record| query.matches(record));
        for record in records.take(wanted - found.len()) {
            found.push_front(record);
        }
    }
    Ok(found.into())
}

/// What is in a segment; `None` where it was removed meanwhile, or was last
/// written before anything in it could be wanted.
fn text(path: &Path, bytes: u64, since: Option<i64>) -> Result<Option<Vec<u8>>> {
    let failed = |error: std::io::Error| {
        Error::provider(
            Code::StoreUnavailable,
            format!("The log file {} cannot be read.", path.display()),
        )
        .said(error.to_string())
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let written = file.metadata().and_then(|data| data.modified()).map_err(failed)?;
    let written = written
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    // A second to spare: clocks of file systems are coarse.
    if since.is_some_and(|since| i64::try_from(written).unwrap_or(i64::MAX).saturating_add(1_000) < since) {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text).map_err(failed)?;
    Ok(Some(text))
}
