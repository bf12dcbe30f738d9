//! The source that is looked at.

use nonna_engine::{Code, Error, Result};
use nonna_model::context::{ContextManifest, EntryKind, printable};

/// The largest file that a detector reads, in bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

type ReadFile<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>> + 'a;

/// A build context, for detectors.
pub struct Tree<'a> {
    manifest: &'a ContextManifest,
    read: &'a ReadFile<'a>,
}

impl<'a> Tree<'a> {
    /// The files of this manifest, whose contents `read` gives.
    #[must_use]
    pub fn new(manifest: &'a ContextManifest, read: &'a ReadFile<'a>) -> Self {
        Self { manifest, read }
    }

    /// Whether there is such a file, or a link.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.manifest
            .get(path)
            .is_some_and(|entry| entry.kind != EntryKind::Directory)
    }

    /// Whether there is such a folder with something in it.
    #[must_use]
    pub fn has_folder(&self, path: &str) -> bool {
        self.files()
            .any(|file| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Whether anything is called so.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.manifest.get(path).is_some() || self.has_folder(path)
    }

    /// The files in a folder itself (`""`: at the top) whose names end so.
    pub fn ending<'p>(
        &self,
        folder: &'p str,
        ending: &'p str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'p> {
        self.files().filter(move |file| {
            let name = if folder.is_empty() {
                Some(*file)
            } else {
                file.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'))
            };
            name.is_some_and(|name| !name.contains('/') && name.ends_with(ending))
        })
    }

    /// The first of these that there is.
    #[must_use]
    pub fn first<'p>(&self, paths: &[&'p str]) -> Option<&'p str> {
        paths.iter().copied().find(|path| self.has(path))
    }

    /// All files and links, sorted.
    pub fn files(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.manifest
            .entries
            .iter()
            .filter(|entry| entry.kind != EntryKind::Directory)
            .map(|entry| entry.path.as_str())
    }

    /// A file's text; `None` if there is none.
    ///
    /// # Errors
    /// A file that is too large, or cannot be read.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes = (self.read)(path)?;
        Ok(bytes.map(|bytes| {
            let text = String::from_utf8_lossy(&bytes);
            text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()
        }))
    }

    /// The first line of a file that says something.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn first_line(&self, path: &str) -> Result<Option<String>> {
        Ok(self.text(path)?.and_then(|text| {
            text.lines()
                .map(|line| line.split('#').next().unwrap_or_default().trim())
                .find(|line| !line.is_empty())
                .map(str::to_owned)
        }))
    }

    /// One folder of it; `""` is the top.
    #[must_use]
    pub(super) fn place<'t>(&'t self, folder: &'t str) -> Place<'t> {
        Place { tree: self, folder }
    }

    /// What is at the top, for an error.
    pub(super) fn summary(&self) -> String {
        const SHOWN: usize = 12;
        let mut top: Vec<String> = self
            .manifest
            .entries
            .iter()
            .map(|entry| match entry.path.split_once('/') {
                Some((folder, _)) => format!("{}/", printable(folder)),
                None => printable(&entry.path),
            })
            .collect();
        top.dedup();
        match top.len() {
            0 => "the build context is empty".to_owned(),
            count if count > SHOWN => {
                top.truncate(SHOWN);
                format!(
                    "the build context has {} and {} more",
                    top.join(", "),
                    count - SHOWN
                )
            }
            _ => format!("the build context has {}", top.join(", ")),
        }
    }
}

/// A folder of the source, whose files are named by their paths in it.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    tree: &'t Tree<'t>,
    folder: &'t str,
}

impl Place<'_> {
    /// The path in the source.
    pub(super) fn at(&self, path: &str) -> String {
        if self.folder.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.folder)
        }
    }

    /// As [`Tree::has`].
    pub(super) fn has(&self, path: &str) -> bool {
        self.tree.has(&self.at(path))
    }

    /// As [`Tree::has_folder`].
    pub(super) fn has_folder(&self, path: &str) -> bool {
        self.tree.has_folder(&self.at(path))
    }

    /// As [`Tree::first`].
    pub(super) fn first<'p>(&self, paths: &[&'p str]) -> Option<&'p str> {
        paths.iter().copied().find(|path| self.has(path))
    }

    /// As [`Tree::text`].
    ///
    /// # Errors
    /// A file that is too large, or cannot be read.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>> {
        self.tree.text(&self.at(path))
    }
}

/// A file that says what cannot be understood, on this line (from 1).
pub(super) fn unclear_at(path: &str, line: usize, why: &str, hint: &str) -> Error {
    Error::user(
        Code::InvalidInput,
        format!("`{}`, line {line}, cannot be used: {why}.", printable(path)),
    )
    .hint(hint)
}

/// A file that says what cannot be understood.
pub(super) fn unclear(path: &str, why: &str, hint: &str) -> Error {
    Error::user(
        Code::InvalidInput,
        format!("`{}` cannot be used: {why}.", printable(path)),
    )
    .hint(hint)
}
