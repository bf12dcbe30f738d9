//! What a folder without a Dockerfile is, and how it is built: a list of
//! detectors, asked in turn. Each explains what it found, which rule decided
//! and how to overrule it. To add a language, add a file with a [`Detector`]
//! and a line to [`DETECTORS`].

pub mod base_images;
mod compiled;
mod decide;
mod deno;
mod dotnet;
mod elixir;
mod go;
mod java;
mod javascript;
mod node;
mod php;
mod plan;
mod portable;
mod procfile;
mod python;
mod reference;
mod ruby;
mod rust;
mod settings;
mod sites;
mod start;
mod static_site;
mod tree;
mod version;
mod web_server;
mod writer;

#[cfg(test)]
mod any_tree;
#[cfg(test)]
mod tests;

use nonna_engine::{Code, Error, Result};
use nonna_model::context::printable;

pub use self::decide::{Asked, How, base_images_of, decide, explain};
pub use self::plan::{Decision, Other, Plan};
pub use self::reference::{Reference, markdown};
pub use self::settings::{Cache, Overrides, Settings};
pub use self::start::Start;
pub use self::tree::{MAX_FILE, Tree};
pub use self::version::Version;

/// Everything that can be detected. Where several recognise a folder with the
/// same [`Strength`], the first one decides: languages whose projects often
/// have another's tools beside them stand before those others.
pub const DETECTORS: &[&dyn Detector] = &[
    &sites::Hugo,
    &sites::Zola,
    &ruby::Jekyll,
    &ruby::Ruby,
    &php::Php,
    &elixir::Elixir,
    &java::Java,
    &dotnet::DotNet,
    &go::Go,
    &rust::Rust,
    &python::Python,
    &deno::Deno,
    &node::Node,
    &python::MkDocs,
    &static_site::StaticSite,
];

/// The folder of the build context in which the app's source is put, beside
/// what is generated.
pub const SOURCE_FOLDER: &str = "src";

/// How surely a folder is an app of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// A file that other apps often have too: a page, a script.
    Files,
    /// The language's manifest, which names packages or tools, and nothing
    /// that says how an app is started.
    Packages,
    /// The manifest, and what starts the app.
    App,
}

impl Strength {
    /// The weakest first.
    pub const ALL: [Self; 3] = [Self::Files, Self::Packages, Self::App];

    /// What it means, for the documentation.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::App => {
                "A manifest of the language, and what starts the app: a framework, a start script, an entry file, a build file."
            }
            Self::Packages => "A manifest alone, such as a `package.json` that only lists tools.",
            Self::Files => "Loose files, such as a page or a script without a manifest.",
        }
    }
}

/// By what a folder is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// The file, or whatever it was.
    pub found: String,
    /// How surely.
    pub strength: Strength,
}

impl Sign {
    /// A sign of this strength.
    #[must_use]
    pub fn new(strength: Strength, found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            strength,
        }
    }
}

/// Recognises one kind of source.
pub trait Detector: Sync {
    /// Its name, as `build.language` has it: `python`, `node` …
    fn name(&self) -> &'static str;

    /// What it looks for, for people.
    fn looks_for(&self) -> &'static str;

    /// What the documentation says of it.
    fn reference(&self) -> Reference;

    /// By what it recognises the folder; `None` if it does not. It only has to
    /// be quick: a file that cannot be understood is [`Self::plan`]'s to report.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>>;

    /// How to build and run a folder that it recognised, or that the user says
    /// is of its kind.
    ///
    /// # Errors
    /// `NothingToBuild` when something is missing, such as a start command;
    /// `InvalidInput` for a file that cannot be understood, with its place.
    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan>;
}

/// Finds out what a folder without a Dockerfile is and how it is built.
///
/// # Errors
/// `NothingToBuild` with all that was looked for, and what the detector says;
/// `InvalidInput` for an override that the language has no use for.
pub fn detect(tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
    let plan = if let Some(name) = &settings.overrides.language {
        let mut plan = by_name(name)?.plan(tree, settings)?;
        plan.decided = writer::overruled("language");
        plan
    } else {
        strongest(tree, settings)?
    };
    check_overrides(&plan, &settings.overrides)?;
    Ok(plan)
}

