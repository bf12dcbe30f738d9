//! The thread that writes: one folder a service, in it numbered segments.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot};

use crate::line::LogRecord;

/// How much may wait to be written before the flush interval is over.
const PENDING_BYTES: usize = 256 * 1024;
/// How often a disk that does not take anything is complained of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A record on its way to those who watch.
pub(crate) type Live = (Arc<str>, Arc<LogRecord>);

/// What the writer is told.
pub(crate) enum Message {
    Record(Arc<str>, LogRecord),
    /// Write all out, and tell what there is of a service and who watches from
    /// there on.
    Mark(Arc<str>, oneshot::Sender<Mark>),
    /// Remove all of a service.
    Forget(Arc<str>, oneshot::Sender<()>),
    /// Write all out and end.
    Close,
}

/// All that was written of a service up to a moment, and all that comes after.
pub(crate) struct Mark {
    /// The segments, oldest first, each with how much of it counts.
    pub(crate) segments: Vec<(PathBuf, u64)>,
    pub(crate) live: broadcast::Receiver<Live>,
}

#[derive(Default)]
struct Service {
    /// Number → size, in bytes.
    segments: BTreeMap<u64, u64>,
    pending: Vec<u8>,
    waiting: u64,
}

impl Service {
    fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }
}

pub(crate) struct Writer {
    root: PathBuf,
    max_bytes: u64,
    segment_bytes: u64,
    flush_interval: Duration,
    services: BTreeMap<Arc<str>, Service>,
    pending: usize,
    live: broadcast::Sender<Live>,
    dropped: Arc<AtomicU64>,
    complained: Option<Instant>,
}

/// A service's label as a file name: injective, and never a path.
pub(crate) fn folder_name(service: &str) -> String {
    let mut out = String::new();
    for byte in service.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => out.push(char::from(byte)),
            b'/' => out.push('_'),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out
}

/// The label a file name stands for; `None` where no label has that name.
fn label(folder: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = folder.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => b'/',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    let label = String::from_utf8(out).ok()?;
    (folder_name(&label) == folder).then_some(label)
}

fn segment_name(number: u64) -> String {
    format!("{number:012}.jsonl")
}

impl Writer {
    pub(crate) fn open(
        root: &Path,
        max_bytes: u64,
        flush_interval: Duration,
        live: broadcast::Sender<Live>,
        dropped: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let mut writer = Self {
            root: root.to_owned(),
            max_bytes,
            // Small enough that a segment is read at once, and that dropping
            // one drops little.
            segment_bytes: (max_bytes / 16).clamp(4 * 1024, 1024 * 1024),
            flush_interval,
            services: BTreeMap::new(),
            pending: 0,
            live,
            dropped,
            complained: None,
        };
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let Some(service) = entry.file_name().to_str().and_then(label) else {
                continue;
            };
            let segments = segments(&entry.path())?;
            let service_of = writer.services.entry(service.into()).or_default();
            service_of.segments = segments;
        }
        writer.shrink();
        Ok(writer)
    }

    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        let mut due: Option<Instant> = None;
        loop {
            let message = match due {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Record(service, record)) => {
                    self.take(service, record);
                    due.get_or_insert_with(|| Instant::now() + self.flush_interval);
                    if self.pending >= PENDING_BYTES {
                        self.flush();
                        due = None;
                    }
                }
                Ok(Message::Mark(service, reply)) => {
                    self.flush();
                    due = None;
                    let _ = reply.send(self.mark(&service));
                }
                Ok(Message::Forget(service, reply)) => {
                    self.forget(&service);
                    let _ = reply.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    due = None;
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return;
                }
            }
        }
    }

    fn take(&mut self, service: Arc<str>, record: LogRecord) {
        let of = self.services.entry(Arc::clone(&service)).or_default();
        let before = of.pending.len();
        record.write_to(&mut of.pending);
        of.waiting += 1;
        self.pending += of.pending.len() - before;
        if self.live.receiver_count() > 0 {
            // Nobody there any more: nobody to tell.
            let _ = self.live.send((service, Arc::new(record)));
        }
    }

    fn flush(&mut self) {
        if self.pending == 0 {
            return;
        }
        self.pending = 0;
        let mut failure = None;
        for (name, service) in &mut self.services {
            if service.pending.is_empty() {
                continue;
            }
            let folder = self.root.join(folder_name(name));
            if let Err(error) = write(&folder, service, self.segment_bytes) {
                self.dropped.fetch_add(service.waiting, Ordering::Relaxed);
                failure = Some(error);
            }
            service.pending = Vec::new();
            service.waiting = 0;
        }
        if let Some(error) = failure
            && self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
        {
            self.complained = Some(Instant::now());
            tracing::warn!(%error, folder = %self.root.display(), "log lines cannot be written and are lost");
        }
        self.shrink();
    }

    /// Removes the oldest segment of whoever has most, until all is within the
    /// bound: who writes much does not push out who writes little.
    fn shrink(&mut self) {
        loop {
            let total: u64 = self.services.values().map(Service::bytes).sum();
            if total <= self.max_bytes {
                return;
            }
            let largest = self
                .services
                .iter_mut()
                .max_by_key(|(_, service)| service.bytes());
            let Some((name, service)) = largest else { return };
            let Some((number, _)) = service.segments.pop_first() else {
                return;
            };
            let path = self.root.join(folder_name(name)).join(segment_name(number));
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "an old log file cannot be removed");
            }
        }
    }

    fn mark(&self, service: &str) -> Mark {
        let folder = self.root.join(folder_name(service));
        let segments = self.services.get(service).map(|s| &s.segments);
        Mark {
            segments: segments
                .into_iter()
                .flatten()
                .map(|(number, bytes)| (folder.join(segment_name(*number)), *bytes))
                .collect(),
            live: self.live.subscribe(),
        }
    }

    fn forget(&mut self, service: &str) {
        if let Some(gone) = self.services.remove(service) {
            self.pending -= gone.pending.len();
        }
        let folder = self.root.join(folder_name(service));
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %folder.display(), "the logs of a removed service cannot be removed");
        }
    }
}

