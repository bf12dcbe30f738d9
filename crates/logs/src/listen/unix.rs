//! Lines, of JSON or of text, over a Unix socket.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nonna_engine::{Code, Error, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

use super::connection::{Connection, Read, Socket, accept};
use super::{Door, Protocol, Tasks, cannot_listen};
use crate::protocol::lines::line;
use crate::record::MAX_RECORD_BYTES;

/// The longest line, JSON and all.
const LONGEST: usize = 4 * MAX_RECORD_BYTES;

/// A listener on a Unix socket.
///
/// A sender that shuts down its side of the connection gets a line back when
/// all it sent is kept: `{"kept":3}`, or `{"error":"…"}`.
#[derive(Debug)]
pub struct Unix {
    socket: UnixListener,
    path: PathBuf,
    service: String,
}

impl Unix {
    /// Listens at a path, which gets these permissions. A socket that nobody
    /// listens on any more is replaced.
    ///
    /// # Errors
    /// `Conflict` where something is there that is in use or no socket;
    /// `InvalidInput` where none can be made there.
    pub fn bind(path: &Path, mode: u32, service: &str) -> Result<Self> {
        let there = fs::symlink_metadata(path);
        if let Ok(there) = there {
            let dead = there.file_type().is_socket()
                && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            if !dead {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "{} is there already, and no socket that was left behind.",
                        path.display()
                    ),
                )
                .hint("Name another path, or stop what listens there."));
            }
            fs::remove_file(path).map_err(|error| cannot_listen("Unix", path.display(), &error))?;
        }
        let socket =
            UnixListener::bind(path).map_err(|error| cannot_listen("Unix", path.display(), &error))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| cannot_listen("Unix", path.display(), &error))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Serves until the tasks end.
    pub fn serve(self, door: Arc<Door>, tasks: &Tasks) {
        let (path, closing) = (self.path, tasks.closing.clone());
        tasks.tracker.spawn(async move {
            closing.cancelled().await;
            let _ = fs::remove_file(path);
        });
        let service = self.service;
        accept(
            tasks,
            door,
            Protocol::Lines,
            Socket::Unix(self.socket),
            move |door, connection| stream(door, connection, service.clone()),
        );
    }
}

async fn stream(door: Arc<Door>, mut connection: Connection, service: String) -> Result<()> {
    let mut collector = door.collector(&service, "");
    let mut buffer = Vec::new();
    let mut searched = 0;
    let mut kept = 0_u64;
    let mut pushed = None;
    let end = loop {
        let partial = !buffer.is_empty();
        let read = connection.read(&mut buffer, partial).await;
        let mut start = 0;
        while let Some(length) = buffer
            .get(start.max(searched)..)
            .and_then(|rest| memchr::memchr(b'\n', rest))
        {
            let end = start.max(searched) + length;
            line(buffer.get(start..end).unwrap_or_default(), &mut collector);
            start = end + 1;
        }
        buffer.drain(..start);
        // A line without end is cut: its rest becomes the next.
        if buffer.len() >= LONGEST {
            door.counters.invalid(Protocol::Lines);
            line(&buffer, &mut collector);
            buffer.clear();
        }
        searched = buffer.len();
        if !matches!(read, Read::More) {
            line(&buffer, &mut collector);
        }
        if !collector.is_empty() {
            connection.active();
            kept += collector.len() as u64;
            // Batches are kept in order: the last one stands for all, unless
            // the journal took one and not another.
            let batches = door.pass(Protocol::Lines, collector.take()).await?;
            if let Some(before) = pushed.replace(batches) {
                before.kept().await?;
            }
        }
        if !matches!(read, Read::More) {
            break read;
        }
    };
    let answer = match pushed {
        Some(pushed) => pushed.kept().await,
        None => Ok(()),
    };
    if matches!(end, Read::End) {
        let text = match answer {
            Ok(()) => serde_json::json!({ "kept": kept }),
            Err(error) => serde_json::json!({ "error": error.message }),
        };
        // Most senders are gone by now, and need not know.
        let _ = connection.wire.write_all(format!("{text}\n").as_bytes()).await;
        let _ = connection.wire.shutdown().await;
    }
    Ok(())
}
