//! The spool's folder: segments by number, and what they take of the disk.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{self, Dropped};

/// A segment is begun when one has so many bytes: few enough that most are
/// read and removed before the kernel has written them to the disk.
const SEGMENT: u64 = 2 * 1024 * 1024;
/// How often is looked whether there is room again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The path of a segment.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.spool"))
}

/// The numbers of the segments that are there, in order.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".spool"))
            .and_then(|hex| u64::from_str_radix(hex, 16).ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum()
}

/// One container's spool, written.
#[derive(Debug)]
struct Spool {
    number: u64,
    file: Option<File>,
    /// Bytes of the segment that is written.
    size: u64,
    /// Bytes of all segments, as far as is known.
    total: u64,
    /// Not told yet: by stream.
    dropped: [Dropped; 2],
}

impl Spool {
    fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self {
            // What another holder wrote last may not be whole: never go on
            // with it.
            number: segments(folder)?.last().copied().unwrap_or(0),
            file: None,
            size: 0,
            total: bytes(folder),
            dropped: Default::default(),
        })
    }

    fn append(&mut self, folder: &Path, frame: &[u8]) -> io::Result<()> {
        if self.file.is_none() || self.size >= SEGMENT {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path(folder, self.number + 1))?;
            self.number += 1;
            self.size = 0;
            self.file = Some(file);
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        if let Err(error) = file.write_all_at(frame, self.size) {
            // Half a frame is none.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += frame.len() as u64;
        self.total += frame.len() as u64;
        Ok(())
    }
}

/// All spools, written within a quota.
#[derive(Debug)]
pub(super) struct Spools {
    /// So many bytes may all take together, and one half of them.
    quota: u64,
    of: HashMap<Arc<Path>, Spool>,
    looked: Instant,
}

impl Spools {
    pub(super) fn new(quota: u64) -> Self {
        Self {
            quota,
            of: HashMap::new(),
            looked: Instant::now(),
        }
    }

    /// Writes a frame with output, or counts it as dropped. Never fails: what
    /// the disk does not take is dropped too.
    pub(super) fn data(&mut self, folder: &Arc<Path>, stderr: bool, time: i64, frame: &[u8]) {
        let fits = self.fits(folder, frame.len() as u64);
        let Some(spool) = self.spool(folder) else {
            return;
        };
        let payload = frame.get(frame::HEADER..).unwrap_or_default();
        let stream = usize::from(stderr);
        if !fits || !Self::tell(spool, folder, stderr, time) || spool.append(folder, frame).is_err() {
            spool.dropped[stream].add(payload);
        }
    }

    /// Counts what was dropped before it came here.
    pub(super) fn dropped(&mut self, folder: &Arc<Path>, stderr: bool, dropped: Dropped) {
        if let Some(spool) = self.spool(folder) {
            spool.dropped[usize::from(stderr)].join(dropped);
        }
    }

    /// Says that the stream has ended. That is written whatever the quota.
    pub(super) fn closed(&mut self, folder: &Arc<Path>, stderr: bool, time: i64) {
        if let Some(spool) = self.spool(folder) {
            Self::tell(spool, folder, stderr, time);
            // Without it the end is found out by waiting a little.
            let _ = spool.append(folder, &frame::closed(stderr, time));
        }
    }

    /// Tells what was dropped, where there is room to tell it; this is tried
    /// from time to time, so that it is told though nothing more comes.
    pub(super) fn tell_drops(&mut self, time: i64) {
        let folders: Vec<_> = self.of.keys().cloned().collect();
        for folder in folders {
            if self.fits(&folder, 1)
                && let Some(spool) = self.of.get_mut(&folder)
            {
                for stderr in [false, true] {
                    Self::tell(spool, &folder, stderr, time);
                }
            }
        }
    }

    /// Whether something was dropped and is not told.
    pub(super) fn owes(&self) -> bool {
        self.of
            .values()
            .any(|spool| spool.dropped.iter().any(|dropped| !dropped.is_nothing()))
    }

    /// Lets go of a container's spool.
    pub(super) fn forget(&mut self, folder: &Arc<Path>) {
        self.of.remove(folder);
    }

    fn tell(spool: &mut Spool, folder: &Path, stderr: bool, time: i64) -> bool {
        let dropped = &mut spool.dropped[usize::from(stderr)];
        if dropped.is_nothing() {
            return true;
        }
        let frame = frame::dropped(*dropped, stderr, time);
        let told = spool.append(folder, &frame).is_ok();
        if told {
            spool.dropped[usize::from(stderr)] = Dropped::default();
        }
        told
    }

    fn spool(&mut self, folder: &Arc<Path>) -> Option<&mut Spool> {
        if !self.of.contains_key(folder) {
            self.of.insert(Arc::clone(folder), Spool::open(folder).ok()?);
        }
        self.of.get_mut(folder)
    }

    fn fits(&mut self, folder: &Arc<Path>, more: u64) -> bool {
        let fits = |spools: &Self| {
            let all: u64 = spools.of.values().map(|spool| spool.total).sum();
            let one = spools.of.get(folder).map_or(0, |spool| spool.total);
            all + more <= spools.quota && one + more <= spools.quota / 2
        };
        if fits(self) {
            return true;
        }
        // Segments are removed by whoever reads them.
        if self.looked.elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked = Instant::now();
        for (folder, spool) in &mut self.of {
            spool.total = bytes(folder);
        }
        fits(self)
    }
}
