//! What a folder without a Dockerfile is, and how it is built: a list of
//! detectors, asked in turn. Each explains what it found, which rule decided
//! and how to overrule it. To add a language, add a file with a [`Detector`]
//! and a line to [`DETECTORS`].

pub mod base_images;
mod node;
mod procfile;
mod python;
mod start;
mod static_site;
mod tree;

#[cfg(test)]
mod tests;

use nonna_engine::{Code, Error, Result};

pub use self::start::Start;
pub use self::tree::{MAX_FILE, Tree};
use crate::build::CA_SECRET;
use crate::context::ExtraFile;

/// Everything that can be detected, in the order in which it is looked for:
/// the first one that recognises the folder decides.
pub const DETECTORS: &[&dyn Detector] = &[&node::Node, &python::Python, &static_site::StaticSite];

/// The folder of the build context in which the app's source is put, beside
/// what is generated.
pub const SOURCE_FOLDER: &str = "src";

/// Where the extra certificate authorities are while a step runs.
const CA_FILE: &str = "/run/secrets/nonna-ca";
/// What programs of all languages are told of them.
const CA_VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "CARGO_HTTP_CAINFO",
];

/// What a build is given beside the source.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the app shall listen, if it listens.
    pub port: Option<u16>,
    /// Whether builds are given extra certificate authorities.
    pub extra_ca: bool,
    /// Whose caches of dependencies are used: builds with the same text share
    /// them, others never do.
    pub cache: String,
}

impl Settings {
    /// The port, or the one that apps have when nothing is said.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(nonna_model::service::DEFAULT_PORT)
    }

    /// The mounts of a step that fetches from the network and keeps what it
    /// fetched in `folder`.
    pub(crate) fn mounts(&self, what: &str, folder: &str) -> String {
        let mut mounts = format!(
            "--mount=type=cache,id=nonna-{}-{what},target={folder}",
            self.cache
        );
        mounts.push_str(&self.ca_mount());
        mounts
    }

    /// The mount of the extra certificate authorities, if there are any.
    pub(crate) fn ca_mount(&self) -> String {
        if self.extra_ca {
            format!(" --mount=type=secret,id={CA_SECRET},target={CA_FILE}")
        } else {
            String::new()
        }
    }

    /// The line that makes a build stage trust them. Never for the stage that
    /// becomes the image.
    pub(crate) fn ca_environment(&self) -> String {
        if !self.extra_ca {
            return String::new();
        }
        let all: Vec<String> = CA_VARIABLES
            .iter()
            .map(|name| format!("{name}={CA_FILE}"))
            .collect();
        format!("ENV {}\n", all.join(" "))
    }
}

/// How a recognised folder is built and run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is: `python`, `node` …
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// Which rule chose the start command.
    pub rule: String,
    /// How the app is started.
    pub start: Start,
    /// Where it listens.
    pub port: u16,
    /// The generated Dockerfile.
    pub dockerfile: String,
    /// The images that it begins from.
    pub base_images: Vec<String>,
    /// Generated files that stand beside it.
    pub files: Vec<ExtraFile>,
    /// Leave files whose names begin with a dot out of the build.
    pub without_hidden: bool,
    /// What the user should know or could do better.
    pub notes: Vec<String>,
}

impl Plan {
    /// The plan in words, a line each.
    #[must_use]
    pub fn explanation(&self) -> Vec<String> {
        let mut lines = vec![
            format!("{}: found {}", self.name, self.found),
            format!("start command: {} ({})", self.start, self.rule),
            format!("base image: {}", self.base_images.join(", ")),
        ];
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines
    }
}

/// Recognises one kind of source.
pub trait Detector: Sync {
    /// Its name: `python`, `node` …
    fn name(&self) -> &'static str;

    /// What it looks for, for people.
    fn looks_for(&self) -> &'static str;

    /// By what it recognises the folder; `None` if it does not.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn sign(&self, tree: &Tree<'_>) -> Result<Option<String>>;

    /// How to build and run a folder that it recognised.
    ///
    /// # Errors
    /// `NothingToBuild` when something is missing, such as a start command;
    /// `InvalidInput` for a file that cannot be understood, with its place.
    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan>;
}

/// Finds out what a folder is and how it is built.
///
/// # Errors
/// `NothingToBuild` with all that was looked for, and what the detector says.
pub fn detect(tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
    let mut recognised: Vec<(&dyn Detector, String)> = Vec::new();
    for detector in DETECTORS {
        if let Some(sign) = detector.sign(tree)? {
            recognised.push((*detector, sign));
        }
    }
    let Some((winner, _)) = recognised.first() else {
        return Err(nothing(tree));
    };
    let mut plan = winner.plan(tree, settings)?;
    for (other, sign) in recognised.iter().skip(1) {
        // A page among an app's files is no second app.
        if other.name() != static_site::StaticSite.name() {
            plan.notes.push(format!(
                "{} was recognised too (by {sign}), but {} is looked for first; a Dockerfile would decide otherwise",
                other.name(),
                winner.name()
            ));
        }
    }
    Ok(plan)
}

fn nothing(tree: &Tree<'_>) -> Error {
    let error = Error::user(
        Code::NothingToBuild,
        "There is no Dockerfile, and no language was recognised.",
    )
    .hint("Add a Dockerfile, or one of the files below; or name the app's own folder: `nonna deploy PATH`. `.dockerignore` and `.gitignore` may leave out too much.");
    let error = DETECTORS.iter().fold(error, |error, detector| {
        error.detail(format!("{}: {}", detector.name(), detector.looks_for()))
    });
    error.detail(tree.summary())
}

/// A recognised language of which too little is known to go on.
pub(crate) fn incomplete(what: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::user(Code::NothingToBuild, what).hint(hint)
}
