//! A segment's file: blocks one behind the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twox_hash::XxHash3_64;

use super::block::{self, Header};
use super::data::{BlockData, Opener};
use super::filter;

/// What a segment's file begins with: the format's name and version.
pub(crate) const MAGIC: [u8; 16] = *b"NONNALOGSEGMENT1";
/// What its name ends with.
pub(crate) const SUFFIX: &str = "segment";

/// One block in a segment.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) header: Header,
    /// Where it begins in the file.
    pub(crate) offset: u64,
}

/// A file of blocks. Readers may hold one that was removed or replaced.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    file: File,
    blocks: Mutex<Vec<Arc<Block>>>,
}

impl Segment {
    /// The file name of a segment whose first record has this number.
    pub(crate) fn name(first: u64) -> String {
        format!("{first:016x}.{SUFFIX}")
    }

    /// Makes a segment.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all_at(&MAGIC, 0)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            blocks: Mutex::default(),
        })
    }

    /// Opens a segment, reading its blocks' headers only. What is torn off at
    /// its end is removed (it is still in the journal, or was never
    /// acknowledged); what is damaged in its middle is left out. Answers what
    /// was wrong, for people.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        let mut segment = Self {
            path: path.to_owned(),
            file,
            blocks: Mutex::default(),
        };
        let mut damages = Vec::new();
        let mut blocks = Vec::new();
        let mut offset = MAGIC.len() as u64;
        let mut magic = [0; MAGIC.len()];
        if segment.file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
            damages.push(format!(
                "{} is no segment of logs of this version.",
                path.display()
            ));
            return Ok((segment, damages));
        }
        while offset < size {
            match segment.header_at(offset, size) {
                Some(header) => {
                    let end = offset + header.total();
                    blocks.push(Arc::new(Block { header, offset }));
                    offset = end;
                }
                None => match segment.next_header(offset + 1, size)? {
                    Some(next) => {
                        damages.push(format!(
                            "{} is damaged from byte {offset} to byte {next}; the records there are lost.",
                            path.display()
                        ));
                        offset = next;
                    }
                    None => {
                        damages.push(format!(
                            "{} ended in a block that was not written whole, at byte {offset} of {size}; \
                             it was cut off there.",
                            path.display()
                        ));
                        segment.file.set_len(offset)?;
                        break;
                    }
                },
            }
        }
        // Only the last can have been hit by a crash.
        if let Some(last) = blocks.last()
            && segment.body(last, &mut Vec::new()).is_none()
        {
            damages.push(format!(
                "{} ended in a block that was not written whole, at byte {} of {size}; it was cut off there.",
                path.display(),
                last.offset
            ));
            segment.file.set_len(last.offset)?;
            blocks.pop();
        }
        segment.blocks = Mutex::new(blocks);
        Ok((segment, damages))
    }

    fn header_at(&self, offset: u64, size: u64) -> Option<Header> {
        let mut bytes = [0; block::HEADER];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Header::read(&bytes)
            .filter(|header| offset.checked_add(header.total()).is_some_and(|end| end <= size))
    }

    /// The next place where a block begins.
    fn next_header(&self, from: u64, size: u64) -> io::Result<Option<u64>> {
        let mut chunk = vec![0; 256 * 1024];
        let mut at = from;
        while at < size {
            let count = self.file.read_at(&mut chunk, at)?;
            for place in memchr::memmem::find_iter(&chunk[..count], &block::MAGIC) {
                let offset = at + place as u64;
                if self.header_at(offset, size).is_some() {
                    return Ok(Some(offset));
                }
            }
            if count <= block::MAGIC.len() {
                break;
            }
            // What lies across two chunks is seen in the next.
            at += (count - block::MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Block>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds blocks, header and all, at the end. Where the disk does not take
    /// them, no part of them stays.
    pub(crate) fn append(&self, bytes: &[u8], headers: Vec<Header>) -> io::Result<()> {
        let mut offset = self.bytes();
        self.file.write_all_at(bytes, offset).inspect_err(|_| {
            let _ = self.file.set_len(offset);
        })?;
        let mut blocks = self.lock();
        for header in headers {
            let end = offset + header.total();
            blocks.push(Arc::new(Block { header, offset }));
            offset = end;
        }
        Ok(())
    }

    /// The same under another name, which its file was given.
    pub(crate) fn renamed(self, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..self
        }
    }

    /// Makes a power failure not lose it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock()
            .last()
            .map_or(MAGIC.len() as u64, |last| last.offset + last.header.total())
    }

    /// Its blocks, oldest first.
    pub(crate) fn blocks(&self) -> Vec<Arc<Block>> {
        self.lock().clone()
    }

    /// The number of its first record and the number behind its last.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        let blocks = self.lock();
        Some((blocks.first()?.header.first, blocks.last()?.header.end()))
    }

    /// When its last record arrived.
    pub(crate) fn received(&self) -> i64 {
        self.lock()
            .iter()
            .map(|block| block.header.received)
            .max()
            .unwrap_or(i64::MAX)
    }

    /// Whether a block may hold all of these words.
    pub(crate) fn may_hold(&self, block: &Block, words: &[u64]) -> bool {
        let start = block.offset + block::HEADER as u64;
        filter::may_hold(block.header.filter as usize, words, |at, out| {
            self.file.read_exact_at(out, start + at as u64).ok()
        })
    }

    /// Reads all behind a block's header; `None` where it is damaged.
    pub(crate) fn body(&self, block: &Block, body: &mut Vec<u8>) -> Option<()> {
        let length = block.header.total() - block::HEADER as u64;
        body.resize(usize::try_from(length).ok()?, 0);
        self.file
            .read_exact_at(body, block.offset + block::HEADER as u64)
            .ok()?;
        (XxHash3_64::oneshot(body) == block.header.checksum).then_some(())
    }

    /// Reads a block whole; `None` where it is damaged.
    pub(crate) fn read(
        &self,
        block: &Block,
        opener: &mut Opener,
        body: &mut Vec<u8>,
        data: &mut BlockData,
    ) -> Option<()> {
        self.body(block, body)?;
        opener.text(&block.header, body, data)?;
        opener.columns(&block.header, body, data)
    }
}
