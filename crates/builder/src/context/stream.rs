//! A context as a tar, for the engine that builds it.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::Stream;
use nonna_engine::{Error, Result};
use nonna_model::context::{ContextManifest, EntryKind};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use super::store::{ContextStore, Inner};

/// The second of January 1980: the same for every file, so that the builder's
/// cache only sees contents; and not earlier because zip, which Python's
/// wheels are, has no earlier years.
const MTIME: u64 = 315_619_200;
const PIECE: usize = 256 * 1024;
const PIECES_AHEAD: usize = 4;

/// A file that is put beside the context's own.
#[derive(Debug, Clone)]
pub struct ExtraFile {
    /// Its path in the tar. It replaces a file of the context there.
    pub path: String,
    /// What it holds.
    pub content: Bytes,
}

/// How to lay out the tar.
#[derive(Debug, Clone, Default)]
pub struct TarOptions {
    /// The folder, ending with `/`, that the context is put into; empty for
    /// none.
    pub prefix: String,
    /// Files beside the context. The prefix is not put before their paths.
    pub extra: Vec<ExtraFile>,
    /// Leave out what is hidden (a name in its path begins with a dot), but
    /// not `.well-known`.
    pub without_hidden: bool,
}

impl ContextStore {
    /// The context as a tar: sorted, owned by root, every time and mode the
    /// same for the same context. Needs a Tokio runtime. Dropping the stream
    /// ends the work.
    ///
    /// # Errors
    /// `NotFound`; `StoreUnavailable`. The stream itself fails when a content
    /// turns out to be damaged.
    pub fn stream_tar(
        &self,
        digest: &str,
        options: TarOptions,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<>> {
        let manifest = self.manifest(digest)?;
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || {
            let mut pipe = Pipe {
                sender,
                piece: Vec::with_capacity(PIECE),
            };
            let written = write_tar(&inner, &manifest, &options, &mut pipe).and_then(|()| pipe.flush());
            if let Err(error) = written {
                // If nobody listens any more it does not matter either.
                let _ = pipe.sender.blocking_send(Err(error));
            }
        });
        Ok(futures_util::stream::unfold(
            receiver,
            |mut receiver| async move {
                let piece = receiver.recv().await?;
                Some((piece, receiver))
            },
        ))
    }
}

/// Collects what is written into pieces for a channel.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(data);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn write_tar(
    inner: &Inner,
    manifest: &ContextManifest,
    options: &TarOptions,
    to: &mut Pipe,
) -> io::Result<()> {
    let mut tar = Builder::new(to);
    let mut folders = HashSet::new();
    let replaced: HashSet<&str> = options.extra.iter().map(|file| file.path.as_str()).collect();
    for file in &options.extra {
        write_folders(&mut tar, &mut folders, &file.path)?;
        let mut header = header(EntryType::Regular, 0o644, file.content.len() as u64);
        tar.append_data(&mut header, &file.path, file.content.as_ref())?;
    }
    for entry in &manifest.entries {
        let path = format!("{}{}", options.prefix, entry.path);
        let hidden = || {
            entry
                .path
                .split('/')
                .any(|part| part.starts_with('.') && part != ".well-known")
        };
        if replaced.contains(path.as_str()) || (options.without_hidden && hidden()) {
            continue;
        }
        write_folders(&mut tar, &mut folders, &path)?;
        match &entry.kind {
            EntryKind::File {
                size,
                sha256,
                executable,
            } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut header = header(EntryType::Regular, mode, *size);
                let file = inner.open_blob(sha256, *size).map_err(|error| outward(&error))?;
                let mut checked = Checked {
                    inner: file.take(*size),
                    hash: Sha256::new(),
                };
                tar.append_data(&mut header, &path, &mut checked)?;
                if HEXLOWER.encode(&checked.hash.finalize()) != *sha256 {
                    inner.discard_blob(sha256);
                    return Err(io::Error::other(
                        "a file of the build context was damaged on the server's disk; deploy again",
                    ));
                }
            }
            EntryKind::Symlink { target } => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                tar.append_link(&mut header, &path, target)?;
            }
            EntryKind::Directory => {
                write_folder(&mut tar, &path)?;
            }
        }
    }
    tar.finish()
}

/// The folders above a path, each once: the engine would make them too, but
/// with modes of its own.
fn write_folders<W: Write>(tar: &mut Builder<W>, done: &mut HashSet<String>, path: &str) -> io::Result<()> {
    for (at, _) in path.match_indices('/') {
        let folder = path.get(..at).unwrap_or_default();
        if done.insert(folder.to_owned()) {
            write_folder(tar, folder)?;
        }
    }
    Ok(())
}

fn write_folder<W: Write>(tar: &mut Builder<W>, path: &str) -> io::Result<()> {
    let mut header = header(EntryType::Directory, 0o755, 0);
    tar.append_data(&mut header, format!("{path}/"), io::empty())
}

fn outward(error: &Error) -> io::Error {
    io::Error::other(error.message.clone())
}

struct Checked<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
