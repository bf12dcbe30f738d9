//! How a recognised folder is built and run, and why.

use super::settings::Cache;
use super::start::Start;
use super::version::Version;
use super::writer::Written;
use super::{Sign, Strength};
use crate::context::ExtraFile;

/// A command, and the rule that chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What runs.
    pub command: String,
    /// Why.
    pub why: String,
}

/// A language that was recognised and did not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The detector.
    pub name: &'static str,
    /// By what it recognised the folder.
    pub sign: Sign,
    /// Why another one decided.
    pub why: String,
}

/// How a recognised folder is built and run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which detector made it: `python`, `node` …
    pub name: &'static str,
    /// The framework or generator, if one was recognised: `Next.js` …
    pub framework: Option<String>,
    /// The files that decided, such as `package.json, pnpm-lock.yaml`.
    pub found: String,
    /// Which rule chose the detector.
    pub decided: String,
    /// What else was recognised.
    pub others: Vec<Other>,
    /// The versions of the language and its tools, and why these.
    pub versions: Vec<Version>,
    /// What installs the dependencies, in order.
    pub install: Vec<Decision>,
    /// What builds, in order.
    pub build: Vec<Decision>,
    /// How the app is started.
    pub start: Start,
    /// Which rule chose the start command.
    pub rule: String,
    /// Where it listens.
    pub port: u16,
    /// The generated Dockerfile.
    pub dockerfile: String,
    /// The images that it begins from, the final one last.
    pub base_images: Vec<String>,
    /// The folders that outlive a build.
    pub caches: Vec<Cache>,
    /// Generated files that stand beside the Dockerfile.
    pub files: Vec<ExtraFile>,
    /// Leave files whose names begin with a dot out of the build.
    pub without_hidden: bool,
    /// What the user should know or could do better.
    pub notes: Vec<String>,
}

impl Plan {
    /// A plan of what was written, to be completed by its maker.
    pub(super) fn new(name: &'static str, found: impl Into<String>, written: Written) -> Self {
        Self {
            name,
            framework: None,
            found: found.into(),
            decided: String::new(),
            others: Vec::new(),
            versions: Vec::new(),
            install: written.install,
            build: written.build,
            start: written.start,
            rule: written.rule,
            port: written.port,
            dockerfile: written.dockerfile,
            base_images: written.base_images,
            caches: written.caches,
            files: Vec::new(),
            without_hidden: false,
            notes: Vec::new(),
        }
    }

    /// The plan in words, a line each.
    #[must_use]
    pub fn explanation(&self) -> Vec<String> {
        let what = self
            .framework
            .as_deref()
            .map_or_else(String::new, |framework| format!(" ({framework})"));
        let mut lines = vec![format!("{}{what}: found {}", self.name, self.found)];
        lines.extend(self.versions.iter().map(ToString::to_string));
        for (what, decisions) in [("install", &self.install), ("build", &self.build)] {
            lines.extend(
                decisions
                    .iter()
                    .map(|one| format!("{what}: {} ({})", one.command, one.why)),
            );
        }
        lines.push(format!("start command: {} ({})", self.start, self.rule));
        lines.push(format!("base image: {}", self.base_images.join(", ")));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        // A page among an app's files is no second app.
        let others = self
            .others
            .iter()
            .filter(|other| other.sign.strength != Strength::Files);
        lines.extend(others.map(|other| {
            format!(
                "note: {} was recognised too (by {}), but {}; `build.language` in nonna.toml decides otherwise",
                other.name, other.sign.found, other.why
            )
        }));
        lines
    }
}
