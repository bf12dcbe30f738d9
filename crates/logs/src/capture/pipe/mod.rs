//! Capture by pipes: containers write into FIFOs that Nonna owns, and neither
//! the engine nor its shim touches a line.
//!
//! ```text
//! app ─► FIFO ─► holder ─► spool ─► log proxy
//!        1 MiB   outlives    bounded
//!                Nonna       files
//! ```
//!
//! The launcher is what the container is started with; the
//! [holder](hold) reads the FIFOs; a [`Pipes`] makes them and reads the spools.
//! See `docs/decisions/2026-11-24-output-through-pipes.md` for why it is so.

mod frame;
mod holder;
mod output;
mod spool;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nonna_engine::ports::OutputPipes;
use nonna_engine::ports::output::PreparedPipes;
use nonna_engine::{Code, Error, Result};
use rustix::fs::{FlockOperation, Mode, flock};
use serde::{Deserialize, Serialize};

pub use self::holder::{HolderOptions, hold};
use self::output::{PipeOutput, Reader};
use super::watch::Watcher;
use super::{Container, Lines, Output};

/// The program that containers are started with.
static LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/launcher"));
/// What it prints to the engine, with the end of the line (`launcher.c`).
pub const HINT: &str = "nonna: what this container prints is kept by Nonna; read it with `nonna logs`\n";

/// Where a container finds the launcher.
pub const LAUNCHER_IN_CONTAINER: &str = "/.nonna/launcher";
/// Where a container finds its pipes.
pub const PIPES_IN_CONTAINER: &str = "/.nonna/output";

const OUT: &str = "out";
const ERR: &str = "err";
const PIPES: &str = "pipes";
const LOCK: &str = "holder.lock";
const STOP: &str = "holder.stop";
const REMOVED: &str = "removed";
const ABOUT: &str = "container.json";
/// How long a holder may take until it has new pipes open.
const HOLDER_PATIENCE: Duration = Duration::from_secs(5);

/// The first argument with which a program is the holder, see [`run_if_asked`].
const HOLD: &str = "hold-output";

/// How this very program is started as the holder of a folder's pipes, where
/// it begins with [`run_if_asked`].
///
/// # Errors
/// Where the program's own path is not known.
pub fn this_program(root: &Path, options: HolderOptions) -> io::Result<Vec<OsString>> {
    // The path may be that of another version by now; what runs is what is
    // meant.
    let program = PathBuf::from("/proc/self/exe");
    let program = match program.exists() {
        true => program,
        false => std::env::current_exe()?,
    };
    Ok(vec![
        program.into(),
        HOLD.into(),
        root.into(),
        options.quota.to_string().into(),
    ])
}

/// Is the holder, where this program was started as [`this_program`] says;
/// answers its exit code then.
#[must_use]
pub fn run_if_asked() -> Option<u8> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != HOLD {
        return None;
    }
    let root = arguments.next()?;
    let quota = arguments.next().and_then(|text| text.to_str()?.parse().ok());
    let mut options = HolderOptions::default();
    options.quota = quota.unwrap_or(options.quota);
    // Of nobody's terminal and group: it outlives who started it.
    let _ = rustix::process::setsid();
    Some(u8::from(hold(Path::new(&root), options).is_err()))
}

fn spool_of(container: &Path) -> PathBuf {
    container.join("spool")
}

/// The pipes of one container that will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What tells these pipes from others: for [`Pipes::open`].
    pub key: String,
    /// The folder to mount at [`PIPES_IN_CONTAINER`], read-only.
    pub pipes: PathBuf,
    /// The program to mount at [`LAUNCHER_IN_CONTAINER`], read-only, and to start
    /// with the container's own command as arguments.
    pub launcher: PathBuf,
}

/// All pipes of an installation, in one folder.
#[derive(Debug)]
pub struct Pipes {
    root: PathBuf,
    watcher: Watcher,
    /// How to start a holder: this program and these arguments end in [`hold`].
    holder: Vec<OsString>,
    starting: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct About {
    id: String,
    service: String,
    replica: String,
}

impl Pipes {
    /// Opens the folder, which is made where it is not there, and starts a
    /// holder where there is none.
    ///
    /// # Errors
    /// `StoreUnavailable` where the folder cannot be written or no holder can
    /// be started.
    pub fn start(root: &Path, holder: Vec<OsString>) -> Result<Self> {
        let pipes = Self {
            root: root.to_owned(),
            watcher: Watcher::new(),
            holder,
            starting: Mutex::new(()),
        };
        pipes.make_root().map_err(|error| unusable(root, &error))?;
        pipes.ensure_holder()?;
        Ok(pipes)
    }

