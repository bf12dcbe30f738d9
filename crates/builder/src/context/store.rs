//! Contents and manifests on the disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use nonna_engine::{Code, Error, Result};
use nonna_model::context::{
    ContextLimits, ContextManifest, EntryKind, InvalidContext, digest_hex, is_sha256, printable,
};
use sha2::{Digest, Sha256};

const PIECE: usize = 128 * 1024;

/// What the server answers to a client that announces a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The context's digest.
    pub digest: String,
    /// The contents that have to be sent, by SHA-256, each once. When there
    /// are none the context is held already.
    pub missing: Vec<String>,
}

/// The build contexts that are held here. Cheap to clone. All methods block
/// on the disk: call them beside the asynchronous work.
#[derive(Debug, Clone)]
pub struct ContextStore {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) data_dir: PathBuf,
    pub(super) blobs: PathBuf,
    pub(super) manifests: PathBuf,
    /// Announced, but not all of the contents are there.
    pub(super) pending: PathBuf,
    pub(super) temp: PathBuf,
    pub(super) limits: ContextLimits,
    /// Held while contents are counted on and while they are removed.
    pub(super) gate: Mutex<()>,
}

impl ContextStore {
    /// Opens, or makes, the store in `data_dir/contexts`. What an earlier
    /// process left half written is removed.
    ///
    /// # Errors
    /// `StoreUnavailable`, `DiskFull`.
    pub fn open(data_dir: &Path, limits: ContextLimits) -> Result<Self> {
        let root = data_dir.join("contexts");
        let inner = Inner {
            data_dir: data_dir.to_owned(),
            blobs: root.join("blobs"),
            manifests: root.join("manifests"),
            pending: root.join("pending"),
            temp: root.join("temp"),
            limits,
            gate: Mutex::new(()),
        };
        for dir in [&inner.blobs, &inner.manifests, &inner.pending, &inner.temp] {
            fs::create_dir_all(dir).map_err(|error| disk(dir, &error))?;
        }
        for left in fs::read_dir(&inner.temp).map_err(|error| disk(&inner.temp, &error))? {
            let path = left.map_err(|error| disk(&inner.temp, &error))?.path();
            fs::remove_file(&path).map_err(|error| disk(&path, &error))?;
        }
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The folder that it was opened in.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// The largest context that is accepted.
    #[must_use]
    pub fn limits(&self) -> ContextLimits {
        self.inner.limits
    }

    /// Takes a manifest, and says which contents have to be sent for it.
    ///
    /// # Errors
    /// `InvalidContext`, `StoreUnavailable`, `DiskFull`.
    pub fn announce(&self, manifest: &ContextManifest) -> Result<Announced> {
        manifest
            .validate(&self.inner.limits)
            .map_err(|error| invalid(&error))?;
        let digest = manifest.digest();
        let _gate = self.inner.gate();
        if self.has(&digest) {
            self.touch(&digest);
            return Ok(Announced {
                digest,
                missing: Vec::new(),
            });
        }
        let missing = self.missing(manifest);
        let dir = if missing.is_empty() {
            &self.inner.manifests
        } else {
            &self.inner.pending
        };
        self.inner.write_manifest(dir, &digest, manifest)?;
        Ok(Announced { digest, missing })
    }

    /// Which of the manifest's contents are not here, by SHA-256.
    #[must_use]
    pub fn missing(&self, manifest: &ContextManifest) -> Vec<String> {
        manifest
            .blobs()
            .into_iter()
            .filter(|(sha, size)| !self.inner.has_blob(sha, *size))
            .map(|(sha, _)| sha.to_owned())
            .collect()
    }

    /// Reads one content to its end and keeps it, if it is what it should be.
    ///
    /// # Errors
    /// `InvalidContext` if it has another size or digest; `DiskFull`;
    /// `StoreUnavailable`.
    pub fn put_blob(&self, reader: &mut dyn Read, sha256: &str, size: u64) -> Result<()> {
        if !is_sha256(sha256) {
            return Err(Error::user(
                Code::InvalidContext,
                "A content's name is not a SHA-256 in lower-case hexadecimal.",
            ));
        }
        let mut writer = self.inner.writer()?;
        let mut reader = reader.take(size.saturating_add(1));
        let mut buffer = vec![0; PIECE];
        loop {
            let read = reader.read(&mut buffer).map_err(|error| cut_off(&error))?;
            match buffer.get(..read) {
                Some(data) if !data.is_empty() => writer.write(data)?,
                _ => break,
            }
        }
        writer.keep(&self.inner, Some((sha256, size)))?;
        Ok(())
    }

    /// Makes a context whose contents are all here usable, and gives its
    /// digest.
    ///
    /// # Errors
    /// `InvalidContext` if it may not be, or contents are missing (then
    /// trying again helps); `DiskFull`; `StoreUnavailable`.
    pub fn commit(&self, manifest: &ContextManifest) -> Result<String> {
        manifest
            .validate(&self.inner.limits)
            .map_err(|error| invalid(&error))?;
        let digest = manifest.digest();
        let _gate = self.inner.gate();
        let missing = self.missing(manifest);
        if !missing.is_empty() {
            let count = missing.len();
            let mut error = Error::user(
                Code::InvalidContext,
                format!("{count} of the build context's files were not sent."),
            )
            .hint("Deploy again: what was sent is kept.")
            .retry();
            for entry in &manifest.entries {
                if let EntryKind::File { sha256, .. } = &entry.kind
                    && missing.contains(sha256)
                    && error.details.len() < 5
                {
                    error = error.detail(printable(&entry.path));
                }
            }
            return Err(error);
        }
        self.inner
            .write_manifest(&self.inner.manifests, &digest, manifest)?;
        let pending = self.inner.manifest_path(&self.inner.pending, &digest);
        if let Some(Err(error)) = pending.map(fs::remove_file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%digest, %error, "cannot remove a context's announcement");
        }
        Ok(digest)
    }

