//! What replicas print, where it need not be asked of the runtime line by line.

use std::path::PathBuf;

use crate::error::Result;

/// Where a replica's output can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputPlace {
    /// The key of the pipes it was started with ([`OutputPipes::prepare`]).
    pub pipes: Option<String>,
    /// The file in which the runtime keeps it, where it can be read from here.
    pub file: Option<OutputFile>,
}

/// A file in which a container engine keeps a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// The one that is written now.
    pub path: PathBuf,
    /// How its entries look.
    pub format: OutputFormat,
}

/// The formats of [`OutputFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Docker's `json-file`.
    Json,
    /// Podman's `k8s-file`.
    Kubernetes,
}

/// The pipes of one replica that will be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedPipes {
    /// What tells them from others; the replica carries it as a label.
    pub key: String,
    /// What is mounted, read-only: a path of this machine and one in the
    /// container.
    pub mounts: Vec<(PathBuf, String)>,
    /// The program, in the container, that is given the replica's own command
    /// as arguments.
    pub launcher: String,
    /// The processor that the launcher is for, as images name it.
    pub architecture: &'static str,
}

/// Pipes that replicas write into in place of the runtime's own.
///
/// All calls may wait for a disk.
pub trait OutputPipes: Send + Sync {
    /// Makes pipes for a replica that will be started. They stay until
    /// [`OutputPipes::removed`].
    ///
    /// # Errors
    /// `StoreUnavailable`: the replica can be started without.
    fn prepare(&self) -> Result<PreparedPipes>;

    /// The replica is gone, or never came to be. What it printed is still read.
    fn removed(&self, key: &str);

    /// The last lines that the replica printed, oldest first.
    fn last_lines(&self, key: &str, count: usize) -> Vec<Vec<u8>>;
}
