//! The files of a commit: listed, judged, and written out into a folder.

use std::path::{Path, PathBuf};

use nonna_engine::{Code, Error, Result};
use nonna_model::context::printable;
use tokio::process::Command;

use crate::command::{Home, run};
use crate::names::ObjectId;
use crate::repository::{QUICK, Repository};

/// Where the objects of a push are until it is accepted, as git tells its
/// hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// `GIT_OBJECT_DIRECTORY`
    pub objects: String,
    /// `GIT_ALTERNATE_OBJECT_DIRECTORIES`
    pub alternates: String,
}

impl Quarantine {
    pub(crate) fn apply(quarantine: Option<&Self>, command: &mut Command) {
        if let Some(quarantine) = quarantine {
            command
                .env("GIT_OBJECT_DIRECTORY", &quarantine.objects)
                .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &quarantine.alternates);
        }
    }
}

/// How large a commit's files may be.
#[derive(Debug, Clone, Copy)]
pub struct TreeLimits {
    /// How many.
    pub entries: usize,
    /// How many bytes together.
    pub total_size: u64,
}

/// What is at a path of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path; what is not UTF-8 in it is replaced.
    pub path: String,
    /// The size of a file, in bytes; 0 for the rest.
    pub size: u64,
    /// A submodule: another repository's commit, whose files are not here.
    pub submodule: bool,
}

/// The files of a commit.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All of them.
    pub entries: Vec<TreeEntry>,
}

impl Tree {
    /// The paths of the submodules.
    pub fn submodules(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|entry| entry.submodule)
            .map(|entry| entry.path.as_str())
    }

    fn check(&self, limits: &TreeLimits) -> Result<()> {
        if self.entries.len() > limits.entries {
            return Err(Error::user(
                Code::InvalidContext,
                format!(
                    "The commit has {} files, at most {} are allowed.",
                    self.entries.len(),
                    limits.entries
                ),
            )
            .hint(
                "Dependencies and build output do not belong into the repository: remove them and commit.",
            ));
        }
        let size: u64 = self.entries.iter().map(|e| e.size).fold(0, u64::saturating_add);
        if size <= limits.total_size {
            return Ok(());
        }
        let mut largest: Vec<&TreeEntry> = self.entries.iter().collect();
        largest.sort_by_key(|entry| std::cmp::Reverse(entry.size));
        let mut error = Error::user(
            Code::InvalidContext,
            format!(
                "The commit's files have {size} bytes, at most {} are allowed.",
                limits.total_size
            ),
        )
        .hint("Remove what the app does not need from the repository, or raise `build.context_limit` on the server.");
        for entry in largest.into_iter().take(5) {
            error = error.detail(format!("{} bytes: {}", entry.size, printable(&entry.path)));
        }
        Err(error)
    }
}

fn parse(output: &[u8]) -> Tree {
    let entries = output
        .split(|b| *b == 0)
        .filter_map(|record| {
            // "<mode> <type> <object> <size, padded>\t<path>"
            let at = record.iter().position(|b| *b == b'\t')?;
            let (head, path) = record.split_at(at);
            let head = std::str::from_utf8(head).ok()?;
            let mut words = head.split_ascii_whitespace();
            let mode = words.next()?;
            let size = words.nth(2)?;
            Some(TreeEntry {
                path: String::from_utf8_lossy(path.get(1..).unwrap_or_default()).into_owned(),
                size: size.parse().unwrap_or(0),
                submodule: mode == "160000",
            })
        })
        .collect();
    Tree { entries }
}

impl Home {
    /// Writes a commit's files into `folder`, which is empty, and tells what
    /// they are. Nothing is written where they are more than `limits`.
    ///
    /// # Errors
    /// `InvalidContext` where they are too many or too large; `DiskFull`; what
    /// git fails with.
    pub async fn write_out(
        &self,
        repository: &Repository,
        quarantine: Option<&Quarantine>,
        commit: &ObjectId,
        folder: &Path,
        limits: &TreeLimits,
    ) -> Result<Tree> {
        let list = ["ls-tree", "-r", "-l", "-z", "--full-tree", commit.as_str()];
        let mut command = self.command(&repository.settings(), &repository.of(&list));
        Quarantine::apply(quarantine, &mut command);
        let tree = parse(&run(command, QUICK).await?);
        tree.check(limits)?;
        let index = self.index(folder);
        let written = self
            .check_out(repository, quarantine, commit, folder, &index)
            .await;
        let _ = std::fs::remove_file(&index);
        written.map_err(|error| match error.provider.as_deref() {
            Some(said) if said.contains("No space left") => Error::provider(
                Code::DiskFull,
                "The commit's files do not fit on the server's disk.",
            )
            .said(said),
            _ => error,
        })?;
        Ok(tree)
    }

    /// Beside the folder, never in it.
    fn index(&self, folder: &Path) -> PathBuf {
        folder.with_extension("index")
    }

    async fn check_out(
        &self,
        repository: &Repository,
        quarantine: Option<&Quarantine>,
        commit: &ObjectId,
        folder: &Path,
        index: &Path,
    ) -> Result<()> {
        let prefix = format!("--prefix={}/", folder.display());
        let steps: [&[&str]; 2] = [
            &["read-tree", commit.as_str()],
            &["checkout-index", "--all", "--force", "--quiet", prefix.as_str()],
        ];
        for arguments in steps {
            let mut command = self.command(&repository.settings(), &repository.of(arguments));
            // The prefix is the only place it may write to.
            command
                .env("GIT_INDEX_FILE", index)
                .env("GIT_WORK_TREE", folder)
                .current_dir(folder);
            Quarantine::apply(quarantine, &mut command);
            run(command, QUICK * 5).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let id = "1".repeat(40);
        let text = format!(
            "100644 blob {id}      12\ta b\n.txt\0160000 commit {id}       -\tvendor/lib\0120000 blob {id}       3\tlink\0"
        );
        let tree = parse(text.as_bytes());
        assert_eq!(tree.entries.len(), 3);
        assert_eq!(tree.entries[0].path, "a b\n.txt");
        assert_eq!(tree.entries[0].size, 12);
        assert_eq!(tree.submodules().collect::<Vec<_>>(), ["vendor/lib"]);
        assert!(parse(b"").entries.is_empty());
        assert!(parse(b"nonsense\0\t\0").entries.is_empty());
    }

    #[test]
    fn what_is_too_large_is_named() {
        let entry = |path: &str, size| TreeEntry {
            path: path.to_owned(),
            size,
            submodule: false,
        };
        let tree = Tree {
            entries: vec![entry("small", 1), entry("big.bin", 100)],
        };
        let limits = |entries, total_size| TreeLimits { entries, total_size };
        assert!(tree.check(&limits(2, 101)).is_ok());
        let large = tree.check(&limits(2, 100)).unwrap_err();
        assert!(large.details[0].contains("big.bin"), "{large:?}");
        assert!(tree.check(&limits(1, 1000)).is_err());
    }
}
