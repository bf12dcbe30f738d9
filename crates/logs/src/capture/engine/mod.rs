//! Capture from the files in which the engine keeps what containers print.
//!
//! The engine is not asked for a single line: its files are read as it writes
//! them, through rotation, truncation and compression, and a position names
//! the entry behind the last one that was read.

mod entry;
mod files;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use nonna_engine::{Code, Error, Result};

use self::files::{OpenFile, Standing};
use super::join::{Joiner, Place, Position};
use super::watch::{Watch, Watcher};
use super::{Container, Lines, Output, Read};
pub use entry::FileFormat;

/// So much is read at once.
const READ: usize = 256 * 1024;
/// An entry that is longer than this is none: Docker's hold at most 16 KiB of
/// text, Podman's 8.
const LONGEST_ENTRY: usize = 1024 * 1024;

/// A container's log, as an engine keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file that is written now. Those that were rotated away stand beside
    /// it: `….1`, `….2.gz`.
    pub path: PathBuf,
    /// How its entries look.
    pub format: FileFormat,
    /// A line that is left out, with its end: what Nonna itself printed there.
    pub hide: Option<&'static str>,
    /// Where there is no position: only what was printed after this moment
    /// (nanoseconds since 1970, UTC), because it was read in another way before.
    pub after: Option<i64>,
}

/// The engine's files as a source of lines: made once, for all containers.
#[derive(Debug)]
pub struct EngineFiles {
    watcher: Watcher,
}

impl EngineFiles {
    /// Begins to watch.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it begins to watch")]
    pub fn new() -> Self {
        Self {
            watcher: Watcher::new(),
        }
    }

    /// Opens a container's log behind a position.
    ///
    /// # Errors
    /// `RuntimeUnavailable` where the files cannot be read. Files that are not
    /// there any more are no error: the output has ended.
    pub async fn open(
        &self,
        container: &Container,
        file: LogFile,
        position: Option<&[u8]>,
    ) -> Result<Box<dyn Output>> {
        let position = position.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let watch = file.path.parent().map(|folder| self.watcher.watch(folder));
        let path = file.path.clone();
        let reader = blocking(move || Reader::open(file, position.unwrap_or_default()))
            .await
            .map_err(|error| unreadable(&path, &error))?;
        Ok(Box::new(FileOutput {
            container: Arc::clone(&container.id),
            shared: Arc::new(Mutex::new(reader)),
            path,
            watch,
        }))
    }
}

/// Runs what may wait for a disk where that stops nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::provider(
        Code::RuntimeUnavailable,
        format!("The container engine's file {} cannot be read.", path.display()),
    )
    .said(error.to_string())
    .retry()
}

struct FileOutput {
    container: Arc<str>,
    /// Shared with the thread that reads, so that nothing is lost when nobody
    /// waits for it any more.
    shared: Arc<Mutex<Reader>>,
    path: PathBuf,
    watch: Option<Watch>,
}

#[async_trait]
impl Output for FileOutput {
    async fn read(&mut self, lines: &mut Lines) -> Result<Read> {
        let before = lines.batch().len();
        loop {
            let more = lock(&self.shared).parse(lines);
            if more || lines.batch().len() > before {
                return Ok(Read::More);
            }
            let shared = Arc::clone(&self.shared);
            let filled = blocking(move || lock(&shared).fill())
                .await
                .map_err(|error| unreadable(&self.path, &error))?;
            match filled {
                Filled::Read => {}
                Filled::Nothing => match &self.watch {
                    Some(watch) => watch.changed().await,
                    None => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                },
                Filled::Removed => {
                    lock(&self.shared).end(lines);
                    tracing::debug!(container = %self.container, "a container's log was removed");
                    return Ok(Read::End);
                }
            }
        }
    }

    fn position(&self) -> Vec<u8> {
        let position = lock(&self.shared).position();
        serde_json::to_vec(&position).unwrap_or_default()
    }
}

fn lock(shared: &Mutex<Reader>) -> std::sync::MutexGuard<'_, Reader> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, PartialEq, Eq)]
enum Filled {
    Read,
    Nothing,
    Removed,
}

/// What is not whole, or gone, for people; it becomes a record.
#[derive(Debug)]
enum Note {
    Rotated,
    Truncated,
    Torn(u64),
}

impl Note {
    fn text(&self) -> String {
        match self {
            Self::Rotated => "lines of this replica were lost: the container engine removed its log file before it was read".into(),
            Self::Truncated => "the container engine's log file was made shorter: what stood behind and was not read is lost".into(),
            Self::Torn(bytes) => format!("{bytes} bytes of the container engine's log file are damaged and were left out"),
        }
    }
}

#[derive(Debug)]
struct Reader {
    file: LogFile,
    open: Option<OpenFile>,
    /// Read and not parsed: the first byte stands at `open.at - bytes.len()`.
    bytes: Vec<u8>,
    /// How many of them were parsed.
    parsed: usize,
    joiner: Joiner,
    next: Option<Place>,
    /// Entries up to this time were read in another way.
    after: Option<i64>,
    /// The file of the entry that was parsed last.
    last: Option<u64>,
    notes: Vec<Note>,
}

