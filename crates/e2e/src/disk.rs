//! A small disk of a test's own, which can be filled.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory. Dropping it takes it away.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts a disk of this size at this folder, which is made.
    ///
    /// # Errors
    /// Where one may not mount (tests of this kind need root).
    pub fn mount(folder: &Path, megabytes: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let status = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m,mode=0700"),
                "tmpfs",
            ])
            .arg(folder)
            .status()?;
        anyhow::ensure!(status.success(), "mount: {status}");
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Lets nothing be written to it any more.
    ///
    /// # Errors
    /// Where somebody is writing.
    pub fn make_read_only(&self) -> anyhow::Result<()> {
        let status = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.folder)
            .status()?;
        anyhow::ensure!(status.success(), "mount: {status}");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being ended may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
