//! A build context: the files of a folder that is built, named by what they
//! hold. The client announces a [`ContextManifest`], the server answers which
//! contents it lacks, and only those travel, as frames ([`frame_header`],
//! [`FrameDecoder`]).
//!
//! Everything here is judged before a byte is written: [`ContextManifest::validate`]
//! refuses what could reach outside of the folder or fill the disk.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod frame;

pub use frame::{FRAME_HEADER_LEN, FrameDecoder, FrameError, FrameEvent, frame_header};

/// The longest path in a context, in bytes.
pub const MAX_PATH: usize = 4096;
/// The longest name in a path, in bytes.
pub const MAX_COMPONENT: usize = 255;
/// How many symbolic links may lead to one another: what Linux follows.
const MAX_LINK_HOPS: usize = 40;

/// How large a context may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextLimits {
    /// How many files, links and empty folders.
    pub entries: usize,
    /// How many bytes all files together may have.
    pub total_size: u64,
}

impl Default for ContextLimits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            total_size: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// One file, link or empty folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContextEntry {
    /// The path below the folder, its parts separated by `/`.
    pub path: String,
    /// What is there.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The SHA-256 of its content: 64 lower-case hexadecimal digits.
        sha256: String,
        /// Whether its owner may run it. No other mode bit counts.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as it is stored.
        target: String,
    },
    /// A folder with nothing in it. Folders with content need no entry.
    Directory,
}

/// All of a build context but the contents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContextManifest {
    /// The entries, in the order of their paths' bytes, no path twice.
    pub entries: Vec<ContextEntry>,
}

/// Why a context is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", Place(path))]
pub struct InvalidContext {
    /// The path it is about, if it is about one.
    pub path: Option<String>,
    /// What is wrong.
    pub reason: Reason,
}

struct Place<'a>(&'a Option<String>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, ": `{}`", printable(path)),
            None => Ok(()),
        }
    }
}

/// A path as it may be shown: control characters escaped, very long ones cut.
#[must_use]
pub fn printable(path: &str) -> String {
    const SHOWN: usize = 200;
    let mut text: String = path.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if path.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// What is wrong with a context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// An empty path.
    #[error("the build context has an entry without a path")]
    EmptyPath,
    /// It begins with `/`.
    #[error("the build context has an absolute path")]
    Absolute,
    /// It contains `..`.
    #[error("the build context has a path that climbs out with `..`")]
    Climbs,
    /// It contains `.` or two slashes in a row, or ends with one.
    #[error("the build context has a path with an empty part or a `.`")]
    NotNormal,
    /// It contains a control character.
    #[error("the build context has a path with a control character")]
    Control,
    /// The path is too long.
    #[error("the build context has a path longer than {MAX_PATH} bytes")]
    PathTooLong,
    /// A name in it is too long.
    #[error("the build context has a name longer than {MAX_COMPONENT} bytes")]
    NameTooLong,
    /// The same path twice.
    #[error("the build context names the same path twice")]
    Duplicate,
    /// Not in the order of the paths.
    #[error("the build context is not sorted by path")]
    Unsorted,
    /// A path lies below a file or a link.
    #[error("the build context puts a path below `{}`, which is not a folder", printable(.parent))]
    BelowFile {
        /// The file or link.
        parent: String,
    },
    /// A folder has an entry though it is not empty.
    #[error("the build context lists a folder that is not empty")]
    NotEmpty,
    /// A link leads out of the folder.
    #[error("the build context has a symbolic link that leads out of the folder (to `{}`)", printable(.target))]
    LinkLeadsOut {
        /// Where it points.
        target: String,
    },
    /// A link's target is empty, too long or has control characters.
    #[error("the build context has a symbolic link with an unusable target")]
    BadTarget,
    /// Links that lead to one another without end.
    #[error("the build context has symbolic links that lead to one another without end")]
    LinkLoop,
    /// Not a SHA-256.
    #[error("the build context has a file whose `sha256` is not 64 lower-case hexadecimal digits")]
    BadDigest,
    /// The same content with two sizes.
    #[error("the build context gives the same content two sizes")]
    SizeConflict,
    /// Too many entries.
    #[error("the build context has {count} entries, at most {limit} are allowed")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Too large.
    #[error("the build context has {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How many bytes it has.
        size: u64,
        /// How many it may have.
        limit: u64,
    },
}