    /// Whether the context of this digest is held, whole.
    #[must_use]
    pub fn has(&self, digest: &str) -> bool {
        self.inner
            .manifest_path(&self.inner.manifests, digest)
            .is_some_and(|path| path.is_file())
    }

    /// The context's manifest.
    ///
    /// # Errors
    /// `NotFound`; `StoreUnavailable`.
    pub fn manifest(&self, digest: &str) -> Result<ContextManifest> {
        self.inner
            .read_manifest(&self.inner.manifests, digest)?
            .ok_or_else(|| {
                Error::user(
                    Code::NotFound,
                    format!("The build context {digest} is not held here."),
                )
                .hint("Deploy again from the folder, so that it is sent.")
            })
    }

    /// The content of a file of this context, following links; `None` if
    /// there is no such file.
    ///
    /// # Errors
    /// `InvalidContext` if it is larger than `limit`; `StoreUnavailable`.
    pub fn read_file(&self, manifest: &ContextManifest, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((sha, size)) = manifest.file(path) else {
            return Ok(None);
        };
        if size > limit {
            return Err(Error::user(
                Code::InvalidContext,
                format!(
                    "`{}` has {size} bytes, at most {limit} are expected of it.",
                    printable(path)
                ),
            ));
        }
        let mut content = Vec::new();
        self.inner
            .open_blob(sha, size)?
            .take(limit)
            .read_to_end(&mut content)
            .map_err(|error| disk(&self.inner.blobs, &error))?;
        Ok(Some(content))
    }

    /// Marks a context as used, for the grace period of [`Self::retain`].
    fn touch(&self, digest: &str) {
        if let Some(path) = self.inner.manifest_path(&self.inner.manifests, digest) {
            let touched = File::options()
                .append(true)
                .open(path)
                .and_then(|file| file.set_modified(SystemTime::now()));
            if let Err(error) = touched {
                tracing::debug!(%digest, %error, "cannot mark a context as used");
            }
        }
    }
}

