//! One bare repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nonna_engine::Result;
use nonna_model::Name;

use crate::command::{Home, run};
use crate::names::ObjectId;
use crate::tree::Quarantine;

/// How long a small question to git may take.
pub(crate) const QUICK: Duration = Duration::from_secs(60);

/// How many files of packs are kept of what was fetched from a forge: each
/// fetch leaves two or three, and only the last commit is ever needed.
const MOST_PACK_FILES: usize = 60;

/// A bare repository in [`Home`].
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) path: PathBuf,
}

impl Home {
    /// The repository that a project's pushes go to, if there is one.
    #[must_use]
    pub fn project(&self, project: &Name) -> Option<Repository> {
        let path = self.project_path(project);
        path.join("HEAD").is_file().then_some(Repository { path })
    }

    /// The same, made if it is not there.
    ///
    /// # Errors
    /// `StoreUnavailable`; `NotFound` where there is no git.
    pub async fn ensure_project(&self, project: &Name) -> Result<Repository> {
        self.ensure(self.project_path(project)).await
    }

    /// The repository that a forge's is fetched into, made if it is not there,
    /// and made anew where fetches have left many files or more than `most`
    /// bytes in it. `id` is one of Nonna's own ids. Nobody else may use it
    /// meanwhile.
    ///
    /// # Errors
    /// `StoreUnavailable`; `NotFound` where there is no git.
    pub async fn ensure_forge(&self, id: &str, most: u64) -> Result<Repository> {
        let path = self.folder("forges").join(format!("{id}.git"));
        let sizes = pack_sizes(&path);
        if sizes.len() > MOST_PACK_FILES || sizes.iter().sum::<u64>() > most {
            self.remove_forge(id);
        }
        self.ensure(path).await
    }

    /// The ids of what was fetched from forges.
    #[must_use]
    pub fn forges(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder("forges"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".git")?.to_owned()))
            .collect()
    }

    /// Removes what was fetched from a forge.
    pub fn remove_forge(&self, id: &str) {
        let _ = fs::remove_dir_all(self.folder("forges").join(format!("{id}.git")));
    }

    fn project_path(&self, project: &Name) -> PathBuf {
        self.folder("projects").join(format!("{project}.git"))
    }

    async fn ensure(&self, path: PathBuf) -> Result<Repository> {
        if !path.join("HEAD").is_file() {
            let text = path.display().to_string();
            let arguments = [
                "init",
                "--quiet",
                "--bare",
                "--template=",
                "--initial-branch=main",
                "--",
                text.as_str(),
            ];
            run(self.command(&[], &arguments), QUICK).await?;
        }
        Ok(Repository { path })
    }

    /// What a full name of a reference points to.
    ///
    /// # Errors
    /// Where git fails.
    pub async fn resolve(&self, repository: &Repository, full: &str) -> Result<Option<ObjectId>> {
        let arguments = ["for-each-ref", "--format=%(objectname)", "--", full];
        let output = run(
            self.command(&repository.settings(), &repository.of(&arguments)),
            QUICK,
        )
        .await?;
        let text = String::from_utf8_lossy(&output);
        // A prefix lists all that is below it: only the reference itself counts.
        Ok(match text.lines().collect::<Vec<_>>().as_slice() {
            [one] => one.parse().ok(),
            _ => None,
        })
    }

    /// Lets the repository's clones check this branch out, if the one that
    /// they would check out is not there.
    ///
    /// # Errors
    /// Where git fails.
    pub async fn suggest_head(&self, repository: &Repository, branch: &str) -> Result<()> {
        let head = fs::read_to_string(repository.path.join("HEAD")).unwrap_or_default();
        let now = head.trim().strip_prefix("ref: ").unwrap_or_default().to_owned();
        if !now.is_empty() && self.resolve(repository, &now).await?.is_some() {
            return Ok(());
        }
        let full = format!("refs/heads/{branch}");
        let arguments = ["symbolic-ref", "HEAD", full.as_str()];
        run(
            self.command(&repository.settings(), &repository.of(&arguments)),
            QUICK,
        )
        .await?;
        Ok(())
    }

    /// The text of a small file of a commit; `None` where there is none.
    ///
    /// # Errors
    /// Where git fails.
    pub async fn text(
        &self,
        repository: &Repository,
        quarantine: Option<&Quarantine>,
        commit: &ObjectId,
        path: &str,
    ) -> Result<Option<String>> {
        let object = format!("{commit}:{path}");
        let mut size = self.command(
            &repository.settings(),
            &repository.of(&["cat-file", "-s", object.as_str()]),
        );
        Quarantine::apply(quarantine, &mut size);
        const MOST: u64 = 1024 * 1024;
        let fits = run(size, QUICK)
            .await
            .ok()
            .and_then(|output| String::from_utf8_lossy(&output).trim().parse::<u64>().ok())
            .is_some_and(|size| size <= MOST);
        if !fits {
            return Ok(None);
        }
        let mut command = self.command(
            &repository.settings(),
            &repository.of(&["cat-file", "blob", object.as_str()]),
        );
        Quarantine::apply(quarantine, &mut command);
        Ok(String::from_utf8(run(command, QUICK).await?).ok())
    }
}

