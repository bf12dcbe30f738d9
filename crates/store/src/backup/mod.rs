//! Backups of Nonna's own state: one file that a restore makes a data folder
//! of. The services' volumes and images are not in it.
//!
//! A backup is a tar archive, compressed with zstd: `manifest.json`, then the
//! files it names with their SHA-256: `nonna.db`, a consistent copy of the
//! database, and `seal.key`, without which no secret in it opens. With a
//! passphrase the whole archive is encrypted (argon2id and AES-256-GCM). Without one,
//! whoever has the backup has every secret: it is to be kept as the data
//! folder is.

mod crypt;
mod restore;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use nonna_engine::{Code, Error, Result};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use restore::{Restored, restore};

use crate::folder::io_error;
use crate::seal::SealKey;
use crate::sqlite::open;

/// The form of the archive that this Nonna writes.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "nonna.db";
const KEY: &str = "seal.key";
/// What the names of unfinished copies of the database begin with.
pub(crate) const PARTIAL: &str = ".backup-";

/// How a backup is made.
#[derive(Debug, Default)]
pub struct BackupOptions {
    /// Encrypts the backup; a restore needs it again.
    pub passphrase: Option<SecretString>,
    /// Leave the seal key out: whoever restores must have it from elsewhere.
    pub without_key: bool,
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the archive.
    pub format: u32,
    /// The version of the Nonna that made it.
    pub nonna: String,
    /// The form of its database.
    pub schema: u32,
    /// When it was made: milliseconds since 1970, UTC.
    pub created_at: i64,
    /// What is in it.
    pub files: Vec<ManifestFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// A copy of the database that goes when it is dropped.
struct Copy {
    path: PathBuf,
    file: File,
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Copies the database as it is at one moment, while others write to it.
fn copy(database: &Path) -> Result<Copy> {
    let folder = database.parent().unwrap_or_else(|| Path::new("/"));
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Error::bug("The system gave no random bytes.").said(error.to_string()))?;
    let path = folder.join(format!("{PARTIAL}{}", HEXLOWER.encode(&random)));
    // Made first, so that only its owner may ever read it.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| io_error(&error, "make", &path))?;
    let copy = Copy { path, file };
    open::copy_into(database, &copy.path)?;
    Ok(copy)
}

fn describe(name: &str, reader: &mut impl Read) -> std::io::Result<ManifestFile> {
    let mut hash = Context::new(&SHA256);
    let mut bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(ManifestFile {
        name: name.to_owned(),
        bytes,
        sha256: HEXLOWER.encode(hash.finish().as_ref()),
    })
}

/// Writes a backup. Blocks.
pub(crate) fn write(
    database: &Path,
    key: &SealKey,
    options: &BackupOptions,
    writer: impl Write,
) -> Result<Manifest> {
    let mut copy = copy(database)?;
    let failed = |error: std::io::Error| io_error(&error, "write", Path::new("the backup"));
    let mut files = vec![describe(DATABASE, &mut copy.file).map_err(failed)?];
    copy.file.rewind().map_err(failed)?;
    let key_text = key.to_text();
    if !options.without_key {
        files.push(describe(KEY, &mut key_text.as_bytes()).map_err(failed)?);
    }
    let manifest = Manifest {
        format: FORMAT,
        nonna: env!("CARGO_PKG_VERSION").to_owned(),
        schema: open::SCHEMA_VERSION,
        created_at: jiff::Timestamp::now().as_millisecond(),
        files,
    };
    match &options.passphrase {
        None => archive(&manifest, &copy.file, &key_text, writer)
            .map_err(failed)?
            .flush(),
        Some(passphrase) => {
            let sealed = crypt::Writer::new(writer, passphrase)?;
            archive(&manifest, &copy.file, &key_text, sealed)
                .map_err(failed)?
                .finish()
        }
    }
    .map_err(failed)?;
    Ok(manifest)
}

fn archive<W: Write>(manifest: &Manifest, database: &File, key: &str, writer: W) -> std::io::Result<W> {
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(writer, 3)?);
    let mut add = |name: &str, bytes: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(manifest.created_at / 1000).unwrap_or_default());
        tar.append_data(&mut header, name, content)
    };
    let text = serde_json::to_vec_pretty(manifest)?;
    add(MANIFEST, text.len() as u64, &mut text.as_slice())?;
    for file in &manifest.files {
        match file.name.as_str() {
            KEY => add(KEY, file.bytes, &mut key.as_bytes())?,
            name => add(name, file.bytes, &mut &*database)?,
        }
    }
    tar.into_inner()?.finish()
}

/// What a file is refused with that no restore can use.
fn unusable(message: impl Into<String>) -> Error {
    Error::user(Code::InvalidInput, message)
        .hint("Take another backup. Nothing was restored, and the data folder is as it was.")
}
