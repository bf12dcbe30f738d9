//! A folder on the disk, as the model reads it for what it says of services.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nonna_model::folder::Folder;

/// The largest file that is read for what it says of services, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A folder on the disk.
#[derive(Debug, Clone)]
pub struct DiskFolder {
    root: PathBuf,
    committed: bool,
    shown: fn(&Path) -> String,
}

fn whole(path: &Path) -> String {
    path.display().to_string()
}

impl DiskFolder {
    /// The user's own folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            committed: false,
            shown: whole,
        }
    }

    /// What git wrote out of a commit: a link that leads out of it is not
    /// followed, since it would lead to a file of the server's machine.
    #[must_use]
    pub fn committed(root: impl Into<PathBuf>) -> Self {
        Self {
            committed: true,
            ..Self::new(root)
        }
    }

    /// How mistakes name its files.
    #[must_use]
    pub fn shown_by(mut self, shown: fn(&Path) -> String) -> Self {
        self.shown = shown;
        self
    }

    /// Where a path really leads.
    fn find(&self, path: &str) -> io::Result<PathBuf> {
        let file = self.root.join(path);
        if !self.committed {
            return Ok(file);
        }
        let real = fs::canonicalize(&file)?;
        if real.starts_with(fs::canonicalize(&self.root)?) {
            Ok(real)
        } else {
            Err(io::Error::other("it is a link that leads out of the commit"))
        }
    }
}

impl Folder for DiskFolder {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        let read = self.find(path).and_then(|file| Ok((fs::metadata(&file)?, file)));
        let (found, file) = match read {
            Ok(found) => found,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        if !found.is_file() {
            return if found.is_dir() {
                Ok(None)
            } else {
                Err("it is no ordinary file".to_owned())
            };
        }
        if found.len() > MAX_FILE {
            return Err(format!("it has more than {MAX_FILE} bytes"));
        }
        match fs::read(&file) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| "it is no text in UTF-8".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn has(&self, path: &str) -> bool {
        self.find(path).is_ok_and(|file| file.is_file())
    }

    fn shown(&self, path: &str) -> String {
        if self.committed {
            return path.to_owned();
        }
        (self.shown)(&self.root.join(path))
    }
}