impl Reader {
    fn open(file: LogFile, position: Position) -> io::Result<Self> {
        let all = files::all(&file.path)?;
        let mut reader = Self {
            file,
            open: None,
            bytes: Vec::new(),
            parsed: 0,
            joiner: Joiner::default(),
            next: None,
            after: None,
            last: None,
            notes: Vec::new(),
        };
        let heads: Vec<_> = all.iter().map(|path| files::head(path).ok().flatten()).collect();
        let index = |head: u64| heads.iter().position(|found| *found == Some(head));
        let Some(next) = position.next else {
            reader.after = reader.file.after;
            reader.open = reader.first(&all)?;
            return Ok(reader);
        };
        if index(next.file).is_none() {
            // The engine has removed what we knew.
            if !all.is_empty() {
                reader.notes.push(Note::Rotated);
            }
            reader.open = reader.first(&all)?;
            return Ok(reader);
        }
        let earlier = |a: u64, b: u64| index(a) < index(b);
        let mut position = position;
        let is_there = position.begun.iter().all(|begun| match begun {
            super::join::Begun::At(place, _) => index(place.file).is_some(),
            _ => true,
        });
        if !is_there {
            reader.notes.push(Note::Rotated);
            position = position.without_begun();
        }
        let start = position.start(earlier).unwrap_or(next);
        let path = index(start.file).and_then(|at| all.get(at));
        if let Some(path) = path {
            let mut open = OpenFile::open(path)?;
            open.seek(start.at)?;
            reader.joiner = Joiner::resume(&position);
            reader.open = Some(open);
        }
        reader.next = Some(next);
        Ok(reader)
    }

    fn first(&self, all: &[PathBuf]) -> io::Result<Option<OpenFile>> {
        match all.first() {
            Some(path) => OpenFile::open(path).map(Some),
            None => Ok(None),
        }
    }

    /// Reads what comes next. May wait for the disk.
    fn fill(&mut self) -> io::Result<Filled> {
        self.bytes.drain(..self.parsed);
        self.parsed = 0;
        let Some(open) = &mut self.open else {
            return self.begin();
        };
        if open.read(&mut self.bytes, READ)? > 0 {
            return Ok(Filled::Read);
        }
        let standing = open.standing(&self.file.path, self.last)?;
        if standing == Standing::Current {
            return Ok(Filled::Nothing);
        }
        // What was written to it before it was let go of.
        if standing != Standing::Truncated && open.read(&mut self.bytes, READ)? > 0 {
            return Ok(Filled::Read);
        }
        match standing {
            Standing::Current | Standing::Between => Ok(Filled::Nothing),
            Standing::Removed => {
                self.forget_rest();
                Ok(Filled::Removed)
            }
            Standing::Truncated => {
                self.forget_rest();
                self.notes.push(Note::Truncated);
                self.open = Some(OpenFile::open(&self.file.path)?);
                Ok(Filled::Read)
            }
            Standing::Rotated { next, lost } => {
                self.forget_rest();
                if lost {
                    self.notes.push(Note::Rotated);
                }
                self.open = match OpenFile::open(&next) {
                    Ok(open) => Some(open),
                    // Rotated once more in this moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Filled::Nothing),
                    Err(error) => return Err(error),
                };
                Ok(Filled::Read)
            }
        }
    }

    /// There was no file so far.
    fn begin(&mut self) -> io::Result<Filled> {
        let all = files::all(&self.file.path)?;
        self.open = self.first(&all)?;
        match &self.open {
            Some(_) => Ok(Filled::Read),
            None => match self
                .file
                .path
                .parent()
                .is_some_and(|folder| folder.try_exists().unwrap_or(true))
            {
                true => Ok(Filled::Nothing),
                false => Ok(Filled::Removed),
            },
        }
    }

    /// What stands at the end of a file that will not be written any more and
    /// is no entry.
    fn forget_rest(&mut self) {
        if !self.bytes.is_empty() {
            self.notes.push(Note::Torn(self.bytes.len() as u64));
            self.bytes.clear();
            self.parsed = 0;
        }
    }

    /// Adds the lines of what was read; answers whether more of it waits.
    fn parse(&mut self, lines: &mut Lines) -> bool {
        for note in self.notes.drain(..) {
            lines.note(&note.text());
        }
        let Some(open) = &self.open else {
            return false;
        };
        let Some(file) = open.head else {
            return false;
        };
        let start = open.at - self.bytes.len() as u64;
        while let Some(end) = memchr::memchr(b'\n', &self.bytes[self.parsed..]) {
            if lines.is_full() {
                return true;
            }
            let bytes = &self.bytes[self.parsed..=self.parsed + end];
            let place = Place {
                file,
                at: start + self.parsed as u64,
            };
            match entry::parse(self.file.format, bytes) {
                Some(entry) if self.file.hide.is_some_and(|hide| hide.as_bytes() == &*entry.text) => {}
                Some(entry) if entry.time.is_some() && entry.time <= self.after => {}
                Some(entry) => {
                    self.joiner
                        .take(lines, entry.stderr, entry.time, &entry.text, place);
                }
                None if self.joiner.is_behind() => {}
                None => lines.note(&Note::Torn(bytes.len() as u64).text()),
            }
            self.parsed += bytes.len();
            self.last = Some(file);
            let next = Place {
                file,
                at: start + self.parsed as u64,
            };
            self.joiner.catch_up(next);
            if !self.joiner.is_behind() {
                self.next = Some(next);
            }
        }
        if self.bytes.len() - self.parsed > LONGEST_ENTRY {
            lines.note(&Note::Torn((self.bytes.len() - self.parsed) as u64).text());
            self.parsed = self.bytes.len();
        }
        false
    }

    /// Nothing comes any more.
    fn end(&mut self, lines: &mut Lines) {
        for note in self.notes.drain(..) {
            lines.note(&note.text());
        }
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