impl Inner {
    pub(super) fn gate(&self) -> MutexGuard<'_, ()> {
        // It guards no data, so a panic elsewhere leaves nothing broken in it.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob_path(&self, sha: &str) -> PathBuf {
        self.blobs.join(sha.get(..2).unwrap_or_default()).join(sha)
    }

    pub(super) fn has_blob(&self, sha: &str, size: u64) -> bool {
        fs::metadata(self.blob_path(sha)).is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }

    /// Opens a content, and removes one that the disk has damaged so that it
    /// is asked for again.
    pub(super) fn open_blob(&self, sha: &str, size: u64) -> Result<File> {
        let path = self.blob_path(sha);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => lost(),
            _ => disk(&path, &error),
        })?;
        if file.metadata().map_err(|error| disk(&path, &error))?.len() != size {
            self.discard_blob(sha);
            return Err(lost());
        }
        Ok(file)
    }

    /// Removes a content that is not what its name says.
    pub(super) fn discard_blob(&self, sha: &str) {
        let path = self.blob_path(sha);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a damaged content");
        }
    }

    pub(super) fn manifest_path(&self, dir: &Path, digest: &str) -> Option<PathBuf> {
        Some(dir.join(format!("{}.json", digest_hex(digest)?)))
    }

    pub(super) fn read_manifest(&self, dir: &Path, digest: &str) -> Result<Option<ContextManifest>> {
        let Some(path) = self.manifest_path(dir, digest) else {
            return Ok(None);
        };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk(&path, &error)),
        };
        let manifest: Option<ContextManifest> = serde_json::from_slice(&text).ok();
        match manifest.filter(|manifest| manifest.digest() == digest) {
            Some(manifest) => Ok(Some(manifest)),
            None => {
                // Power failed before the disk had it all. It is as if it had
                // never been sent.
                tracing::warn!(%digest, "a context's manifest is damaged: removed");
                fs::remove_file(&path).map_err(|error| disk(&path, &error))?;
                Ok(None)
            }
        }
    }

    fn write_manifest(&self, dir: &Path, digest: &str, manifest: &ContextManifest) -> Result<()> {
        let path = self
            .manifest_path(dir, digest)
            .ok_or_else(|| Error::bug("a context's digest is not a digest"))?;
        let text = serde_json::to_vec(manifest)
            .map_err(|error| Error::bug(format!("a manifest cannot be written as JSON: {error}")))?;
        let fail = |error: io::Error| disk(&path, &error);
        let mut temp = tempfile::NamedTempFile::new_in(&self.temp).map_err(fail)?;
        temp.write_all(&text).map_err(fail)?;
        temp.as_file().sync_all().map_err(fail)?;
        temp.persist(&path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    pub(super) fn writer(&self) -> Result<BlobWriter> {
        let temp = tempfile::NamedTempFile::new_in(&self.temp).map_err(|error| disk(&self.temp, &error))?;
        Ok(BlobWriter {
            temp,
            hash: Sha256::new(),
            size: 0,
        })
    }
}

/// A content being written. Dropped, it leaves nothing.
#[derive(Debug)]
pub(super) struct BlobWriter {
    temp: tempfile::NamedTempFile,
    hash: Sha256,
    size: u64,
}

/// A content that was kept.
pub(super) struct Kept {
    pub(super) sha256: String,
    pub(super) size: u64,
    /// Whether it was not there before.
    pub(super) new: bool,
}

impl BlobWriter {
    pub(super) fn write(&mut self, data: &[u8]) -> Result<()> {
        self.temp
            .write_all(data)
            .map_err(|error| disk(self.temp.path(), &error))?;
        self.hash.update(data);
        self.size += data.len() as u64;
        Ok(())
    }

    /// Gives it its name, if it is what was expected.
    pub(super) fn keep(self, store: &Inner, expected: Option<(&str, u64)>) -> Result<Kept> {
        let sha256 = HEXLOWER.encode(&self.hash.finalize());
        if let Some((wanted, size)) = expected
            && (self.size != size || sha256 != wanted)
        {
            return Err(Error::user(
                Code::InvalidContext,
                format!(
                    "A file of the build context is not what was announced: sha256 {wanted}, {size} bytes."
                ),
            )
            .hint("The file may have changed meanwhile, or been damaged on the way. Deploy again.")
            .retry());
        }
        let path = store.blob_path(&sha256);
        let new = !store.has_blob(&sha256, self.size);
        if new {
            let fail = |error: io::Error| disk(&path, &error);
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir).map_err(fail)?;
            }
            self.temp.persist(&path).map_err(|error| fail(error.error))?;
        }
        Ok(Kept {
            sha256,
            size: self.size,
            new,
        })
    }
}

pub(crate) fn disk(path: &Path, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::StorageFull {
        return Error::provider(Code::DiskFull, "No room on the disk for the build context.")
            .hint("Free some room on the server (`nonna doctor` says how much there is), then deploy again.")
            .said(error.to_string())
            .retry();
    }
    Error::provider(
        Code::StoreUnavailable,
        format!(
            "Nonna's build contexts cannot be read or written at {}.",
            path.display()
        ),
    )
    .hint("See that the data folder belongs to the user Nonna runs as, and that the disk is sound.")
    .said(error.to_string())
}

pub(super) fn cut_off(error: &io::Error) -> Error {
    Error::user(
        Code::InvalidContext,
        "The upload of the build context was cut off.",
    )
    .hint("Deploy again: what was sent is kept.")
    .said(error.to_string())
    .retry()
}

fn lost() -> Error {
    Error::provider(
        Code::StoreUnavailable,
        "A file of the build context is not on the server's disk any more.",
    )
    .hint("Deploy again from the folder: what is lacking is sent again.")
}

pub(super) fn invalid(error: &InvalidContext) -> Error {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    let text: String = first.into_iter().chain(letters).collect();
    Error::user(Code::InvalidContext, format!("{text}.")).hint(error.hint())
}