/// The segments of a folder with their sizes. What a power failure cut off at
/// the end of the last is removed.
fn segments(folder: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        if let Some(number) = number {
            found.insert(number, entry.metadata()?.len());
        }
    }
    if let Some((number, bytes)) = found.last_entry().map(|last| (*last.key(), *last.get())) {
        let path = folder.join(segment_name(number));
        found.insert(number, whole(&path, bytes)?);
    }
    Ok(found)
}

/// Cuts a file after its last whole line; answers its length.
fn whole(path: &Path, bytes: u64) -> io::Result<u64> {
    /// Longer than any line.
    const END: u64 = 128 * 1024;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let start = bytes.saturating_sub(END);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    Read::by_ref(&mut file).take(END).read_to_end(&mut end)?;
    let length = match end.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => start + at as u64 + 1,
        None => start,
    };
    if length < bytes {
        file.set_len(length)?;
    }
    Ok(length)
}

/// Writes what waits, into as many segments as it takes. Where the disk does
/// not take all of it, no half line stays.
fn write(folder: &Path, service: &mut Service, segment_bytes: u64) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut rest = service.pending.as_slice();
    while !rest.is_empty() {
        let (number, size) = match service.segments.last_key_value() {
            Some((number, size)) if *size < segment_bytes => (*number, *size),
            Some((number, _)) => (number + 1, 0),
            None => (1, 0),
        };
        let room = usize::try_from(segment_bytes.saturating_sub(size)).unwrap_or(usize::MAX);
        let part = up_to_line(rest, room);
        append(&folder.join(segment_name(number)), size, part)?;
        service.segments.insert(number, size + part.len() as u64);
        rest = rest.get(part.len()..).unwrap_or_default();
    }
    Ok(())
}

/// The lines that fill this much room, at least one.
fn up_to_line(lines: &[u8], room: usize) -> &[u8] {
    if lines.len() <= room {
        return lines;
    }
    let (within, _) = lines.split_at(room);
    let end = within
        .iter()
        .rposition(|byte| *byte == b'\n')
        .or_else(|| lines.iter().position(|byte| *byte == b'\n'));
    match end {
        Some(at) => lines.split_at(at + 1).0,
        None => lines,
    }
}

fn append(path: &Path, size: u64, lines: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.seek(SeekFrom::Start(size))?;
    file.write_all(lines).inspect_err(|_| {
        let _ = file.set_len(size);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_file_names_and_back_and_never_paths() {
        for text in [
            "shop/production/web",
            "a",
            "",
            "../../etc",
            "A_b",
            "é%2f",
            ".",
            "x\0y",
        ] {
            let name = folder_name(text);
            assert!(!name.contains(['/', '.', '\0']), "{name}");
            assert_eq!(label(&name).as_deref(), Some(text));
        }
        for not in ["UPPER", "a.b", "%2", "%zz", "%2D", "%61"] {
            assert_eq!(label(not), None, "{not}");
        }
    }

    #[test]
    fn lines_are_not_split() {
        let lines = b"one\ntwo\nthree\n";
        assert_eq!(up_to_line(lines, 100), lines);
        assert_eq!(up_to_line(lines, 9), b"one\ntwo\n");
        assert_eq!(up_to_line(lines, 1), b"one\n");
    }
}
