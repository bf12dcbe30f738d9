//! The seal key in its file, beside the database and never in it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nonna_engine::{Code, Error, Result};
use zeroize::Zeroizing;

use super::SealKey;
use crate::folder::{io_error, sync_folder};

impl SealKey {
    /// Reads a key file; `None` where there is none.
    ///
    /// # Errors
    /// `SealBroken` where it holds no key or everybody on the machine may read
    /// it; `StoreUnavailable` where it cannot be read.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&error, "read", path)),
        };
        let mode = file
            .metadata()
            .map_err(|error| io_error(&error, "read", path))?
            .permissions()
            .mode();
        if mode & 0o007 != 0 {
            return Err(Error::user(
                Code::SealBroken,
                format!(
                    "Everybody on this machine may read the seal key {}.",
                    path.display()
                ),
            )
            .hint(format!(
                "Run `chmod 600 {}`, and `nonna secret rotate-key` once Nonna runs.",
                path.display()
            )));
        }
        // A key has 44 characters: whatever else the path leads to is not read
        // to its end.
        let mut text = Zeroizing::new(String::with_capacity(256));
        let read = Read::by_ref(&mut file).take(256).read_to_string(&mut text);
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => text.clear(),
            Err(error) => return Err(io_error(&error, "read", path)),
        }
        Self::parse(&text)
            .map(Some)
            .map_err(|error| error.detail(format!("the file is {}", path.display())))
    }

    /// Writes the key to a new file that only its owner may read; it is on
    /// disk when this returns.
    ///
    /// # Errors
    /// `Conflict` where the file is there already; `DiskFull`,
    /// `StoreUnavailable`.
    pub fn save_new(&self, path: &Path) -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| io_error(&error, "make", path))?;
        file.write_all(self.to_text().as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(|error| {
                // Half a key must not be taken for one at the next start.
                let _ = std::fs::remove_file(path);
                io_error(&error, "write", path)
            })?;
        sync_folder(path.parent().unwrap_or_else(|| Path::new("/")))
    }
}
