//! A spool, read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nonna_engine::{Code, Error, Result};

use super::frame::{self, Dropped, Found, Kind};
use super::{REMOVED, spool};
use crate::capture::join::{Begun, Joiner, Place, Position};
use crate::capture::watch::Watch;
use crate::capture::{Lines, Output, Read};

/// So much is read at once, if nothing longer must be.
const READ: usize = 512 * 1024;
/// So many segments stay behind the one that is read, for whoever asks what
/// was printed last.
const STAY: u64 = 1;
/// A container is removed and nothing came for so long: then nothing comes.
const QUIET: Duration = Duration::from_millis(500);

pub(super) struct PipeOutput {
    pub(super) shared: Arc<Mutex<Reader>>,
    pub(super) watch: Watch,
}

fn lock(shared: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Output for PipeOutput {
    async fn read(&mut self, lines: &mut Lines) -> Result<Read> {
        let before = lines.batch().len();
        loop {
            let more = lock(&self.shared).parse(lines);
            if more || lines.batch().len() > before {
                return Ok(Read::More);
            }
            let shared = Arc::clone(&self.shared);
            let filled = tokio::task::spawn_blocking(move || lock(&shared).fill())
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)))
                .map_err(|error| unreadable(&lock(&self.shared).container, &error))?;
            match filled {
                Filled::Read => {}
                Filled::Nothing => self.watch.changed().await,
                Filled::Ending => tokio::time::sleep(QUIET).await,
                Filled::Ended => {
                    lock(&self.shared).end(lines);
                    return Ok(Read::End);
                }
            }
        }
    }

    fn position(&self) -> Vec<u8> {
        serde_json::to_vec(&lock(&self.shared).position()).unwrap_or_default()
    }

    fn kept(&mut self) {
        let mut reader = lock(&self.shared);
        let position = reader.position();
        reader.kept = Some(position);
    }
}

fn unreadable(container: &Path, error: &io::Error) -> Error {
    Error::provider(
        Code::StoreUnavailable,
        format!(
            "The output that was spooled in {} cannot be read.",
            container.display()
        ),
    )
    .said(error.to_string())
    .retry()
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    Read,
    Nothing,
    /// Nothing comes any more, probably.
    Ending,
    Ended,
}

/// Reads one container's segments.
#[derive(Debug)]
pub(super) struct Reader {
    container: Arc<Path>,
    folder: Arc<Path>,
    open: Option<Segment>,
    /// Read and not parsed; the first byte stands at `open.at - bytes.len()`.
    bytes: Vec<u8>,
    parsed: usize,
    joiner: Joiner,
    next: Option<Place>,
    kept: Option<Position>,
    /// Segments below are removed.
    removed: u64,
    notes: Vec<String>,
    since: Instant,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    at: u64,
}

impl Reader {
    pub(super) fn open(container: &Arc<Path>, folder: &Arc<Path>, position: &Position) -> io::Result<Self> {
        let mut reader = Self {
            container: Arc::clone(container),
            folder: Arc::clone(folder),
            open: None,
            bytes: Vec::new(),
            parsed: 0,
            joiner: Joiner::resume(position),
            next: position.next,
            kept: None,
            removed: 0,
            notes: Vec::new(),
            since: Instant::now(),
        };
        let segments = spool::segments(folder)?;
        let Some(start) = position.start(|a, b| a < b) else {
            return Ok(reader);
        };
        if segments.contains(&start.file) {
            reader.begin(start.file)?;
            if let Some(segment) = &mut reader.open {
                segment.at = start.at;
            }
        } else if let Some(later) = segments.iter().find(|number| **number > start.file) {
            reader
                .notes
                .push("output of this replica was lost: its spool was removed before it was read".into());
            reader.joiner = Joiner::default();
            reader.begin(*later)?;
        }
        Ok(reader)
    }

