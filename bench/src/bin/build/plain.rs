//! The peer: `docker build` of a plain single-stage Dockerfile, as most people
//! write it first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::MACHINE_CA;
use super::projects::Project;

/// Docker's own client: the one of the engine's package, which speaks BuildKit
/// without a plugin.
const DOCKER: &str = "/usr/bin/docker";

/// The plain build of a folder. Dropped, its image is removed.
pub(super) struct Plain {
    folder: PathBuf,
    dockerfile: PathBuf,
    tag: String,
}

impl Plain {
    pub(super) fn new(project: &Project, folder: &Path) -> anyhow::Result<Self> {
        // Beside the folder: ours has none, and must not see it.
        let dockerfile = folder.with_extension("Dockerfile");
        std::fs::write(&dockerfile, project.plain_dockerfile())?;
        Ok(Self {
            folder: folder.to_owned(),
            dockerfile,
            tag: format!("nonna-bench-plain:{}-{}", project.language, std::process::id()),
        })
    }

    pub(super) fn build(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let output = Command::new(DOCKER)
            .env("DOCKER_BUILDKIT", "1")
            .args(["build", "--tag", &self.tag, "--secret"])
            .arg(format!("id=ca,src={MACHINE_CA}"))
            .arg("--file")
            .arg(&self.dockerfile)
            .arg(&self.folder)
            .output()?;
        let took = begun.elapsed();
        anyhow::ensure!(
            output.status.success(),
            "the plain build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(took)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = Command::new(DOCKER).args(["rmi", &self.tag]).output();
    }
}
