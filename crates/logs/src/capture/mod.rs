//! Capture: what replicas print, from wherever it can be had, into the log
//! proxy, once each.
//!
//! A [`Capture`] knows one way to the output of containers: the engine's API,
//! its files, a pipe. [`pump`] reads one container's [`Output`] and pushes what
//! it reads with the position behind it ([`Batch::mark`]), so that after any
//! end of this process the next one goes on exactly there.

mod both;
pub mod engine;
mod join;
pub mod pipe;
mod pump;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use nonna_engine::Result;

use crate::record::{Batch, Level, Record, Source, SourceIndex, Stream};

pub use both::Both;
pub use pump::{Pumped, pump};

/// A container whose output is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's own id for it. What is captured of it is kept under this:
    /// a container that is started again goes on, another one begins anew.
    pub id: Arc<str>,
    /// Its service's label: `shop/production/web`.
    pub service: Arc<str>,
    /// Which replica of it, with its release: `v3.0`.
    pub replica: Arc<str>,
}

impl Container {
    /// Where its records come from.
    #[must_use]
    pub fn source(&self, stream: Stream) -> Arc<Source> {
        Source::new(&self.service, &self.replica, stream)
    }
}

/// A way to the output of containers.
#[async_trait]
pub trait Capture: Send + Sync {
    /// Opens the output of a container behind a position that an earlier
    /// [`Output::position`] of the same container gave; `None`: from its
    /// beginning. A position of another way, or one that does not exist any
    /// more, is as good as the oldest output there is.
    ///
    /// # Errors
    /// `RuntimeUnavailable` and the like, retryable: it is tried again. A
    /// container that is gone is no error: its output has ended.
    async fn open(&self, container: &Container, position: Option<&[u8]>) -> Result<Box<dyn Output>>;

    /// Containers of which there is output here, whether they are there or not:
    /// of those that are gone too, all is to be read.
    fn left(&self) -> Vec<Container> {
        Vec::new()
    }
}

/// The output of one container.
#[async_trait]
pub trait Output: Send {
    /// Waits until there is something, adds it, and answers how it stands.
    /// Adds whole lines only, at most until [`Lines::is_full`]. Dropping the
    /// future loses nothing: the next call adds what this one would have.
    ///
    /// # Errors
    /// Where it cannot be read on; what was added is good. It is opened again.
    async fn read(&mut self, lines: &mut Lines) -> Result<Read>;

    /// Where the next [`Output::read`] begins: at most
    /// [`Batch::MAX_POSITION_BYTES`].
    fn position(&self) -> Vec<u8>;

    /// All that was added until now is kept, with this position: what is behind
    /// will not be asked for again.
    fn kept(&mut self) {}
}

/// The output of a container that is gone.
pub(crate) struct Ended;

#[async_trait]
impl Output for Ended {
    async fn read(&mut self, _lines: &mut Lines) -> Result<Read> {
        Ok(Read::End)
    }

    fn position(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// What [`Output::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Lines, and more may come.
    More,
    /// The container has ended, and all that it printed was read.
    End,
}

/// What was read of one container and is not pushed yet.
#[derive(Debug)]
pub struct Lines {
    batch: Batch,
    sources: [Arc<Source>; 2],
    /// The last line of each stream may be the beginning of a stack trace.
    pub(crate) may_go_on: [bool; 2],
    recogniser: crate::recognise::Recogniser,
    /// Lines that were lost before they came here.
    lost: u64,
}

impl Lines {
    /// For lines of this container.
    #[must_use]
    pub fn new(container: &Container) -> Self {
        Self {
            batch: Batch::new(),
            sources: [container.source(Stream::Stdout), container.source(Stream::Stderr)],
            may_go_on: [false; 2],
            recogniser: crate::recognise::Recogniser::default(),
            lost: 0,
        }
    }

    /// Adds a line, without its end; `time` in nanoseconds since 1970, UTC,
    /// where the source knows when it was printed. A line that is longer than
    /// [`crate::record::MAX_RECORD_BYTES`] is cut with a mark; a source that
    /// cannot hold all of one cuts it itself and says so in it.
    pub fn push(&mut self, stderr: bool, time: Option<i64>, line: &[u8]) {
        let stream = usize::from(stderr);
        let index: SourceIndex = self.batch.source(&self.sources[stream]);
        let level = self.recogniser.level(line);
        self.may_go_on[stream] = crate::pipeline::fold::may_go_on(line, level);
        self.batch.push(
            index,
            &Record {
                time,
                level: (level != crate::record::Level::Unknown).then_some(level),
                line,
                ..Record::default()
            },
        );
    }

    /// Adds a line of the log proxy's own about this container: what was lost,
    /// and why.
    pub fn note(&mut self, text: &str) {
        let service = Arc::clone(&self.sources[0].service);
        let replica = Arc::clone(&self.sources[0].replica);
        let index = self.batch.source(&Arc::new(Source {
            service,
            replica,
            stream: Stream::Proxy,
        }));
        self.batch.push(
            index,
            &Record {
                level: Some(Level::Warn),
                line: text.as_bytes(),
                ..Record::default()
            },
        );
    }

    /// Says in its place that output was dropped; it is counted.
    pub(crate) fn dropped(&mut self, lines: u64, bytes: u64) {
        self.lost += lines;
        self.note(&format!(
            "{lines} lines ({bytes} bytes) of this replica were dropped: the spool took no more"
        ));
    }

    /// How many lines are counted as lost since this was asked last.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// For lines of the same container.
    pub(crate) fn like(other: &Self) -> Self {
        Self {
            batch: Batch::new(),
            sources: other.sources.clone(),
            may_go_on: [false; 2],
            recogniser: crate::recognise::Recogniser::default(),
            lost: 0,
        }
    }

    /// Adds the lines of another.
    pub(crate) fn append(&mut self, other: &Self) {
        for record in other.batch.iter() {
            let index = self.batch.source(record.source);
            self.batch.push_view(index, &record);
        }
        for (mine, others) in self.may_go_on.iter_mut().zip(other.may_go_on) {
            *mine |= others;
        }
        self.lost += other.lost;
    }

    /// Whether it is time to push.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The lines so far.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Takes them out, marked.
    pub(crate) fn take(&mut self, key: &Arc<str>, position: &[u8]) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.mark(key, position);
        self.may_go_on = [false; 2];
        batch
    }
}
