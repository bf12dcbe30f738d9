//! The files of one container's log: the one that is written, and those that
//! were rotated away, plain or compressed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use twox_hash::XxHash3_64;

/// What tells one file from another is the hash of its first entry, of at most
/// so many bytes: there is a time to the nanosecond in it, and it stays the same
/// when the file is renamed, copied or compressed.
const HEAD: usize = 512;

/// A file that is being read.
#[derive(Debug)]
pub(super) struct OpenFile {
    source: Source,
    inode: u64,
    /// What tells it from others, once it has a first entry.
    pub(super) head: Option<u64>,
    /// How many bytes of it were read.
    pub(super) at: u64,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Compressed(Box<GzDecoder<File>>),
}

/// How the log's files stand to the one that is being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the one that is written.
    Current,
    /// It is shorter than what was read of it.
    Truncated,
    /// It was rotated away; this one was begun after it. `lost`: files between
    /// the two are not there any more.
    Rotated { next: PathBuf, lost: bool },
    /// The log is between two files now.
    Between,
    /// All of it was removed.
    Removed,
}

impl OpenFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        let source = match path.extension() == Some(OsStr::new("gz")) {
            true => Source::Compressed(Box::new(GzDecoder::new(file))),
            false => Source::Plain(file),
        };
        let mut open = Self {
            source,
            inode,
            head: None,
            at: 0,
        };
        open.head = head(path)?;
        Ok(open)
    }

    /// Goes to this byte.
    pub(super) fn seek(&mut self, at: u64) -> io::Result<()> {
        if let Source::Compressed(decoder) = &mut self.source {
            io::copy(&mut decoder.take(at.saturating_sub(self.at)), &mut io::sink())?;
        }
        self.at = at;
        Ok(())
    }

    /// Adds what comes next, at most so many bytes; answers how many.
    pub(super) fn read(&mut self, out: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let before = out.len();
        out.resize(before + most, 0);
        let read = match &mut self.source {
            Source::Plain(file) => file.read_at(&mut out[before..], self.at),
            Source::Compressed(decoder) => decoder.read(&mut out[before..]),
        };
        let read = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => {
                out.truncate(before);
                return Err(error);
            }
        };
        out.truncate(before + read);
        if self.head.is_none() && self.at == 0 {
            self.head = hash(&out[before..]);
        }
        self.at += read as u64;
        Ok(read)
    }

    /// How it stands, after all of it was read. `last`: the file of the last
    /// entry that was read.
    pub(super) fn standing(&self, path: &Path, last: Option<u64>) -> io::Result<Standing> {
        match fs::metadata(path) {
            Ok(found) if found.ino() == self.inode => Ok(match found.len() < self.at {
                true => Standing::Truncated,
                false => Standing::Current,
            }),
            Ok(_) => self.rotated(path, last),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                Ok(match folder.try_exists()? {
                    true => Standing::Between,
                    false => Standing::Removed,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn rotated(&self, path: &Path, last: Option<u64>) -> io::Result<Standing> {
        let all = all(path)?;
        // One that was still empty has nothing that tells it from others.
        let known = self.head.or(last);
        let is_this = |other: &PathBuf| {
            fs::metadata(other).is_ok_and(|found| found.ino() == self.inode)
                || known.is_some() && head(other).ok().flatten() == known
        };
        // Podman's are not kept: what was written is unlinked.
        let kept = all.len() > 1;
        match all.iter().rposition(is_this) {
            Some(at) => Ok(match all.get(at + 1) {
                Some(next) => Standing::Rotated {
                    next: next.clone(),
                    lost: false,
                },
                None => Standing::Between,
            }),
            None => Ok(match all.into_iter().next() {
                Some(next) => Standing::Rotated {
                    next,
                    lost: kept && known.is_some(),
                },
                None => Standing::Between,
            }),
        }
    }
}

/// The log's files, the oldest first. The current one is the last; it may be
/// missing for a moment.
pub(super) fn all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        return Ok(Vec::new());
    };
    let mut rotated = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut current = None;
    for entry in entries {
        let entry = entry?;
        let found = entry.file_name();
        let Some(rest) = found.to_str().and_then(|found| found.strip_prefix(name)) else {
            continue;
        };
        if rest.is_empty() {
            current = Some(entry.path());
            continue;
        }
        let number = rest.strip_prefix('.').map(|rest| rest.trim_end_matches(".gz"));
        // Half compressed ones have other names; both may be there for a
        // moment, of which the plain one is whole.
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            rotated.push((std::cmp::Reverse(number), rest.ends_with(".gz"), entry.path()));
        }
    }
    rotated.sort();
    rotated.dedup_by_key(|(number, ..)| *number);
    Ok(rotated
        .into_iter()
        .map(|(.., path)| path)
        .chain(current)
        .collect())
}

/// What tells a file from others; `None` while it has no first entry.
pub(super) fn head(path: &Path) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let mut bytes = Vec::with_capacity(HEAD);
    match path.extension() == Some(OsStr::new("gz")) {
        true => GzDecoder::new(file).take(HEAD as u64).read_to_end(&mut bytes)?,
        false => file.take(HEAD as u64).read_to_end(&mut bytes)?,
    };
    Ok(hash(&bytes))
}

fn hash(bytes: &[u8]) -> Option<u64> {
    let bytes = &bytes[..bytes.len().min(HEAD)];
    let end = match memchr::memchr(b'\n', bytes) {
        Some(end) => end,
        None if bytes.len() == HEAD => HEAD,
        None => return None,
    };
    Some(XxHash3_64::oneshot(&bytes[..end]))
}
