//! How a `git` process is started, and the folder that all of it lives in.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::hook::PRE_RECEIVE;

/// How much memory of its own a git process may have: an object that unpacks
/// to more is refused by git in words.
const MEMORY: u64 = 1024 * 1024 * 1024;
/// How long a process gets to tidy up behind itself when it is ended.
const TIDY: Duration = Duration::from_secs(5);

/// What every git process is told, whatever else. No hook runs but Nonna's,
/// no other configuration counts, memory stays bounded, and an object that is
/// not sound is never kept.
const SETTINGS: &[&str] = &[
    "core.bigFileThreshold=16m",
    "core.deltaBaseCacheLimit=64m",
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=256m",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "pack.threads=1",
    "pack.windowMemory=64m",
    "transfer.fsckObjects=true",
    // Old repositories have these, and every forge takes them.
    "receive.fsck.badTimezone=ignore",
    "receive.fsck.missingSpaceBeforeDate=ignore",
    "receive.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    // One pack a push: nothing is unpacked in memory, nothing is many files.
    "transfer.unpackLimit=1",
    "receive.autogc=false",
    "receive.shallowUpdate=true",
    "receive.denyDeletes=false",
    "receive.denyDeleteCurrent=ignore",
    "receive.denyNonFastForwards=false",
    "receive.advertisePushOptions=false",
    "uploadpack.allowFilter=true",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "http.followRedirects=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "advice.defaultBranchName=false",
];

/// The folder of everything about git: repositories, hooks, work.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::StoreUnavailable,
    };
    Error::provider(code, format!("{} cannot be used.", path.display())).said(error.to_string())
}

impl Home {
    /// Opens the folder, made if it is not there, and clears what a process
    /// that died has left. `program` is the `nonna` binary: as
    /// `hooks/pre-receive` it is the only hook there is.
    ///
    /// # Errors
    /// `StoreUnavailable`, `DiskFull`.
    pub fn open(root: &Path, program: &Path) -> Result<Self> {
        let home = Self {
            root: root.to_owned(),
        };
        let make = |path: &Path| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| unusable(path, &error))
        };
        for folder in ["projects", "forges", "hooks", "empty"] {
            make(&home.root.join(folder))?;
        }
        // What was being written out when the process died.
        let work = home.root.join("work");
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(&work, &error)),
            _ => make(&work)?,
        }
        let hook = home.root.join("hooks").join(PRE_RECEIVE);
        let _ = fs::remove_file(&hook);
        symlink(program, &hook).map_err(|error| unusable(&hook, &error))?;
        for group in ["projects", "forges"] {
            let folder = home.root.join(group);
            for entry in fs::read_dir(&folder).map_err(|error| unusable(&folder, &error))? {
                let entry = entry.map_err(|error| unusable(&folder, &error))?;
                crate::repository::clear_remains(&entry.path());
            }
        }
        Ok(home)
    }

    /// The socket that hooks ask at.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("push.sock")
    }

    pub(crate) fn folder(&self, group: &str) -> PathBuf {
        self.root.join(group)
    }

    /// A folder for work, removed when dropped; and at the next start, should
    /// the process die before.
    ///
    /// # Errors
    /// `StoreUnavailable`, `DiskFull`.
    pub fn work(&self) -> Result<TempDir> {
        let folder = self.root.join("work");
        tempfile::Builder::new()
            .prefix("w")
            .tempdir_in(&folder)
            .map_err(|error| unusable(&folder, &error))
    }

    /// A `git` process: no shell, an environment of its own, and these
    /// settings beside those of every one.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, settings: &[String], arguments: &[S]) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("HOME", self.root.join("empty"))
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .current_dir(self.root.join("empty"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts ends with it.
            .process_group(0)
            .kill_on_drop(true);
        let hooks = format!("core.hooksPath={}", self.root.join("hooks").display());
        for setting in SETTINGS
            .iter()
            .copied()
            .chain(std::iter::once(hooks.as_str()))
            .chain(settings.iter().map(String::as_str))
        {
            command.arg("-c").arg(setting);
        }
        command.args(arguments);
        command
    }

    /// The version of git on this machine.
    ///
    /// # Errors
    /// `NotFound` where there is no git.
    pub async fn version(&self) -> Result<String> {
        let output = run(self.command(&[], &["version"]), Duration::from_secs(10)).await?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }
}

