//! How source is built, and why: plain data, for people and programs to read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What [`BuildPlan::builder`] is where the folder's own Dockerfile decides.
pub const DOCKERFILE: &str = "Dockerfile";

/// How source is built, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildPlan {
    /// What builds it: `Dockerfile`, `python` …
    pub builder: String,
    /// The framework or generator, if one was recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// The files that it was recognised by.
    pub found: String,
    /// Which rule chose the builder.
    pub decided: String,
    /// The versions of the language and its tools.
    #[serde(default)]
    pub versions: Vec<PlannedVersion>,
    /// What installs the dependencies, in order.
    #[serde(default)]
    pub install: Vec<PlannedCommand>,
    /// What builds, in order.
    #[serde(default)]
    pub build: Vec<PlannedCommand>,
    /// What the image starts; `None`: only its Dockerfile knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<PlannedCommand>,
    /// The images that it begins from, the final one last.
    #[serde(default)]
    pub base_images: Vec<String>,
    /// The folders that outlive a build.
    #[serde(default)]
    pub caches: Vec<PlannedCache>,
    /// What else was recognised, and why it lost.
    #[serde(default)]
    pub others: Vec<Recognised>,
    /// What its reader should know or could do better.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What decides otherwise.
    #[serde(default)]
    pub overrule: Vec<Overrule>,
    /// The Dockerfile that was made, for use without Nonna.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedDockerfile>,
}

/// A version, and why this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedVersion {
    /// Of what: `Node.js`, `pnpm` …
    pub what: String,
    /// The version.
    pub version: String,
    /// The file that asks for it, or that nothing does.
    pub why: String,
}

/// A command, and the rule that chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCommand {
    /// What runs.
    pub command: String,
    /// Why.
    pub why: String,
}

/// A folder that outlives a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCache {
    /// What it is for: `npm`, `pip` …
    pub name: String,
    /// Where a step finds it.
    pub folder: String,
}

/// Another language that was recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recognised {
    /// Which.
    pub language: String,
    /// By what.
    pub found: String,
    /// Why it did not decide.
    pub why: String,
}

/// How a part of the plan is overruled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrule {
    /// Which part: `language`, `version`, `install` …
    pub what: String,
    /// The line for the table `build` in nonna.toml, if that is where it stands:
    /// `install = "npm ci"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What it does, or what to write elsewhere.
    pub how: String,
}

/// A Dockerfile that was made for a detected language, in the form that
/// `docker build` takes in the source folder itself. It needs BuildKit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GeneratedDockerfile {
    /// Its text. Files that it needs beside it are in the folder [`Self::BESIDE`].
    pub dockerfile: String,
    /// Those files, by path in the source folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What the build must not see, as a `.dockerignore` has it.
    pub ignored: String,
}

impl GeneratedDockerfile {
    /// The folder, in the source folder, of the files beside the Dockerfile.
    pub const BESIDE: &str = "Dockerfile.files";

    /// The same with another folder for the files beside it, so that several
    /// may stand in one source folder.
    #[must_use]
    pub fn with_files_in(&self, folder: &str) -> Self {
        let moved = |text: &str| text.replace(Self::BESIDE, folder);
        Self {
            dockerfile: moved(&self.dockerfile),
            files: self
                .files
                .iter()
                .map(|(path, text)| (moved(path), text.clone()))
                .collect(),
            ignored: moved(&self.ignored),
        }
    }
}
