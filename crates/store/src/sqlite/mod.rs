//! The store in SQLite: one file, one process.

mod access;
mod audit;
mod blobs;
mod deployments;
mod events;
mod fail;
mod forge;
mod journal;
pub(crate) mod open;
mod places;
mod port;
mod releases;
mod row;
mod threads;
mod variables;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nonna_engine::{Code, Error, Result};

use self::threads::Threads;
use crate::backup::{self, BackupOptions, Manifest};
use crate::folder::{DataFolder, io_error, sync_folder};
use crate::seal::{SealKey, Sealer};

/// The store in a SQLite database.
///
/// Dropping it waits for what was begun and closes the database.
pub struct SqliteStore {
    threads: Threads,
    sealer: Arc<Sealer>,
    path: PathBuf,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens a database, makes it where it is not there, and brings it up to
    /// date. Nothing keeps another process from it: see [`DataFolder`].
    ///
    /// # Errors
    /// `StoreUnavailable` where the file is damaged, is not Nonna's, or was
    /// written by a newer Nonna; `SealBroken` where the key is not its key.
    pub fn open(path: &Path, key: SealKey) -> Result<Self> {
        let writer = open::writer(path, &key)?;
        Ok(Self {
            threads: Threads::start(writer, path)?,
            sealer: Arc::new(Sealer::new(key)),
            path: path.to_owned(),
        })
    }

    /// Opens a data folder's database with the key that lies beside it, or the
    /// one that is given; a new folder gets a new key. Finishes a rotation of
    /// the key that was cut short.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; `SealBroken` too where there is a database
    /// but no key.
    pub fn open_in(folder: &DataFolder, given: Option<SealKey>) -> Result<Self> {
        let database = folder.database();
        // What a backup leaves that was cut short.
        for name in folder.contents()? {
            if name.starts_with(backup::PARTIAL) {
                remove_if_there(&folder.path().join(name))?;
            }
        }
        let key = match given {
            Some(key) => key,
            None => folder_key(folder, &database)?,
        };
        Self::open(&database, key)
    }

    /// Seals everything anew under another key, in one transaction; from then
    /// on only the new key opens this store. Answers how many secrets and
    /// blobs were sealed anew. For a key that lies in the data folder use
    /// [`SqliteStore::rotate_key`].
    ///
    /// # Errors
    /// `SealBroken` where something does not open: nothing was changed then.
    pub async fn reseal(&self, new: SealKey) -> Result<u64> {
        let new = Arc::new(new);
        // Readers meet what is sealed anew before they are told of the switch.
        self.sealer.admit(Arc::clone(&new));
        let sealer = Arc::clone(&self.sealer);
        let key = Arc::clone(&new);
        let switch = Arc::clone(&self.sealer);
        self.threads
            .write_alone(
                move |connection| {
                    let open =
                        |purpose: crate::seal::Purpose<'_>, sealed: &[u8]| sealer.open(purpose, sealed);
                    let seal = |purpose: crate::seal::Purpose<'_>, plain: &[u8]| key.seal(purpose, plain);
                    let number =
                        variables::reseal(connection, open, seal)? + blobs::reseal(connection, open, seal)?;
                    open::replace_check(connection, &key)?;
                    Ok(number)
                },
                move || switch.switch(new),
            )
            .await
    }

    /// Writes a backup of the whole state to `writer`, as it is at one moment,
    /// while all goes on; answers what is in it. A copy of the database is made
    /// beside it meanwhile, so its disk needs room for that.
    ///
    /// # Errors
    /// `DiskFull`, `StoreUnavailable`: what was written is no backup then.
    pub async fn backup(
        &self,
        options: BackupOptions,
        writer: impl std::io::Write + Send + 'static,
    ) -> Result<Manifest> {
        let (path, key) = (self.path.clone(), self.sealer.current());
        tokio::task::spawn_blocking(move || backup::write(&path, &key, &options, writer))
            .await
            .map_err(|error| Error::bug("The backup broke off.").said(error.to_string()))?
    }

    /// Makes a new key, seals everything anew under it and puts it in the
    /// place of the folder's `seal.key`. A crash at any moment leaves a folder
    /// that opens.
    ///
    /// # Errors
    /// As [`SqliteStore::reseal`]; `Conflict` where the key does not lie in
    /// the folder but was given.
    pub async fn rotate_key(&self, folder: &DataFolder) -> Result<u64> {
        let file = folder.seal_key();
        if SealKey::load(&file)?.as_ref() != Some(&*self.sealer.current()) {
            return Err(Error::user(
                Code::Conflict,
                "The seal key was given to this server; it does not lie in the data folder.",
            )
            .hint("Give the server the new key where it was given the old one."));
        }
        let new = SealKey::generate()?;
        let next = folder.next_seal_key();
        remove_if_there(&next)?;
        new.save_new(&next)?;
        let number = self.reseal(new).await?;
        take_over(folder)?;
        Ok(number)
    }
}

fn folder_key(folder: &DataFolder, database: &Path) -> Result<SealKey> {
    let (file, next) = (folder.seal_key(), folder.next_seal_key());
    if let Some(new) = SealKey::load(&next)? {
        // A rotation was cut short: the database tells on which side.
        if database.exists() && open::is_key_of(database, &new)? {
            take_over(folder)?;
        } else {
            remove_if_there(&next)?;
        }
    }
    if let Some(key) = SealKey::load(&file)? {
        return Ok(key);
    }
    if database.exists() {
        return Err(Error::user(
            Code::SealBroken,
            format!(
                "There is a database, but its seal key {} is missing.",
                file.display()
            ),
        )
        .hint("Put the key back, or restore a backup into an empty data folder."));
    }
    let key = SealKey::generate()?;
    key.save_new(&file)?;
    Ok(key)
}

/// Puts the next key in the place of the old one.
fn take_over(folder: &DataFolder) -> Result<()> {
    let (file, next) = (folder.seal_key(), folder.next_seal_key());
    std::fs::rename(&next, &file).map_err(|error| io_error(&error, "replace", &file))?;
    sync_folder(folder.path())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(&error, "remove", path)),
        _ => Ok(()),
    }
}
