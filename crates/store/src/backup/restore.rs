//! Making a data folder of a backup.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use nonna_engine::{Code, Error, Result};
use secrecy::SecretString;

use super::{DATABASE, FORMAT, KEY, MANIFEST, Manifest, ManifestFile, crypt, unusable};
use crate::folder::{DataFolder, io_error, sync_folder};
use crate::seal::SealKey;
use crate::sqlite::open;

/// What zstd's files begin with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The longest manifest that is read.
const MANIFEST_BYTES: u64 = 64 * 1024;
/// The most memory that unpacking may want, as a power of two: 8 MiB.
const WINDOW: u32 = 23;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// Whether the seal key was in it. If not, the server must be given it.
    pub with_key: bool,
}

/// A folder that goes when it is dropped.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes a data folder of a backup. The folder must be empty, or not there, and
/// no server may use it. All is checked before anything is put in its place:
/// the checksums, the version, the database's soundness and its key. Blocks.
///
/// # Errors
/// `Conflict` where the folder is not empty or in use; `InvalidInput` where
/// the file is no backup, is damaged, wants a passphrase, or was made by a
/// newer Nonna; `SealBroken` where its key does not open its database;
/// `DiskFull`, `StoreUnavailable`.
pub fn restore(backup: impl Read, folder: &Path, passphrase: Option<&SecretString>) -> Result<Restored> {
    let folder = DataFolder::lock(folder)?;
    if let Some(first) = folder.contents()?.first() {
        return Err(Error::user(
            Code::Conflict,
            format!(
                "The data folder {} is not empty: it holds {first}.",
                folder.path().display()
            ),
        )
        .hint("Restore into a new folder. What is there is never written over."));
    }
    let staging = Staging(folder.path().join("restore.partial"));
    DirBuilder::new()
        .mode(0o700)
        .create(&staging.0)
        .map_err(|error| io_error(&error, "make", &staging.0))?;
    let manifest = unpack(backup, &staging.0, passphrase)?;
    let key = staging.0.join(KEY);
    let with_key = check(&manifest, &staging.0.join(DATABASE), &key)?;
    // The database last: a folder without one is no server's state.
    if with_key {
        put(&key, &folder.seal_key())?;
    }
    put(&staging.0.join(DATABASE), &folder.database())?;
    sync_folder(folder.path())?;
    Ok(Restored { manifest, with_key })
}

fn put(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| io_error(&error, "make", to))
}

fn unpack(mut backup: impl Read, into: &Path, passphrase: Option<&SecretString>) -> Result<Manifest> {
    let mut start = Vec::new();
    (&mut backup)
        .take(crypt::MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|error| io_error(&error, "read", Path::new("the backup")))?;
    if start == crypt::MAGIC {
        let passphrase = passphrase.ok_or_else(|| {
            Error::user(Code::InvalidInput, "The backup is encrypted.")
                .hint("Give the passphrase that it was made with.")
        })?;
        return unpack_plain(crypt::Reader::new(backup, passphrase)?, into);
    }
    if !start.starts_with(&ZSTD) {
        return Err(unusable("This file is no backup of Nonna's state."));
    }
    unpack_plain(Cursor::new(start).chain(backup), into)
}

fn unpack_plain(archive: impl Read, into: &Path) -> Result<Manifest> {
    let damaged =
        |error: std::io::Error| unusable("The backup is damaged or not complete.").said(error.to_string());
    let mut unzipped = zstd::stream::read::Decoder::new(archive).map_err(damaged)?;
    unzipped.window_log_max(WINDOW).map_err(damaged)?;
    let mut tar = tar::Archive::new(unzipped);
    let mut entries = tar.entries().map_err(damaged)?;
    let mut next = |name: &str| {
        let entry = entries
            .next()
            .ok_or_else(|| unusable(format!("The backup ends before its {name}.")))?
            .map_err(damaged)?;
        let is = entry.path_bytes().into_owned();
        if is != name.as_bytes() || !entry.header().entry_type().is_file() {
            return Err(unusable(format!(
                "The backup holds `{}` where its {name} should be.",
                String::from_utf8_lossy(&is).escape_debug()
            )));
        }
        Ok(entry)
    };
    let mut text = Vec::new();
    next(MANIFEST)?
        .take(MANIFEST_BYTES)
        .read_to_end(&mut text)
        .map_err(damaged)?;
    let manifest = read_manifest(&text)?;
    for file in &manifest.files {
        unpack_file(next(&file.name)?, file, &into.join(&file.name))?;
    }
    Ok(manifest)
}

fn read_manifest(text: &[u8]) -> Result<Manifest> {
    /// What every manifest has, of whatever form.
    #[derive(serde::Deserialize)]
    struct Form {
        format: u32,
        nonna: String,
    }
    let broken =
        |error: serde_json::Error| unusable("The backup's manifest is damaged.").said(error.to_string());
    let form: Form = serde_json::from_slice(text).map_err(broken)?;
    if form.format != FORMAT {
        return Err(unusable(format!(
            "The backup was made by Nonna {} in a form that this Nonna does not know.",
            form.nonna.escape_debug()
        ))
        .hint("Restore it with that version of Nonna."));
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(broken)?;
    let mut names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    if names != [DATABASE] && names != [DATABASE, KEY] {
        return Err(unusable("The backup's manifest names files that no backup has."));
    }
    Ok(manifest)
}

fn unpack_file(mut content: impl Read, file: &ManifestFile, to: &Path) -> Result<()> {
    let wrong = || {
        unusable(format!(
            "The backup is damaged: {} is not what its manifest says.",
            file.name
        ))
    };
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|error| io_error(&error, "make", to))?;
    let mut hash = Context::new(&SHA256);
    let mut left = file.bytes;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = content
            .read(&mut buffer)
            .map_err(|error| wrong().said(error.to_string()))?;
        if read == 0 {
            break;
        }
        left = left.checked_sub(read as u64).ok_or_else(wrong)?;
        hash.update(&buffer[..read]);
        out.write_all(&buffer[..read])
            .map_err(|error| io_error(&error, "write", to))?;
    }
    if left > 0 || HEXLOWER.encode(hash.finish().as_ref()) != file.sha256 {
        return Err(wrong());
    }
    out.sync_all().map_err(|error| io_error(&error, "write", to))
}

/// Checks that the database is sound and known, and that the key opens it;
/// answers whether there is a key.
fn check(manifest: &Manifest, database: &Path, key: &Path) -> Result<bool> {
    open::check_copy(database)?;
    if !manifest.files.iter().any(|file| file.name == KEY) {
        return Ok(false);
    }
    let key = SealKey::load(key)?.ok_or_else(|| unusable("The backup's seal key is missing."))?;
    if open::is_key_of(database, &key)? {
        Ok(true)
    } else {
        Err(crate::seal::wrong_key())
    }
}
