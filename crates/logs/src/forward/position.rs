//! How far a forwarder is, kept beside the store.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The number of the next record to send.
    next: u64,
}

/// The position of one forwarder.
#[derive(Debug)]
pub(super) struct Position {
    path: PathBuf,
    next: u64,
    saved: Option<u64>,
}

/// The name of a store: made once, and kept with it.
pub(super) fn store_name(folder: &Path) -> io::Result<Arc<str>> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join("store-name");
    match fs::read_to_string(&path) {
        Ok(name) if name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()) => return Ok(name.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let name = HEXLOWER.encode(&random);
    write(&path, name.as_bytes())?;
    Ok(name.into())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

impl Position {
    /// The position of this name, or where a new forwarder begins. It is never
    /// behind what the store has: after a power failure that took records which
    /// were sent already, their numbers are given anew.
    pub(super) fn open(folder: &Path, name: &str, begin: u64, end: u64) -> io::Result<Self> {
        let path = folder.join(format!("{name}.position"));
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Kept>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut position = Self {
            path,
            next: kept.map_or(begin, |kept| kept.next).min(end),
            saved: None,
        };
        // A forwarder that never sent anything has a beginning all the same.
        position.save()?;
        Ok(position)
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn set(&mut self, next: u64) {
        self.next = next;
    }

    /// Writes it down, where it changed.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.saved != Some(self.next) {
            write(&self.path, &serde_json::to_vec(&Kept { next: self.next })?)?;
            self.saved = Some(self.next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_kept_and_never_beyond_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let name = store_name(folder.path()).unwrap();
        assert_eq!(name, store_name(folder.path()).unwrap());
        let mut position = Position::open(folder.path(), "loki", 7, 10).unwrap();
        assert_eq!(position.next(), 7);
        position.set(9);
        position.save().unwrap();
        assert_eq!(Position::open(folder.path(), "loki", 0, 10).unwrap().next(), 9);
        assert_eq!(Position::open(folder.path(), "loki", 0, 8).unwrap().next(), 8);
    }
}
