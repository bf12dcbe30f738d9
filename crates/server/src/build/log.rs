//! What builds said, kept with the release they were for: sealed, bounded, and
//! there after a restart.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use nonna_engine::event::{Event, EventKind, EventSink};
use nonna_engine::{Error, Result};
use nonna_model::{ReleaseNumber, ServiceId};
use nonna_store::Store;
use serde::{Deserialize, Serialize};

/// The kind of the blobs that logs are kept in.
pub(crate) const KIND: &str = "build-log";
/// How hard logs are compressed: they are written every few seconds.
const LEVEL: i32 = 3;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// When: milliseconds since 1970, UTC.
    pub(crate) at: i64,
    pub(crate) line: String,
}

/// The log of a release's build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildLog {
    /// `building`, `succeeded`, `failed`.
    pub(crate) state: String,
    /// The first lines.
    pub(crate) first: Vec<Line>,
    /// How many lines in between were left out.
    pub(crate) left_out: u64,
    /// The last lines.
    pub(crate) last: VecDeque<Line>,
}

/// The key of a release's log.
pub(crate) fn key(service: &ServiceId, release: ReleaseNumber) -> String {
    format!("{service}/{release}")
}

/// The service and the release of a key.
pub(crate) fn of_key(key: &str) -> Option<(ServiceId, ReleaseNumber)> {
    let (service, release) = key.split_once('/')?;
    Some((service.parse().ok()?, release.parse().ok()?))
}

/// A release's log, if one is kept.
///
/// # Errors
/// `StoreUnavailable`, `SealBroken`.
pub(crate) async fn read(
    store: &dyn Store,
    service: &ServiceId,
    release: ReleaseNumber,
) -> Result<Option<BuildLog>> {
    let Some(kept) = store.get_blob(KIND, &key(service, release)).await? else {
        return Ok(None);
    };
    let bug = |error: String| Error::bug(format!("a kept build log cannot be read: {error}"));
    let text = zstd::decode_all(kept.as_slice()).map_err(|error| bug(error.to_string()))?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| bug(error.to_string()))
}

struct Written {
    log: BuildLog,
    first_bytes: usize,
    last_bytes: usize,
    dirty: bool,
}

/// Writes down what a build says, and passes it on.
pub(crate) struct Recorder {
    inner: Arc<dyn EventSink>,
    /// The most that is kept of the beginning, and of the end, in bytes.
    half: usize,
    written: Mutex<Written>,
}

impl Recorder {
    /// Goes on with what an earlier attempt left.
    pub(crate) fn new(inner: Arc<dyn EventSink>, limit: usize, earlier: Option<BuildLog>) -> Self {
        let mut log = earlier.unwrap_or_default();
        log.state = "building".to_owned();
        let bytes = |lines: &mut dyn Iterator<Item = &Line>| lines.map(|line| line.line.len() + 1).sum();
        Self {
            inner,
            half: limit / 2,
            written: Mutex::new(Written {
                first_bytes: bytes(&mut log.first.iter()),
                last_bytes: bytes(&mut log.last.iter()),
                log,
                dirty: true,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub(crate) fn line(&self, at: i64, text: &str) {
        let mut written = self.lock();
        written.dirty = true;
        let size = text.len() + 1;
        let line = Line {
            at,
            line: text.to_owned(),
        };
        if written.log.last.is_empty() && written.first_bytes + size <= self.half {
            written.first_bytes += size;
            written.log.first.push(line);
            return;
        }
        written.last_bytes += size;
        written.log.last.push_back(line);
        while written.last_bytes > self.half {
            let Some(gone) = written.log.last.pop_front() else {
                break;
            };
            written.last_bytes -= gone.line.len() + 1;
            written.log.left_out += 1;
        }
    }

    /// Notes how it ended.
    pub(crate) fn end(&self, result: &Result<()>) {
        let at = jiff::Timestamp::now().as_millisecond();
        if let Err(error) = result {
            self.line(at, &format!("failed: {}", error.message));
            // What was seen are the last lines, which stand above.
            if let Some(hint) = &error.hint {
                self.line(at, &format!("hint: {hint}"));
            }
        }
        let mut written = self.lock();
        written.log.state = if result.is_ok() { "succeeded" } else { "failed" }.to_owned();
        written.dirty = true;
    }

    /// What is new since the last call, ready to be kept.
    fn packed(&self) -> Option<Vec<u8>> {
        let mut written = self.lock();
        if !std::mem::take(&mut written.dirty) {
            return None;
        }
        let text = serde_json::to_vec(&written.log).ok()?;
        zstd::encode_all(text.as_slice(), LEVEL).ok()
    }

    /// Keeps what is new. A log that cannot be kept stops no build.
    pub(crate) async fn keep(&self, store: &dyn Store, key: &str) {
        if let Some(bytes) = self.packed()
            && let Err(error) = store.put_blob(KIND, key, &bytes).await
        {
            tracing::warn!(key, %error, "the log of a build could not be kept");
        }
    }
}

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        match &event.kind {
            EventKind::BuildOutput { line, .. } => self.line(event.at, line),
            EventKind::StepProgress { message, .. } => self.line(event.at, message),
            _ => {}
        }
        self.inner.emit(event);
    }
}

#[cfg(test)]
mod tests {
    use nonna_engine::event::Discard;

    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept_and_what_is_left_out_is_counted() {
        let recorder = Recorder::new(Arc::new(Discard), 200, None);
        for number in 0..100 {
            recorder.line(number, &format!("line {number:04}"));
        }
        recorder.end(&Ok(()));
        let log = recorder.lock().log.clone();
        assert_eq!(log.state, "succeeded");
        assert_eq!(log.first.len(), 10);
        assert_eq!(log.last.len(), 10);
        assert_eq!(log.left_out, 80);
        assert_eq!(log.last.back().unwrap().line, "line 0099");
    }

    #[test]
    fn an_attempt_after_a_crash_goes_on_with_the_same_log() {
        let first = Recorder::new(Arc::new(Discard), 1000, None);
        first.line(1, "before");
        let packed = first.packed().unwrap();
        assert!(first.packed().is_none(), "nothing new");
        let log: BuildLog = serde_json::from_slice(&zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        let second = Recorder::new(Arc::new(Discard), 1000, Some(log));
        second.line(2, "after");
        second.end(&Err(Error::cancelled()));
        let log = second.lock().log.clone();
        let lines: Vec<&str> = log.first.iter().map(|l| l.line.as_str()).collect();
        assert_eq!(
            lines,
            ["before", "after", "failed: The deployment was cancelled."]
        );
        assert_eq!(log.state, "failed");
    }
}
