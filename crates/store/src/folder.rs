//! The data folder: where a server keeps its state, one server at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nonna_engine::{Code, Error, Result};

/// The lock's file in the data folder.
const LOCK: &str = "nonna.lock";

/// A data folder that this process holds; dropping it lets go. The kernel lets
/// go for a process that dies, so a lock never outlives its owner.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Takes the folder for this process; makes it, for its owner only, where
    /// it is not there.
    ///
    /// # Errors
    /// `Conflict`, naming the process that holds it; `StoreUnavailable` where
    /// it cannot be made or written.
    pub fn lock(path: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| io_error(&error, "make", path))?;
        let path = path
            .canonicalize()
            .map_err(|error| io_error(&error, "open", path))?;
        let file = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(|error| io_error(&error, "open", &file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(io_error(&error, "lock", &file)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(|error| io_error(&error, "write", &file))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("nonna.db")
    }

    /// The seal key's file.
    #[must_use]
    pub fn seal_key(&self) -> PathBuf {
        self.path.join("seal.key")
    }

    /// The seal key that a rotation is about to make the current one.
    #[must_use]
    pub(crate) fn next_seal_key(&self) -> PathBuf {
        self.path.join("seal.key.next")
    }

    /// The names of what is in the folder, but for the lock.
    pub(crate) fn contents(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path).map_err(|error| io_error(&error, "read", &self.path))?;
        let mut names: Vec<String> = entries
            .filter_map(std::result::Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != LOCK)
            .collect();
        names.sort();
        Ok(names)
    }
}

fn held(path: &Path, lock: &mut File) -> Error {
    let mut text = String::new();
    // The pid only helps to find the other process: without it the error
    // stands all the same.
    let _ = Read::by_ref(lock).take(32).read_to_string(&mut text);
    let who = match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    };
    Error::user(
        Code::Conflict,
        format!("The data folder {} is in use by {who}.", path.display()),
    )
    .hint("Stop that server first, or give this one a data folder of its own.")
}

/// What a failed call to the file system means.
pub(crate) fn io_error(error: &std::io::Error, verb: &str, path: &Path) -> Error {
    let path = path.display();
    let said = error.to_string();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => disk_full().said(format!("{path}: {said}")),
        ErrorKind::AlreadyExists => {
            Error::user(Code::Conflict, format!("{path} is there already.")).said(said)
        }
        ErrorKind::PermissionDenied => {
            Error::user(Code::StoreUnavailable, format!("Nonna may not {verb} {path}."))
                .said(said)
                .hint("Run it as the user who owns the data folder, or mend the folder's permissions.")
        }
        _ => Error::provider(Code::StoreUnavailable, format!("Could not {verb} {path}.")).said(said),
    }
}

pub(crate) fn disk_full() -> Error {
    Error::provider(
        Code::DiskFull,
        "There is no room left on the disk of the data folder.",
    )
    .hint("Free some space; nothing was changed, and it can be tried again.")
    .retry()
}

/// Brings a folder's list of names to disk.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io_error(&error, "write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_held_once_and_the_holder_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state/nonna");
        let held = DataFolder::lock(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let error = DataFolder::lock(&path).unwrap_err();
        assert_eq!(error.code, Code::Conflict);
        assert!(
            error.message.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        DataFolder::lock(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataFolder::lock(&file.join("sub")).unwrap_err();
        assert_eq!(error.code, Code::StoreUnavailable);
        assert!(error.message.contains("file/sub"), "{error}");
    }
}
