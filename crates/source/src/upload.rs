//! Contents on their way to the server.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::Stream;
use nonna_engine::error::{Code, Error, Result};
use nonna_model::context::{FRAME_HEADER_LEN, frame_header, printable};
use sha2::{Digest, Sha256};

use super::scan::Scanned;

/// How much is read at once.
const PIECE: usize = 256 * 1024;
/// How many pieces may wait for the network.
const PIECES_AHEAD: usize = 4;

impl Scanned {
    /// The file that holds this content, and its size.
    ///
    /// # Errors
    /// `NotFound` if the context has no such content; what opening it gives.
    pub fn open_blob(&self, sha256: &str) -> io::Result<(File, u64)> {
        let (path, size) = self
            .locate(sha256)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no file holds {sha256}")))?;
        Ok((File::open(path)?, size))
    }

    /// What a file of the context holds, links followed; `None`: there is none.
    ///
    /// # Errors
    /// `InvalidContext` where it has more than `limit` bytes, or cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((sha256, size)) = self.manifest.file(path) else {
            return Ok(None);
        };
        let path = printable(path);
        if size > limit {
            return Err(Error::user(
                Code::InvalidContext,
                format!("`{path}` has {size} bytes, at most {limit} are expected of it."),
            ));
        }
        let mut content = Vec::new();
        self.open_blob(sha256)
            .and_then(|(file, _)| file.take(limit).read_to_end(&mut content))
            .map_err(|error| {
                Error::user(Code::InvalidContext, format!("`{path}` cannot be read: {error}."))
                    .hint("See that it was not removed meanwhile, and that you may read it.")
            })?;
        Ok(Some(content))
    }

    /// These contents as frames: the body of an upload. What the context does
    /// not have is left out. Reading fails when a file is not any more what it
    /// was when it was scanned; scan again then.
    #[must_use]
    pub fn frames(&self, missing: &[String]) -> Frames {
        let mut todo: Vec<Item> = missing
            .iter()
            .filter_map(|sha| {
                let (path, size) = self.locate(sha)?;
                Some(Item {
                    sha: sha.clone(),
                    path,
                    size,
                })
            })
            .collect();
        todo.reverse();
        Frames { todo, now: None }
    }

    /// The same as a stream, read beside the asynchronous work. Needs a Tokio
    /// runtime.
    pub fn frame_stream(
        &self,
        missing: &[String],
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
        let mut frames = self.frames(missing);
        let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_AHEAD);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let sent = match fill(&mut frames, &mut piece) {
                    Ok(0) => return,
                    Ok(read) => {
                        piece.truncate(read);
                        sender.blocking_send(Ok(Bytes::from(piece)))
                    }
                    Err(error) => {
                        let _ = sender.blocking_send(Err(error));
                        return;
                    }
                };
                // Nobody listens any more: the upload was given up.
                if sent.is_err() {
                    return;
                }
            }
        });
        futures_util::stream::unfold(receiver, |mut receiver| async move {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        })
    }

    fn locate(&self, sha256: &str) -> Option<(PathBuf, u64)> {
        let (path, size) = self.contents.get(sha256)?;
        Some((self.folder.join(path), *size))
    }
}

/// Reads as much as fits.
fn fill(from: &mut Frames, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[derive(Debug)]
struct Item {
    sha: String,
    path: PathBuf,
    size: u64,
}

#[derive(Debug)]
struct Open {
    item: Item,
    file: File,
    header: [u8; FRAME_HEADER_LEN],
    header_sent: usize,
    left: u64,
    hash: Sha256,
}

/// Contents as frames (see [`nonna_model::context`]), for `std::io::Read`.
#[derive(Debug)]
pub struct Frames {
    /// The last one first.
    todo: Vec<Item>,
    now: Option<Open>,
}

impl Frames {
    /// How many bytes are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let open = self
            .now
            .as_ref()
            .map_or(0, |open| open.left + (FRAME_HEADER_LEN - open.header_sent) as u64);
        self.todo
            .iter()
            .map(|item| item.size + FRAME_HEADER_LEN as u64)
            .sum::<u64>()
            + open
    }
}

fn changed(item: &Item) -> io::Error {
    io::Error::other(format!(
        "{} changed while it was being sent; deploy again",
        printable(&item.path.to_string_lossy())
    ))
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(open) = &mut self.now else {
                let Some(item) = self.todo.pop() else {
                    return Ok(0);
                };
                let header = frame_header(&item.sha, item.size)
                    .ok_or_else(|| io::Error::other("a content without a SHA-256"))?;
                self.now = Some(Open {
                    file: File::open(&item.path)?,
                    header,
                    header_sent: 0,
                    left: item.size,
                    hash: Sha256::new(),
                    item,
                });
                continue;
            };
            let header = open.header.get(open.header_sent..).unwrap_or_default();
            if !header.is_empty() {
                let read = { header }.read(buffer)?;
                open.header_sent += read;
                return Ok(read);
            }
            if open.left > 0 {
                let read = (&mut open.file).take(open.left).read(buffer)?;
                if read == 0 {
                    return Err(changed(&open.item));
                }
                open.hash.update(buffer.get(..read).unwrap_or_default());
                open.left -= read as u64;
                return Ok(read);
            }
            let hash = std::mem::take(&mut open.hash).finalize();
            if HEXLOWER.encode(&hash) != open.item.sha {
                return Err(changed(&open.item));
            }
            self.now = None;
        }
    }
}
