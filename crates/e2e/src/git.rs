//! A developer's working copy, driven with the real `git`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::{Installation, Ran};

/// A working copy. It is removed with the installation's folder.
#[derive(Debug)]
pub struct WorkingCopy<'n> {
    nonna: &'n Installation,
    folder: PathBuf,
}

/// A `git` command that knows nothing of the machine's configuration.
#[must_use]
pub fn command(home: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .env_remove("NONNA_TOKEN")
        .env_remove("NONNA_SERVER")
        .stdin(Stdio::null());
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Dev")
            .env(format!("GIT_{who}_EMAIL"), "dev@example.org");
    }
    command
}

impl<'n> WorkingCopy<'n> {
    /// A new repository in a folder of this name, on the branch `main`.
    ///
    /// # Errors
    /// Where git fails.
    pub fn init(nonna: &'n Installation, name: &str) -> anyhow::Result<Self> {
        let folder = nonna.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let copy = Self { nonna, folder };
        copy.git(&["init", "--quiet", "--initial-branch=main"])?.ok()?;
        Ok(copy)
    }

    /// A folder that is a working copy already.
    #[must_use]
    pub fn at(nonna: &'n Installation, folder: PathBuf) -> Self {
        Self { nonna, folder }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A git command in it, not started yet.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.nonna.folder());
        command.arg("-C").arg(&self.folder).args(arguments);
        command
    }

    /// Runs git in it.
    ///
    /// # Errors
    /// Where git cannot be started.
    pub fn git(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        Ok(self.command(arguments).output().context("start git")?.into())
    }

    /// Writes files and commits all there is; answers the commit.
    ///
    /// # Errors
    /// Where git fails.
    pub fn commit(&self, files: &[(&str, &str)]) -> anyhow::Result<String> {
        for (path, text) in files {
            let path = self.folder.join(path);
            std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            std::fs::write(path, text)?;
        }
        self.git(&["add", "--all", "--force", "."])?.ok()?;
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "Change"])?
            .ok()?;
        self.head()
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// Where there is none.
    pub fn head(&self) -> anyhow::Result<String> {
        Ok(self.git(&["rev-parse", "HEAD"])?.ok()?.stdout.trim().to_owned())
    }

    /// Pushes with these arguments.
    ///
    /// # Errors
    /// Where git cannot be started.
    pub fn push(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.git(&[&["push"], arguments].concat())
    }
}