impl InvalidContext {
    fn at(path: &str, reason: Reason) -> Self {
        Self {
            path: Some(path.to_owned()),
            reason,
        }
    }

    fn whole(reason: Reason) -> Self {
        Self { path: None, reason }
    }

    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.reason {
            Reason::LinkLeadsOut { .. } => {
                "Only what is in the folder is sent. Replace the link by a copy, or leave it out in `.dockerignore`."
            }
            Reason::LinkLoop | Reason::BadTarget => {
                "Mend or remove the link, or leave it out in `.dockerignore`."
            }
            Reason::TooMany { .. } | Reason::TooLarge { .. } => {
                "Leave out what the build does not need (dependencies, build output, data) in `.dockerignore`."
            }
            Reason::Control | Reason::PathTooLong | Reason::NameTooLong => {
                "Rename it, or leave it out in `.dockerignore`."
            }
            _ => "Send the context with `nonna deploy`, which never makes such an entry.",
        }
    }
}

/// Checks one path of a context by itself.
///
/// # Errors
/// See [`Reason`].
pub fn check_path(path: &str) -> Result<(), InvalidContext> {
    let refuse = |reason| Err(InvalidContext::at(path, reason));
    if path.is_empty() {
        return refuse(Reason::EmptyPath);
    }
    if path.len() > MAX_PATH {
        return refuse(Reason::PathTooLong);
    }
    if path.starts_with('/') {
        return refuse(Reason::Absolute);
    }
    if path.chars().any(char::is_control) {
        return refuse(Reason::Control);
    }
    for part in path.split('/') {
        match part {
            "" | "." => return refuse(Reason::NotNormal),
            ".." => return refuse(Reason::Climbs),
            _ if part.len() > MAX_COMPONENT => return refuse(Reason::NameTooLong),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a text is a SHA-256 as contexts write it: 64 lower-case
/// hexadecimal digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The hexadecimal part of a context's digest (`sha256:…`), if it is one.
#[must_use]
pub fn digest_hex(digest: &str) -> Option<&str> {
    digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex))
}

impl ContextManifest {
    /// A manifest of these entries, put into their order.
    #[must_use]
    pub fn new(mut entries: Vec<ContextEntry>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self { entries }
    }

    /// The context's digest: `sha256:` and 64 hexadecimal digits over every
    /// path, kind, executable bit, link target and content.
    #[must_use]
    pub fn digest(&self) -> String {
        // Every text is preceded by its length, so no two manifests have the
        // same encoding.
        let mut hash = Sha256::new();
        hash.update(b"nonna context 1\n");
        let text = |hash: &mut Sha256, s: &str| {
            hash.update((s.len() as u64).to_be_bytes());
            hash.update(s.as_bytes());
        };
        for entry in &self.entries {
            match &entry.kind {
                EntryKind::File {
                    size,
                    sha256,
                    executable,
                } => {
                    hash.update(if *executable { b"x" } else { b"f" });
                    text(&mut hash, &entry.path);
                    hash.update(size.to_be_bytes());
                    text(&mut hash, sha256);
                }
                EntryKind::Symlink { target } => {
                    hash.update(b"l");
                    text(&mut hash, &entry.path);
                    text(&mut hash, target);
                }
                EntryKind::Directory => {
                    hash.update(b"d");
                    text(&mut hash, &entry.path);
                }
            }
        }
        format!("sha256:{}", HEXLOWER.encode(&hash.finalize()))
    }

    /// How many bytes all files have together.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| match entry.kind {
                EntryKind::File { size, .. } => size,
                _ => 0,
            })
            .fold(0, u64::saturating_add)
    }

    /// The contents by SHA-256, each once, with their sizes.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<&str, u64> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                EntryKind::File { size, sha256, .. } => Some((sha256.as_str(), *size)),
                _ => None,
            })
            .collect()
    }

    /// The entry at this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&ContextEntry> {
        self.entries
            .binary_search_by(|entry| entry.path.as_str().cmp(path))
            .ok()
            .and_then(|at| self.entries.get(at))
    }

    /// The file that a path leads to, links followed: its SHA-256 and its size.
    /// In a valid context no link leads out.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<(&str, u64)> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut here: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    here.pop()?;
                    continue;
                }
                _ => here.push(part),
            }
            match self.get(&here.join("/")).map(|entry| &entry.kind) {
                Some(EntryKind::Symlink { target }) => {
                    links += 1;
                    if links > MAX_LINK_HOPS {
                        return None;
                    }
                    here.pop();
                    todo.extend(target.split('/').rev().map(str::to_owned));
                }
                Some(EntryKind::File { size, sha256, .. }) => {
                    return todo.is_empty().then_some((sha256.as_str(), *size));
                }
                _ => {}
            }
        }
        None
    }

    /// Checks everything that can be known without the contents.
    ///
    /// # Errors
    /// The first thing that is wrong, with the path it is about.
    pub fn validate(&self, limits: &ContextLimits) -> Result<(), InvalidContext> {
        if self.entries.len() > limits.entries {
            return Err(InvalidContext::whole(Reason::TooMany {
                count: self.entries.len(),
                limit: limits.entries,
            }));
        }
        let size = self.total_size();
        if size > limits.total_size {
            return Err(InvalidContext::whole(Reason::TooLarge {
                size,
                limit: limits.total_size,
            }));
        }
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        let mut links: HashMap<&str, &str> = HashMap::new();
        let mut leaves: HashMap<&str, &EntryKind> = HashMap::with_capacity(self.entries.len());
        let mut before: Option<&str> = None;
        for entry in &self.entries {
            let path = entry.path.as_str();
            check_path(path)?;
            match before.map(|before| before.cmp(path)) {
                Some(std::cmp::Ordering::Equal) => {
                    return Err(InvalidContext::at(path, Reason::Duplicate));
                }
                Some(std::cmp::Ordering::Greater) => {
                    return Err(InvalidContext::at(path, Reason::Unsorted));
                }
                _ => before = Some(path),
            }
            leaves.insert(path, &entry.kind);
            match &entry.kind {
                EntryKind::File { size, sha256, .. } => {
                    if !is_sha256(sha256) {
                        return Err(InvalidContext::at(path, Reason::BadDigest));
                    }
                    if *sizes.entry(sha256).or_insert(*size) != *size {
                        return Err(InvalidContext::at(path, Reason::SizeConflict));
                    }
                }
                EntryKind::Symlink { target } => {
                    if target.is_empty() || target.len() > MAX_PATH || target.chars().any(char::is_control) {
                        return Err(InvalidContext::at(path, Reason::BadTarget));
                    }
                    links.insert(path, target);
                }
                EntryKind::Directory => {}
            }
        }
        for entry in &self.entries {
            for (at, _) in entry.path.match_indices('/') {
                let parent = entry.path.get(..at).unwrap_or_default();
                match leaves.get(parent) {
                    None => {}
                    Some(EntryKind::Directory) => {
                        return Err(InvalidContext::at(parent, Reason::NotEmpty));
                    }
                    Some(_) => {
                        return Err(InvalidContext::at(
                            &entry.path,
                            Reason::BelowFile {
                                parent: parent.to_owned(),
                            },
                        ));
                    }
                }
            }
        }
        for (path, target) in &links {
            follow(path, target, &links).map_err(|reason| InvalidContext::at(path, reason))?;
        }
        Ok(())
    }
}

/// Follows a link as the kernel would, and refuses it when any step of the way
/// leads out of the folder. Comparing texts alone is not enough: a link to a
/// folder further up makes a harmless `x/..` climb out.
fn follow(path: &str, target: &str, links: &HashMap<&str, &str>) -> Result<(), Reason> {
    let out = || Reason::LinkLeadsOut {
        target: target.to_owned(),
    };
    if target.starts_with('/') {
        return Err(out());
    }
    let mut here: Vec<&str> = path.split('/').collect();
    here.pop();
    let mut todo: Vec<&str> = target.split('/').rev().collect();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        match part {
            "" | "." => {}
            ".." => {
                here.pop().ok_or_else(out)?;
            }
            _ => {
                here.push(part);
                if let Some(next) = links.get(here.join("/").as_str()) {
                    hops += 1;
                    if hops > MAX_LINK_HOPS {
                        return Err(Reason::LinkLoop);
                    }
                    if next.starts_with('/') {
                        return Err(out());
                    }
                    here.pop();
                    todo.extend(next.split('/').rev());
                }
            }
        }
        // A chain of doubling links would fill the memory before its hops end.
        if todo.len() > MAX_PATH {
            return Err(Reason::LinkLoop);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
