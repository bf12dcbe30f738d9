//! Removing what nobody needs any more.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nonna_engine::Result;

use super::store::{ContextStore, disk};

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freed {
    /// The digests of the contexts.
    pub contexts: Vec<String>,
    /// How many contents.
    pub blobs: usize,
    /// How many bytes they had.
    pub bytes: u64,
}

impl ContextStore {
    /// Removes every context but these, and the contents that no context has
    /// any more. What was announced, sent or used within `grace` stays: a
    /// deployment may be about to need it. With `dry_run` it only tells what
    /// would go.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub fn retain(&self, digests: &[String], grace: Duration, dry_run: bool) -> Result<Freed> {
        let inner = &self.inner;
        let _gate = inner.gate();
        let mut freed = Freed::default();
        let mut needed: HashSet<String> = HashSet::new();
        for dir in [&inner.manifests, &inner.pending] {
            let committed = dir == &inner.manifests;
            for entry in list(dir)? {
                let name = entry.file_name();
                let digest = name
                    .to_str()
                    .and_then(|name| name.strip_suffix(".json"))
                    .map(|hex| format!("sha256:{hex}"));
                let keep = digest
                    .as_ref()
                    .is_some_and(|digest| committed && digests.contains(digest));
                if !keep && !is_young(&entry, grace) {
                    if !dry_run {
                        remove(&entry)?;
                    }
                    freed.contexts.extend(digest.filter(|_| committed));
                } else if let Some(manifest) =
                    digest.and_then(|digest| inner.read_manifest(dir, &digest).transpose())
                {
                    needed.extend(manifest?.blobs().keys().map(|sha| (*sha).to_owned()));
                }
            }
        }
        for dir in list(&inner.blobs)? {
            for blob in list(&dir.path())? {
                let needed = blob.file_name().to_str().is_some_and(|sha| needed.contains(sha));
                if !needed && !is_young(&blob, grace) {
                    freed.bytes += blob.metadata().map_or(0, |meta| meta.len());
                    if !dry_run {
                        remove(&blob)?;
                    }
                    freed.blobs += 1;
                }
            }
        }
        Ok(freed)
    }
}

fn list(dir: &Path) -> Result<Vec<DirEntry>> {
    fs::read_dir(dir)
        .and_then(Iterator::collect)
        .map_err(|error| disk(dir, &error))
}

fn is_young(entry: &DirEntry, grace: Duration) -> bool {
    let age = entry
        .metadata()
        .and_then(|meta| meta.modified())
        .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    // What cannot be judged is left for the next time.
    age.map_or(true, |age| age < grace)
}

fn remove(entry: &DirEntry) -> Result<()> {
    match fs::remove_file(entry.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(&entry.path(), &error)),
        _ => Ok(()),
    }
}
