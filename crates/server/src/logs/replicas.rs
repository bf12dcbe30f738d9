//! Capture of replicas by the cheapest way that is open: Nonna's pipes, the
//! engine's own files, the runtime's answers.

use std::sync::Arc;

use async_trait::async_trait;
use nonna_engine::Result;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::output::{OutputFormat, OutputPlace};
use nonna_logs::capture::engine::{EngineFiles, FileFormat, LogFile};
use nonna_logs::capture::pipe::{HINT, Pipes};
use nonna_logs::capture::{Both, Capture, Container, Lines, Output, Read};

use super::capture::RuntimeCapture;

/// Asks the runtime where a replica's output is, and reads it there.
pub(crate) struct ReplicaCapture {
    runtime: RuntimeCapture,
    files: Option<EngineFiles>,
    pipes: Option<Arc<Pipes>>,
}

/// By which way something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Runtime,
    Files,
    Pipes,
}

/// What [`Tagged::position`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    way: Way,
    /// The time of the last line: for another way.
    last: Option<i64>,
    inner: Vec<u8>,
}

impl Position {
    fn encode(&self) -> Vec<u8> {
        let way = match self.way {
            Way::Runtime => b'r',
            Way::Files => b'f',
            Way::Pipes => b'p',
        };
        let mut bytes = vec![way];
        bytes.extend_from_slice(&self.last.unwrap_or(i64::MIN).to_le_bytes());
        bytes.extend_from_slice(&self.inner);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        // From before there was a choice: the time of the last line.
        if let Ok(nanos) = bytes.try_into().map(i64::from_le_bytes) {
            return Some(Self {
                way: Way::Runtime,
                last: Some(nanos),
                inner: bytes.to_vec(),
            });
        }
        let (way, rest) = bytes.split_first()?;
        let (last, inner) = rest.split_first_chunk::<8>()?;
        let last = i64::from_le_bytes(*last);
        Some(Self {
            way: match way {
                b'r' => Way::Runtime,
                b'f' => Way::Files,
                b'p' => Way::Pipes,
                _ => return None,
            },
            last: (last != i64::MIN).then_some(last),
            inner: inner.to_vec(),
        })
    }
}

impl ReplicaCapture {
    /// `files`: whether the engine's files are read; `pipes`: what new replicas
    /// print into, and old ones may have.
    pub(crate) fn new(runtime: Arc<dyn Runtime>, files: bool, pipes: Option<Arc<Pipes>>) -> Self {
        Self {
            runtime: RuntimeCapture(runtime),
            files: files.then(EngineFiles::new),
            pipes,
        }
    }

    /// The key of the pipes of a replica that is gone.
    fn orphan(&self, container: &Container) -> Option<(&Arc<Pipes>, String)> {
        let pipes = self.pipes.as_ref()?;
        let all = pipes.all().ok()?;
        let of = |(_, known): &(String, Option<Container>)| {
            known.as_ref().is_some_and(|known| known.id == container.id)
        };
        let (key, _) = all.into_iter().find(of)?;
        Some((pipes, key))
    }

    async fn place(&self, container: &Container) -> Result<OutputPlace> {
        let place = self.runtime.0.output_place(&container.id).await?;
        Ok(place.unwrap_or_else(|| {
            // It is gone; what it printed into its pipes is not.
            let key = self.orphan(container).map(|(pipes, key)| {
                pipes.mark_removed(&key);
                key
            });
            OutputPlace {
                pipes: key,
                file: None,
            }
        }))
    }

    async fn file(
        &self,
        container: &Container,
        file: nonna_engine::ports::output::OutputFile,
        is_spare: bool,
        position: Option<&[u8]>,
        after: Option<i64>,
    ) -> Result<Option<Box<dyn Output>>> {
        let Some(files) = &self.files else {
            return Ok(None);
        };
        let file = LogFile {
            path: file.path,
            format: match file.format {
                OutputFormat::Json => FileFormat::Json,
                OutputFormat::Kubernetes => FileFormat::Kubernetes,
            },
            hide: is_spare.then_some(HINT),
            after,
        };
        files.open(container, file, position).await.map(Some)
    }
}