/// Starts a process and limits its memory, and with it that of whatever it
/// starts later.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    spawn_within(command, None)
}

/// The same; no file that it writes may have more than so many bytes.
fn spawn_within(mut command: Command, largest: Option<u64>) -> Result<Child> {
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::provider(Code::NotFound, "There is no git on the server's machine.")
                .hint("Install it there: `apt-get install git`.")
        }
        _ => Error::provider(
            Code::RuntimeRefused,
            "git cannot be started on the server's machine.",
        )
        .said(error.to_string()),
    })?;
    if let Some(pid) = pid(&child) {
        let limit = Rlimit {
            current: Some(MEMORY),
            maximum: Some(MEMORY),
        };
        if let Err(error) = rustix::process::prlimit(Some(pid), Resource::Data, limit) {
            tracing::debug!(%error, "a git process has no limit of memory");
        }
        if largest.is_some() {
            let limit = Rlimit {
                current: largest,
                maximum: largest,
            };
            if let Err(error) = rustix::process::prlimit(Some(pid), Resource::Fsize, limit) {
                tracing::debug!(%error, "a git process has no limit of files");
            }
        }
    }
    Ok(child)
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Ends a process and what it started: asked first, so that git removes what
/// it has half written, then killed.
pub(crate) fn end(mut child: Child) {
    let Some(pid) = pid(&child) else { return };
    let _ = rustix::process::kill_process_group(pid, Signal::TERM);
    tokio::spawn(async move {
        if tokio::time::timeout(TIDY, child.wait()).await.is_err() {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = child.wait().await;
        }
    });
}

/// The most that is kept of what a process prints.
const MOST_OUTPUT: u64 = 64 * 1024 * 1024;
/// The most that is kept of its complaints.
const MOST_COMPLAINTS: u64 = 16 * 1024;

/// Runs a process to its end and answers what it printed.
///
/// # Errors
/// `RuntimeRefused` with git's own words; `Timeout`.
pub(crate) async fn run(command: Command, limit: Duration) -> Result<Vec<u8>> {
    run_within(command, limit, None).await
}

/// The same; no file that it writes may have more than so many bytes.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_within(command: Command, limit: Duration, largest: Option<u64>) -> Result<Vec<u8>> {
    let mut guard = Ending(Some(spawn_within(command, largest)?));
    let Some(child) = guard.0.as_mut() else {
        return Err(Error::bug("a git process is gone before it began"));
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let mut output = Vec::new();
        let mut complaints = Vec::new();
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(MOST_OUTPUT + 1).read_to_end(&mut output).await,
                None => Ok(0),
            }
        };
        let complain = async {
            match stderr {
                Some(mut stderr) => {
                    let kept = (&mut stderr)
                        .take(MOST_COMPLAINTS)
                        .read_to_end(&mut complaints)
                        .await;
                    // The rest is read, so that nobody waits for a full pipe.
                    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
                    kept
                }
                None => Ok(0),
            }
        };
        let (read, _) = tokio::join!(read, complain);
        let status = child.wait().await;
        (read, status, output, complaints)
    };
    let (read, status, output, complaints) = tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Error::provider(Code::Timeout, "git took too long.").retry())?;
    let said = String::from_utf8_lossy(&complaints).trim().to_owned();
    let ended = status.map_err(|error| Error::bug("A git process was lost.").said(error.to_string()))?;
    read.map_err(|error| Error::bug("What git printed was lost.").said(error.to_string()))?;
    if output.len() as u64 > MOST_OUTPUT {
        return Err(Error::user(
            Code::LimitExceeded,
            "git printed more than is taken.",
        ));
    }
    if ended.success() {
        guard.0 = None;
        Ok(output)
    } else {
        Err(Error::provider(Code::RuntimeRefused, "git failed.").said(said))
    }
}

/// A process that ends with whoever waited for it.
pub(crate) struct Ending(pub(crate) Option<Child>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            end(child);
        }
    }
}