    fn begin(&mut self, number: u64) -> io::Result<bool> {
        match File::open(spool::path(&self.folder, number)) {
            Ok(file) => {
                self.open = Some(Segment { number, file, at: 0 });
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads what comes next. May wait for the disk.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        self.remove_kept();
        self.bytes.drain(..self.parsed);
        self.parsed = 0;
        let Some(segment) = &self.open else {
            return match spool::segments(&self.folder)?.first() {
                Some(first) if self.begin(*first)? => Ok(Filled::Read),
                _ => self.idle(),
            };
        };
        let next = segment.number + 1;
        if self.more()? > 0 {
            self.since = Instant::now();
            return Ok(Filled::Read);
        }
        if !spool::path(&self.folder, next).try_exists()? {
            return self.idle();
        }
        // What was written before the next was begun.
        if self.more()? > 0 {
            return Ok(Filled::Read);
        }
        if !self.bytes.is_empty() {
            self.notes.push(format!(
                "{} bytes of spooled output were not written whole: the holder of the pipes was ended",
                self.bytes.len()
            ));
            self.bytes.clear();
        }
        self.begin(next)?;
        Ok(Filled::Read)
    }

    fn more(&mut self) -> io::Result<usize> {
        let Some(segment) = &mut self.open else {
            return Ok(0);
        };
        // The start of a frame is read again: it may have been written anew.
        let before = self.bytes.len();
        segment.at -= before as u64;
        self.bytes.clear();
        // A frame that is longer than what is read at once comes whole in the end.
        self.bytes.resize(before + READ, 0);
        let read = segment.file.read_at(&mut self.bytes, segment.at);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        let read = read?;
        segment.at += read as u64;
        Ok(read.saturating_sub(before))
    }

    /// Nothing is there now.
    fn idle(&self) -> io::Result<Filled> {
        if !self.container.join(REMOVED).try_exists()? {
            return Ok(Filled::Nothing);
        }
        if self.since.elapsed() < QUIET {
            return Ok(Filled::Ending);
        }
        Ok(Filled::Ended)
    }

    /// Removes segments that are kept elsewhere now.
    fn remove_kept(&mut self) {
        let Some(position) = self.kept.take() else {
            return;
        };
        let Some(next) = position.next else { return };
        let first = position.begun.iter().fold(next.file, |first, begun| match begun {
            Begun::At(place, _) => first.min(place.file),
            _ => first,
        });
        let first = first.saturating_sub(STAY);
        if first <= self.removed {
            return;
        }
        for number in spool::segments(&self.folder).unwrap_or_default() {
            if number < first
                && let Err(error) = fs::remove_file(spool::path(&self.folder, number))
            {
                tracing::warn!(%error, folder = %self.folder.display(), "a segment of spooled output cannot be removed");
                return;
            }
        }
        self.removed = first;
    }

    /// Adds the lines of what was read; answers whether more of it waits.
    pub(super) fn parse(&mut self, lines: &mut Lines) -> bool {
        for note in self.notes.drain(..) {
            lines.note(&note);
        }
        let Some(segment) = &self.open else {
            return false;
        };
        let start = segment.at - self.bytes.len() as u64;
        loop {
            if lines.is_full() {
                return self.parsed < self.bytes.len();
            }
            let place = Place {
                file: segment.number,
                at: start + self.parsed as u64,
            };
            match frame::read(&self.bytes[self.parsed..]) {
                Found::Frame(frame, length) => {
                    match frame.kind {
                        Kind::Data => {
                            self.joiner
                                .take(lines, frame.stderr, Some(frame.time), frame.payload, place);
                        }
                        Kind::Closed => self.joiner.end(lines, frame.stderr),
                        Kind::Dropped => {
                            let dropped = Dropped::decode(frame.payload).unwrap_or_default();
                            if !self.joiner.is_behind() {
                                self.joiner.gap(lines, frame.stderr, dropped.whole, place);
                                lines.dropped(dropped.lines, dropped.bytes);
                            }
                        }
                    }
                    self.parsed += length;
                }
                Found::Start => return false,
                Found::Damage => {
                    // Where the next frame begins is not known; what is being
                    // written now will be whole when it is looked at again.
                    if self.bytes.len() - self.parsed <= frame::LONGEST + frame::HEADER {
                        return false;
                    }
                    lines.note("spooled output is damaged: a part of it was left out");
                    self.parsed = self.bytes.len();
                }
            }
            let next = Place {
                file: segment.number,
                at: start + self.parsed as u64,
            };
            self.joiner.catch_up(next);
            if !self.joiner.is_behind() {
                self.next = Some(next);
            }
        }
    }

    fn end(&mut self, lines: &mut Lines) {
        for stderr in [false, true] {
            self.joiner.end(lines, stderr);
        }
    }

    fn position(&self) -> Position {
        Position {
            next: self.next,
            begun: self.joiner.begun(),
        }
    }
}
