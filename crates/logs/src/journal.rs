//! The journal: where records are safe before they are in a block. Files of
//! frames, written one behind the other, used again when their records are in
//! blocks.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::frame::{self, Frame};
use crate::record::Mark;

/// A file is begun when one has so many bytes: few enough that files are used
/// again while the kernel still has them in memory.
const FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Where a frame is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    file: Arc<File>,
    id: u64,
    offset: u64,
    len: u64,
}

impl Place {
    /// Reads the frame back; `None` where it cannot be read as it was written.
    pub(crate) fn read(&self) -> Option<Frame> {
        let mut bytes = vec![0; usize::try_from(self.len).ok()?];
        self.file.read_exact_at(&mut bytes, self.offset).ok()?;
        Frame::decode(self.id, &bytes)
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

#[derive(Debug)]
struct Written {
    id: u64,
    /// The number behind the last record in it.
    end: u64,
    bytes: u64,
    file: Arc<File>,
}

/// Files of frames in a folder.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    quota: u64,
    /// The last is being written.
    files: VecDeque<Written>,
    next_id: u64,
    spare: Option<PathBuf>,
    buffer: Vec<u8>,
}

/// What was found when the journal was opened.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Frames, in order, with their places.
    pub(crate) frames: Vec<(Frame, Place)>,
    /// How far sources were read, as all frames say, the oldest first.
    pub(crate) marks: Vec<Mark>,
    /// What could not be read, for people.
    pub(crate) damages: Vec<String>,
}

fn name(id: u64) -> String {
    format!("{id:016x}.journal")
}