impl Repository {
    /// The settings of a command on this repository.
    pub(crate) fn settings(&self) -> Vec<String> {
        vec![format!("safe.directory={}", self.path.display())]
    }

    /// Arguments of a command on this repository.
    pub(crate) fn of(&self, arguments: &[&str]) -> Vec<String> {
        let mut all = vec![format!("--git-dir={}", self.path.display())];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all
    }
}

/// The sizes of the files of a repository's packs, those that were cut off too.
pub(crate) fn pack_sizes(repository: &Path) -> Vec<u64> {
    let entries = fs::read_dir(repository.join("objects/pack"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .collect()
}

/// Removes what a process that died has left in a repository: objects of a
/// push that was never accepted, and locks that nobody holds any more.
pub(crate) fn clear_remains(repository: &Path) {
    let is_remains = |name: &str| {
        name.starts_with("incoming-")
            || name.starts_with("tmp_objdir-")
            || name.starts_with("tmp_")
            || name.ends_with(".lock")
    };
    let mut todo = vec![(repository.to_owned(), 0)];
    while let Some((folder, depth)) = todo.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if entry.file_name().to_str().is_some_and(is_remains) {
                tracing::info!(path = %path.display(), "removing what an earlier process left");
                let _ = if is_folder {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                };
            } else if is_folder && depth < 12 {
                todo.push((path, depth + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_fetched_is_made_anew_before_it_grows_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), Path::new("/nonexistent/nonna")).unwrap();
        let repository = home.ensure_forge("con-a", 1000).await.unwrap();
        let packs = repository.path.join("objects/pack");
        fs::write(packs.join("pack-1.pack"), vec![0; 900]).unwrap();
        home.ensure_forge("con-a", 1000).await.unwrap();
        assert_eq!(pack_sizes(&repository.path), [900]);
        fs::write(packs.join("pack-2.pack"), vec![0; 200]).unwrap();
        home.ensure_forge("con-a", 1000).await.unwrap();
        assert_eq!(pack_sizes(&repository.path), [] as [u64; 0]);
        for number in 0..=MOST_PACK_FILES {
            fs::write(packs.join(format!("pack-{number}.idx")), "").unwrap();
        }
        home.ensure_forge("con-a", 1000).await.unwrap();
        assert_eq!(pack_sizes(&repository.path), [] as [u64; 0]);
        assert!(repository.path.join("HEAD").is_file());
        assert_eq!(home.forges(), ["con-a"]);
        home.remove_forge("con-a");
        assert_eq!(home.forges(), [] as [&str; 0]);
    }
}