/// The plan of the detector that recognises the folder most surely.
fn strongest(tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
    let mut recognised: Vec<(&dyn Detector, Sign)> = Vec::new();
    for detector in DETECTORS {
        if let Some(sign) = detector.sign(tree)? {
            recognised.push((*detector, sign));
        }
    }
    // Stable: among equals the table's order stays.
    recognised.sort_by_key(|(_, sign)| std::cmp::Reverse(sign.strength));
    let mut recognised = recognised.into_iter();
    let Some((winner, best)) = recognised.next() else {
        return Err(nothing(tree));
    };
    let mut plan = winner.plan(tree, settings)?;
    plan.others = recognised
        .map(|(other, sign)| Other {
            name: other.name(),
            why: if sign.strength == best.strength {
                format!("{} is looked for first", winner.name())
            } else {
                format!("{} ({}) is the stronger sign", winner.name(), best.found)
            },
            sign,
        })
        .collect();
    plan.decided = if plan.others.is_empty() {
        format!("{}, and nothing else was recognised", best.found)
    } else {
        format!(
            "{} is the strongest sign: {}",
            best.found,
            best.strength.about().trim_end_matches('.')
        )
    };
    Ok(plan)
}

/// Every override must have had its say, or its owner waits for it in vain.
fn check_overrides(plan: &Plan, overrides: &Overrides) -> Result<()> {
    let refuse = |field: &str, why: &str, hint: &str| {
        Err(Error::user(
            Code::InvalidInput,
            format!("`build.{field}` in nonna.toml cannot be used: {why}."),
        )
        .hint(hint))
    };
    let ran = |line: &Option<String>, field: &str, decisions: &[Decision]| {
        line.as_ref().is_none_or(String::is_empty)
            || decisions.iter().any(|one| one.why == writer::overruled(field))
    };
    let name = plan.name;
    if !ran(&overrides.install, "install", &plan.install) {
        return refuse(
            "install",
            &format!("{name} installs nothing here"),
            "Take it away, or use a Dockerfile.",
        );
    }
    if !ran(&overrides.build, "command", &plan.build) {
        return refuse(
            "command",
            &format!("{name} has no step here that builds"),
            "Put it behind the install command (`install = \"… && …\"`), or use a Dockerfile.",
        );
    }
    if overrides.output.is_some() && plan.rule != writer::overruled("output") {
        return refuse(
            "output",
            &format!("a build of {name} ends in a program, not in pages"),
            "Take it away, or name another `build.language`.",
        );
    }
    if overrides.start.is_some() && plan.rule != writer::overruled("start") {
        return refuse(
            "start",
            "the build ends in pages, which a web server of its own serves",
            "Take `start` away to serve the pages, or `output` to start a program.",
        );
    }
    Ok(())
}

fn by_name(name: &str) -> Result<&'static dyn Detector> {
    let found = DETECTORS.iter().find(|detector| detector.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = DETECTORS.iter().map(|detector| detector.name()).collect();
        Error::user(
            Code::InvalidInput,
            format!(
                "`build.language` is `{}`, which is no language that Nonna knows.",
                printable(name)
            ),
        )
        .hint(format!("There are: {}.", names.join(", ")))
    })
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

/// What starts an app of which nothing says so: the user's own words, or, where
/// replicas get a command anyway, nothing at all. `None`: there is neither.
pub(crate) fn given_start(settings: &Settings) -> Option<(Start, String)> {
    let overrides = &settings.overrides;
    if let Some(line) = &overrides.start {
        return Some((Start::from_line(line), writer::overruled("start")));
    }
    overrides.command_is_given.then(|| {
        (
            Start::exec(&["false"]),
            "the service's own `command` replaces it".to_owned(),
        )
    })
}
