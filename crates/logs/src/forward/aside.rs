//! Records that a destination will never take: set aside in a file, with why.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::record::json_string_into;
use crate::search::Entry;

/// The file is put by when it has so many bytes; the one that was put by
/// before goes.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// `NAME.refused.jsonl` beside the position.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
}

impl Aside {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Adds a record.
    pub(super) fn put(&self, entry: &Entry, why: &str) -> io::Result<()> {
        let mut line = String::from("{\"refused\":");
        json_string_into(&mut line, why.as_bytes());
        line.push_str(",\"record\":");
        entry.json_into(&mut line);
        line.push_str("}\n");
        let mut file = self.open()?;
        if file.metadata()?.len() >= FILE_BYTES {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            file = self.open()?;
        }
        file.write_all(line.as_bytes())
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
    }
}