#[async_trait]
impl Capture for ReplicaCapture {
    async fn open(&self, container: &Container, position: Option<&[u8]>) -> Result<Box<dyn Output>> {
        let known = position.and_then(Position::decode);
        let of = |way: Way| {
            known
                .as_ref()
                .filter(|known| known.way == way)
                .map(|known| &*known.inner)
        };
        let last = known.as_ref().and_then(|known| known.last);
        let place = self.place(container).await?;
        let (way, inner, forget): (_, Box<dyn Output>, _) = match (place.pipes, &self.pipes, place.file) {
            (Some(key), Some(pipes), file) => {
                let [first, second] = Both::positions(of(Way::Pipes));
                let output = pipes.open(&key, container, first.as_deref())?;
                let spare = match file {
                    Some(file) => self.file(container, file, true, second.as_deref(), None).await?,
                    None => None,
                };
                let output = match spare {
                    Some(spare) => Box::new(Both::new(output, spare)),
                    None => Box::new(Both::alone(output)),
                };
                (Way::Pipes, output, Some((Arc::clone(pipes), key)))
            }
            (_, _, Some(file)) if self.files.is_some() => {
                let inner = of(Way::Files);
                let after = if inner.is_none() { last } else { None };
                match self.file(container, file, false, inner, after).await? {
                    Some(output) => (Way::Files, output, None),
                    None => (Way::Runtime, self.by_runtime(container, last).await?, None),
                }
            }
            _ => (Way::Runtime, self.by_runtime(container, last).await?, None),
        };
        Ok(Box::new(Tagged {
            way,
            last,
            inner,
            unkept: false,
            ended: false,
            forget,
        }))
    }

    fn left(&self) -> Vec<Container> {
        let all = self.pipes.as_ref().map(|pipes| pipes.all().unwrap_or_default());
        all.unwrap_or_default()
            .into_iter()
            .filter_map(|(_, container)| container)
            .collect()
    }
}

impl ReplicaCapture {
    async fn by_runtime(&self, container: &Container, last: Option<i64>) -> Result<Box<dyn Output>> {
        let position = last.map(i64::to_le_bytes);
        self.runtime
            .open(container, position.as_ref().map(<[u8; 8]>::as_slice))
            .await
    }
}

/// An output whose position says by which way it was read.
struct Tagged {
    way: Way,
    last: Option<i64>,
    inner: Box<dyn Output>,
    /// Lines were added that may not be kept.
    unkept: bool,
    ended: bool,
    /// What is removed when all was read and is kept.
    forget: Option<(Arc<Pipes>, String)>,
}

#[async_trait]
impl Output for Tagged {
    async fn read(&mut self, lines: &mut Lines) -> Result<Read> {
        let before = lines.batch().len();
        let read = self.inner.read(lines).await?;
        if lines.batch().len() > before {
            self.unkept = true;
            let last = lines.batch().iter().rev().find_map(|record| record.time);
            self.last = last.max(self.last);
        }
        self.ended = read == Read::End;
        Ok(read)
    }

    fn position(&self) -> Vec<u8> {
        Position {
            way: self.way,
            last: self.last,
            inner: self.inner.position(),
        }
        .encode()
    }

    fn kept(&mut self) {
        self.unkept = false;
        self.inner.kept();
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        if let (true, false, Some((pipes, key))) = (self.ended, self.unkept, self.forget.take()) {
            pipes.forget(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_say_by_which_way() {
        for position in [
            Position {
                way: Way::Files,
                last: Some(7),
                inner: b"{}".to_vec(),
            },
            Position {
                way: Way::Pipes,
                last: None,
                inner: Vec::new(),
            },
        ] {
            assert_eq!(Position::decode(&position.encode()), Some(position));
        }
        let old = Position::decode(&5_i64.to_le_bytes()).unwrap();
        assert_eq!((old.way, old.last), (Way::Runtime, Some(5)));
        assert_eq!(Position::decode(b"?"), None);
    }
}