    fn make_root(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        let launcher = self.launcher();
        // Containers may have the one that is there mounted: only another
        // version is put in its place.
        if fs::read(&launcher).is_ok_and(|there| there == LAUNCHER) {
            return Ok(());
        }
        let part = self.root.join("launcher.part");
        fs::write(&part, LAUNCHER)?;
        fs::set_permissions(&part, Permissions::from_mode(0o755))?;
        fs::rename(part, launcher)
    }

    fn launcher(&self) -> PathBuf {
        self.root.join("launcher")
    }

    /// Whether a holder is at work.
    fn is_held(&self) -> io::Result<bool> {
        let lock = holder::lock_file(&self.root)?;
        Ok(flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Starts a holder where there is none, or in place of the one that is
    /// there: after an update.
    ///
    /// # Errors
    /// `StoreUnavailable` where it cannot be started.
    pub fn ensure_holder(&self) -> Result<()> {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: &io::Error| {
            Error::provider(
                Code::StoreUnavailable,
                "The process that holds the containers' output pipes cannot be started.",
            )
            .said(error.to_string())
            .hint("Set `logs.capture` to `files` to go without it.")
        };
        if self.is_held().map_err(|error| failed(&error))? {
            return Ok(());
        }
        let (program, arguments) = self
            .holder
            .split_first()
            .ok_or_else(|| failed(&io::ErrorKind::InvalidInput.into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        // Somebody must take note of its end; that is all this thread does.
        std::thread::Builder::new()
            .name("output-holder".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || child.wait())
            .map_err(|error| failed(&error))?;
        let deadline = Instant::now() + HOLDER_PATIENCE;
        while !self.is_held().map_err(|error| failed(&error))? {
            if Instant::now() > deadline {
                return Err(failed(&io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Makes pipes for a container, and waits until they are held. May wait
    /// for a disk.
    ///
    /// # Errors
    /// `StoreUnavailable` where they cannot be made or nobody holds them.
    pub fn make_ready(&self) -> Result<Prepared> {
        self.ensure_holder()?;
        let key = key();
        let container = self.root.join(&key);
        let pipes = container.join(PIPES);
        self.make(&key).map_err(|error| unusable(&container, &error))?;
        let deadline = Instant::now() + HOLDER_PATIENCE;
        while !is_read(&pipes.join(ERR)) {
            if Instant::now() > deadline {
                let _ = fs::remove_dir_all(&container);
                return Err(unusable(&container, &io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Prepared {
            key,
            pipes,
            launcher: self.launcher(),
        })
    }

    /// Makes them under another name first: a holder never sees half of it.
    fn make(&self, key: &str) -> io::Result<()> {
        let part = self.root.join(format!("{key}.part"));
        let pipes = part.join("made");
        DirBuilder::new().mode(0o700).create(&part)?;
        DirBuilder::new().mode(0o700).create(spool_of(&part))?;
        fs::create_dir(&pipes)?;
        for name in [OUT, ERR] {
            let path = pipes.join(name);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                Mode::from_raw_mode(0o666),
                0,
            )?;
            // Whatever the umask: any user of the container writes.
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        }
        fs::set_permissions(&pipes, Permissions::from_mode(0o755))?;
        fs::rename(pipes, part.join(PIPES))?;
        fs::rename(part, self.root.join(key))
    }

    fn container(&self, key: &str) -> Option<PathBuf> {
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_key.then(|| self.root.join(key))
    }

    /// Opens what a container writes into its pipes, behind a position.
    ///
    /// # Errors
    /// `StoreUnavailable` where the spool cannot be read.
    pub fn open(&self, key: &str, container: &Container, position: Option<&[u8]>) -> Result<Box<dyn Output>> {
        let position = position.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let folder = self
            .container(key)
            .ok_or_else(|| unusable(&self.root, &io::ErrorKind::InvalidInput.into()))?;
        let spool: Arc<Path> = spool_of(&folder).into();
        let folder: Arc<Path> = folder.into();
        if !folder.exists() {
            return Ok(Box::new(super::Ended));
        }
        // For whoever finds the spool when the container is gone.
        let about = About {
            id: container.id.to_string(),
            service: container.service.to_string(),
            replica: container.replica.to_string(),
        };
        let written = serde_json::to_vec(&about)
            .map_err(io::Error::other)
            .and_then(|bytes| fs::write(folder.join(ABOUT), bytes));
        written.map_err(|error| unusable(&folder, &error))?;
        let reader = Reader::open(&folder, &spool, &position.unwrap_or_default())
            .map_err(|error| unusable(&folder, &error))?;
        Ok(Box::new(PipeOutput {
            shared: Arc::new(Mutex::new(reader)),
            watch: self.watcher.watch(&spool),
        }))
    }

    /// Takes note that a container is gone: when its spool was read, its output
    /// has ended.
    pub fn mark_removed(&self, key: &str) {
        if let Some(container) = self.container(key)
            && container.exists()
            && let Err(error) = fs::write(container.join(REMOVED), [])
        {
            tracing::warn!(%error, folder = %container.display(), "it cannot be noted that a container is gone");
        }
    }

    /// Removes the pipes and the spool of a container that is gone and whose
    /// output has been read to its end.
    pub fn forget(&self, key: &str) {
        if let Some(container) = self.container(key)
            && let Err(error) = fs::remove_dir_all(&container)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %container.display(), "the pipes of a container that is gone cannot be removed");
        }
    }

    /// The keys of all pipes that are there, each with the container that they
    /// were last opened for.
    ///
    /// # Errors
    /// `StoreUnavailable` where the folder cannot be read.
    pub fn all(&self) -> Result<Vec<(String, Option<Container>)>> {
        let read = || -> io::Result<Vec<_>> {
            let mut all = Vec::new();
            for entry in fs::read_dir(&self.root)? {
                let path = entry?.path();
                let key = path.file_name().and_then(|name| name.to_str());
                let Some(key) = key.filter(|_| path.join(PIPES).is_dir()) else {
                    continue;
                };
                let about = fs::read(path.join(ABOUT)).ok();
                let about = about.and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok());
                let container = about.map(|about| Container {
                    id: about.id.into(),
                    service: about.service.into(),
                    replica: about.replica.into(),
                });
                all.push((key.to_owned(), container));
            }
            Ok(all)
        };
        read().map_err(|error| unusable(&self.root, &error))
    }

    /// The last lines that a container printed, oldest first, as far as they
    /// are in the newest segments.
    #[must_use]
    pub fn newest_lines(&self, key: &str, count: usize) -> Vec<Vec<u8>> {
        let Some(container) = self.container(key) else {
            return Vec::new();
        };
        let folder: Arc<Path> = spool_of(&container).into();
        let Ok(mut reader) = Reader::open(&container.into(), &folder, &Default::default()) else {
            return Vec::new();
        };
        let mut last = std::collections::VecDeque::new();
        let nobody = Container {
            id: key.into(),
            service: "".into(),
            replica: "".into(),
        };
        loop {
            let mut lines = Lines::new(&nobody);
            let more = reader.parse(&mut lines);
            for record in lines.batch().iter() {
                if last.len() == count {
                    last.pop_front();
                }
                last.push_back(record.line.to_vec());
            }
            if !more && !matches!(reader.fill(), Ok(output::Filled::Read)) {
                return last.into();
            }
        }
    }
}

impl OutputPipes for Pipes {
    fn prepare(&self) -> Result<PreparedPipes> {
        let prepared = self.make_ready()?;
        Ok(PreparedPipes {
            key: prepared.key,
            mounts: vec![
                (prepared.launcher, LAUNCHER_IN_CONTAINER.to_owned()),
                (prepared.pipes, PIPES_IN_CONTAINER.to_owned()),
            ],
            launcher: LAUNCHER_IN_CONTAINER.to_owned(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        })
    }

    fn removed(&self, key: &str) {
        self.mark_removed(key);
    }

    fn last_lines(&self, key: &str, count: usize) -> Vec<Vec<u8>> {
        self.newest_lines(key, count)
    }
}

/// Whether somebody has it open for reading.
fn is_read(pipe: &Path) -> bool {
    use rustix::fs::OFlags;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(pipe, flags, Mode::empty()).is_ok()
}

fn key() -> String {
    let mut bytes = [0; 12];
    // Without randomness there is the time, and a folder is never used twice.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&crate::store::now().to_le_bytes());
    }
    data_encoding::HEXLOWER.encode(&bytes)
}

fn unusable(folder: &Path, error: &io::Error) -> Error {
    Error::provider(
        Code::StoreUnavailable,
        format!(
            "The containers' output pipes in {} cannot be used.",
            folder.display()
        ),
    )
    .said(error.to_string())
    .retry()
}