impl Journal {
    /// Opens the journal of a folder, which is made where it is not there, and
    /// reads what is in it beyond a record's number.
    pub(crate) fn open(folder: &Path, quota: u64, from: u64) -> io::Result<(Self, Found)> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut ids = Vec::new();
        let mut spare = None;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str() else {
                continue;
            };
            if file_name == "spare" {
                spare = Some(entry.path());
            }
            if let Some(id) = file_name
                .strip_suffix(".journal")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        let mut journal = Self {
            folder: folder.to_owned(),
            quota,
            files: VecDeque::new(),
            next_id: ids.last().map_or(1, |last| last + 1),
            spare,
            buffer: Vec::new(),
        };
        let mut found = Found::default();
        for id in ids {
            journal.read_file(id, from, &mut found)?;
        }
        Ok((journal, found))
    }

    fn read_file(&mut self, id: u64, from: u64, found: &mut Found) -> io::Result<()> {
        let path = self.folder.join(name(id));
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(&path)?);
        let size = file.metadata()?.len();
        let mut offset = 0;
        let mut end = 0;
        let mut header = [0; frame::HEADER];
        while offset + frame::HEADER as u64 <= size {
            file.read_exact_at(&mut header, offset)?;
            // Behind the last frame stands what the file held before.
            let Some(len) = Frame::length(id, &header) else {
                break;
            };
            let place = Place {
                file: Arc::clone(&file),
                id,
                offset,
                len,
            };
            let whole = offset.checked_add(len).is_some_and(|end| end <= size);
            let Some(mut frame) = whole.then(|| place.read()).flatten() else {
                found.damages.push(format!(
                    "The journal {} ends in a frame that was not written whole, at byte {offset}; \
                     it was never acknowledged.",
                    path.display()
                ));
                break;
            };
            end = frame.end();
            offset += len;
            found.marks.append(&mut frame.marks);
            if end > from {
                found.frames.push((frame, place));
            }
        }
        self.files.push_back(Written {
            id,
            end,
            bytes: offset,
            file,
        });
        Ok(())
    }

    /// How many bytes its files have.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes a frame. When this answers, the end of this process does not lose
    /// it; where `power` is set, neither does a power failure.
    pub(crate) fn append(&mut self, frame: &Frame, power: bool) -> io::Result<Place> {
        let full = self.files.back().is_none_or(|file| file.bytes >= FILE_BYTES);
        if self.bytes() >= self.quota {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if full {
            self.begin()?;
        }
        let Some(current) = self.files.back_mut() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        frame.encode(current.id, &mut self.buffer);
        current.file.write_all_at(&self.buffer, current.bytes)?;
        if power {
            current.file.sync_data()?;
        }
        let place = Place {
            file: Arc::clone(&current.file),
            id: current.id,
            offset: current.bytes,
            len: self.buffer.len() as u64,
        };
        current.bytes += place.len;
        current.end = frame.end();
        // One large batch must not hold its memory for ever.
        if self.buffer.capacity() > 4 * 1024 * 1024 {
            self.buffer = Vec::new();
        }
        Ok(place)
    }

    fn begin(&mut self) -> io::Result<()> {
        let id = self.next_id;
        let path = self.folder.join(name(id));
        if let Some(spare) = self.spare.take() {
            fs::rename(&spare, &path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        self.next_id += 1;
        self.files.push_back(Written {
            id,
            end: 0,
            bytes: 0,
            file: Arc::new(file),
        });
        Ok(())
    }

    /// Whether [`Journal::trim`] would give up anything.
    pub(crate) fn can_trim(&self, before: u64) -> bool {
        self.files.len() > 1 && self.files.front().is_some_and(|oldest| oldest.end <= before)
    }

    /// Gives up the files whose records all come before this number.
    pub(crate) fn trim(&mut self, before: u64) {
        while self.files.len() > 1 {
            let Some(oldest) = self.files.front() else { return };
            if oldest.end > before {
                return;
            }
            let path = self.folder.join(name(oldest.id));
            let spare = self.folder.join("spare");
            // Somebody may still read from it what is in no block yet.
            let unread = Arc::strong_count(&oldest.file) == 1;
            let kept = unread && self.spare.is_none() && fs::rename(&path, &spare).is_ok();
            if kept {
                self.spare = Some(spare);
            } else if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a journal of logs cannot be removed");
            }
            self.files.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, Source, Stream};

    fn frame(first: u64, records: u64) -> Frame {
        let source = Source::new("a/b/c", "1", Stream::Stdout);
        let lines: Vec<String> = (first..first + records)
            .map(|n| format!("line {n} {}", "x".repeat(200)))
            .collect();
        Frame {
            first,
            received: 5,
            batch: Batch::of_lines(&source, lines.iter().map(String::as_bytes)),
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_prefix_survives_whatever_is_cut_or_damaged() {
        let temp = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(temp.path(), u64::MAX, 0).unwrap();
        for n in 0..6 {
            journal.append(&frame(n * 3, 3), false).unwrap();
        }
        drop(journal);
        let path = temp.path().join(name(1));
        let whole = fs::read(&path).unwrap();
        let each = whole.len() / 6;
        for at in (0..whole.len()).step_by(7) {
            for cut in [true, false] {
                let mut bytes = whole.clone();
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 0x55;
                }
                fs::write(&path, &bytes).unwrap();
                let (_, found) = Journal::open(temp.path(), u64::MAX, 0).unwrap();
                let frames: Vec<u64> = found.frames.iter().map(|(f, _)| f.first).collect();
                assert_eq!(
                    frames,
                    (0..(at / each) as u64).map(|n| n * 3).collect::<Vec<_>>(),
                    "{at} {cut}"
                );
            }
        }
    }

    #[test]
    fn files_are_used_again_and_what_they_held_before_does_not_come_back() {
        let temp = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(temp.path(), u64::MAX, 0).unwrap();
        let mut next = 0;
        for _ in 0..200 {
            let place = journal.append(&frame(next, 300), false).unwrap();
            assert_eq!(place.read().unwrap().first, next);
            next += 300;
            drop(place);
            journal.trim(next);
        }
        assert!(fs::read_dir(temp.path()).unwrap().count() <= 3);
        drop(journal);
        let (_, found) = Journal::open(temp.path(), u64::MAX, 0).unwrap();
        assert_eq!(found.frames.last().unwrap().0.end(), next);
        assert!(found.frames.windows(2).all(|w| w[0].0.end() == w[1].0.first));
        assert!(found.damages.is_empty());
    }

    #[test]
    fn the_quota_holds() {
        let temp = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(temp.path(), 100_000, 0).unwrap();
        let taken = (0..1_000)
            .take_while(|n| journal.append(&frame(n * 10, 10), false).is_ok())
            .count();
        assert!((20..60).contains(&taken), "{taken}");
    }
}
