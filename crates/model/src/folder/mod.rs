//! What a source folder says of its services, in whichever words it has:
//! `nonna.toml`, a `Procfile`, an `app.json`, or a Compose file.
//!
//! [`declare`] is the one place where they become services. It reads nothing
//! itself: whoever calls it gives it a [`Folder`], be it one on a disk, a
//! commit in a repository, or the [`Words`] that an earlier call found. So a
//! command that plans, a server that plans and a push that deploys all see the
//! same services, notes and mistakes.
//!
//! - A Compose file that is named, or is all that the folder has, decides
//!   alone.
//! - Else the process types of the root's Procfile become services of one
//!   build, `app.json` adds variables, numbers of replicas and commands, and
//!   what `nonna.toml` says of a service wins, field by field.

mod app_json;
mod compose;
mod procfile;
mod yaml;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use app_json::APP_JSON;
pub use procfile::{PROCFILE, Process, Procfile};

use self::app_json::AppJson;
use crate::manifest::{
    self, Base, BaseService, DeclaredSource, FILE_NAME, Manifest, Problem, Problems, Report,
    ServiceDeclaration,
};
use crate::name::Name;

/// The most texts that one folder's words may be made of.
const MAX_FILES: usize = 100;

/// A folder with source, as far as it is read here: small text files at paths
/// relative to it, with `/`.
pub trait Folder {
    /// A file's text; `None` where there is no such file.
    ///
    /// # Errors
    /// Why a file that is there cannot be read, in words.
    fn text(&self, path: &str) -> Result<Option<String>, String>;

    /// Whether there is such a file.
    fn has(&self, path: &str) -> bool {
        matches!(self.text(path), Ok(Some(_)))
    }

    /// What mistakes call a file.
    fn shown(&self, path: &str) -> String {
        path.to_owned()
    }
}

/// The words of a folder: all that was read to find its services. They are
/// themselves a [`Folder`], of which [`declare`] makes the same again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// The text of `nonna.toml`; empty: there is none.
    #[serde(default)]
    pub manifest: String,
    /// The other texts that were read, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The Compose file that decides alone, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<String>,
    /// The variables of the caller's own environment that the Compose file
    /// mentions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl Folder for Words {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        if path == FILE_NAME {
            return Ok(Some(self.manifest.clone()).filter(|text| !text.is_empty()));
        }
        Ok(self.files.get(path).cloned())
    }
}

impl Words {
    /// The services of these words in an environment.
    ///
    /// # Errors
    /// As [`declare`].
    pub fn declare(&self, environment: Option<&Name>) -> Result<Declared, Problems> {
        declare(
            self,
            &Ask {
                environment,
                compose: self.compose.as_deref(),
                variables: &|name| self.variables.get(name).cloned(),
            },
        )
    }
}

/// What [`declare`] is asked.
pub struct Ask<'a> {
    /// For which environment; `None`: the one that the folder's words name.
    pub environment: Option<&'a Name>,
    /// This Compose file decides; `None`: one that is all there is.
    pub compose: Option<&'a str>,
    /// The caller's own environment variables, for a Compose file's `${NAME}`.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            environment: None,
            compose: None,
            variables: &|_| None,
        }
    }
}

/// What a folder wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The project's name, where the words have it.
    pub project: Option<Name>,
    /// The environment that the services are for.
    pub environment: Name,
    /// The services, complete with every default, by name.
    pub services: Vec<ServiceDeclaration>,
    /// What is not carried over, and what the reader may not expect; each a
    /// sentence, with file and line where it has them.
    pub notes: Vec<String>,
    /// Secrets whose values the folder has, or wants made up.
    pub secrets: Vec<SecretSource>,
    /// What was read.
    pub words: Words,
}

/// A secret of the environment, and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSource {
    /// The secret's name.
    pub name: String,
    /// Where its value comes from. Only where it is not set yet: a value that
    /// is set stays.
    pub from: SecretFrom,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SecretFrom {
    /// It is made up, once.
    Generated,
    /// It stands in this file of the folder.
    File {
        /// The file.
        path: String,
    },
    /// It is this variable of the caller's own environment.
    Variable {
        /// The variable.
        name: String,
    },
}

/// Remembers what is read of a folder.
struct Recorder<'a> {
    folder: &'a dyn Folder,
    words: RefCell<Words>,
}

impl Recorder<'_> {
    /// A file's text without a byte order mark; a file that cannot be read is
    /// a mistake.
    fn text(&self, path: &str) -> Result<Option<String>, Problems> {
        let text = self.folder.text(path).map_err(|why| {
            problem(
                &self.folder.shown(path),
                format!("this file cannot be read: {why}"),
            )
        })?;
        let Some(text) = text else { return Ok(None) };
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let mut words = self.words.borrow_mut();
        if path == FILE_NAME {
            words.manifest.clone_from(&text);
        } else {
            if words.files.len() >= MAX_FILES {
                return Err(problem(
                    &self.folder.shown(path),
                    format!("more than {MAX_FILES} files would have to be read"),
                ));
            }
            words.files.insert(path.to_owned(), text.clone());
        }
        Ok(Some(text))
    }

    fn shown(&self, path: &str) -> String {
        self.folder.shown(path)
    }
}

/// A mistake that stands in no line.
fn problem(file: &str, message: String) -> Problems {
    let mut report = Report::new(file, "");
    report.add(&(0..0), message);
    match report.finish() {
        Err(problems) => problems,
        Ok(()) => Problems(Vec::<Problem>::new()),
    }
}

/// Finds a folder's services for an environment.
///
/// # Errors
/// Every mistake in every file, each with its file, line, the text that is
/// wrong and, where it can be guessed, what was meant.
pub fn declare(folder: &dyn Folder, ask: &Ask<'_>) -> Result<Declared, Problems> {
    let recorder = Recorder {
        folder,
        words: RefCell::default(),
    };
    match ask.compose.map(str::to_owned).or_else(|| only_compose(folder)) {
        Some(path) => compose::declare(&recorder, ask, &path),
        None => {
            let mut declared = native(&recorder, ask)?;
            let said = !declared.words.manifest.is_empty();
            if let Some(path) = compose::NAMES.iter().find(|path| !said && folder.has(path)) {
                declared.notes.push(format!(
                    "{}: this file is not read; `nonna deploy {path}` deploys it",
                    recorder.shown(path)
                ));
            }
            Ok(declared)
        }
    }
}

/// Files beside which a Compose file is not all that a folder has.
const OTHERS: [&str; 30] = [
    FILE_NAME,
    PROCFILE,
    APP_JSON,
    "Dockerfile",
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "setup.py",
    "manage.py",
    "main.py",
    "app.py",
    "Gemfile",
    "config.ru",
    "go.mod",
    "Cargo.toml",
    "composer.json",
    "index.php",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "mix.exs",
    "deno.json",
    "deno.jsonc",
    "bun.lockb",
    "global.json",
    "index.html",
    "public/index.html",
    "mkdocs.yml",
    "hugo.toml",
];

/// The Compose file of a folder that has nothing else to deploy.
fn only_compose(folder: &dyn Folder) -> Option<String> {
    let path = compose::NAMES.iter().find(|path| folder.has(path))?;
    let alone = !OTHERS.iter().any(|other| folder.has(other));
    alone.then(|| (*path).to_owned())
}

/// Reads `nonna.toml` alone (or the name in a lone Compose file), with the services of the Procfile known to it:
/// for commands that ask only for the project's name or its environments. A
/// Procfile with mistakes is as good as none.
///
/// # Errors
/// Every mistake in `nonna.toml`.
pub fn manifest(folder: &dyn Folder) -> Result<Manifest, Problems> {
    let recorder = Recorder {
        folder,
        words: RefCell::default(),
    };
    let Some(text) = recorder.text(FILE_NAME)? else {
        // A Compose file may name the project. Its mistakes are told when it
        // is deployed.
        let named = only_compose(folder).and_then(|path| {
            let ask = Ask::default();
            compose::declare(&recorder, &ask, &path).ok()?.project
        });
        let mut manifest = Manifest::default();
        manifest.project = named;
        return Ok(manifest);
    };
    let procfile = recorder
        .text(PROCFILE)
        .ok()
        .flatten()
        .and_then(|text| Procfile::parse(&text, PROCFILE).ok());
    let base = base(procfile.as_ref(), None);
    manifest::parse_over(&text, &recorder.shown(FILE_NAME), &base).map(|(manifest, _)| manifest)
}

/// What stands under the manifest.
fn base(procfile: Option<&Procfile>, app: Option<&AppJson>) -> Base {
    let mut base = Base::default();
    if let Some(procfile) = procfile {
        base.services = procfile
            .processes
            .iter()
            .map(|process| BaseService {
                name: process.service.clone(),
                command: process.words(),
                listens: process.is_web(),
            })
            .collect();
        base.release = procfile.release.as_deref().map(crate::command_line::words);
    }
    if let Some(app) = app {
        base.post_deploy.clone_from(&app.post_deploy);
        base.health.clone_from(&app.health);
        base.variables.clone_from(&app.variables);
    }
    base
}

/// The services of `nonna.toml`, the Procfile and `app.json`.
fn native(recorder: &Recorder<'_>, ask: &Ask<'_>) -> Result<Declared, Problems> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<Option<String>, Problems>| match result {
        Ok(text) => text,
        Err(found) => {
            problems.extend(found.0);
            None
        }
    };
    let manifest_text = keep(recorder.text(FILE_NAME)).unwrap_or_default();
    let procfile_text = keep(recorder.text(PROCFILE));
    let app_text = keep(recorder.text(APP_JSON));
    let procfile = match procfile_text.map(|text| Procfile::parse(&text, &recorder.shown(PROCFILE))) {
        Some(Ok(procfile)) => Some(procfile),
        Some(Err(found)) => {
            problems.extend(found.0);
            None
        }
        None => None,
    };
    let app = match app_text.map(|text| AppJson::parse(&text)) {
        Some(Ok(app)) => Some(app),
        Some(Err(found)) => {
            problems.extend(found.0);
            None
        }
        None => None,
    };
    let base = base(procfile.as_ref(), app.as_ref());
    let parsed = manifest::parse_over(&manifest_text, &recorder.shown(FILE_NAME), &base);
    let (manifest, used) = match parsed {
        Ok(parsed) => parsed,
        Err(mut found) => {
            // Services of a Procfile that could not be read are not known, and
            // what is said of them is no mistake of its own.
            if !problems.is_empty() {
                found.0.retain(|p| !p.message.starts_with("there is no service"));
            }
            problems.splice(0..0, found.0);
            (Manifest::default(), true)
        }
    };
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let mut notes = Vec::new();
    if !used {
        notes.push(format!(
            "{PROCFILE} and {APP_JSON} are not used: {FILE_NAME} builds other folders only"
        ));
    }
    if let (Some(procfile), true) = (&procfile, used) {
        notes.extend(
            procfile
                .notes()
                .into_iter()
                .map(|note| format!("{PROCFILE}: {note}")),
        );
    }
    let environment = match ask
        .environment
        .cloned()
        .or_else(|| manifest.default_environment())
    {
        Some(environment) => environment,
        None => return Err(problem(FILE_NAME, "there is no environment's name".to_owned())),
    };
    let mut declared = Declared {
        project: manifest.project.clone(),
        services: manifest.resolve(&environment),
        environment,
        notes,
        secrets: Vec::new(),
        words: recorder.words.take(),
    };
    if let (Some(app), true) = (app, used) {
        lay_app_over(&mut declared, app);
    }
    Ok(declared)
}

/// Whether a service is the root folder's own code.
fn is_root(service: &ServiceDeclaration) -> bool {
    matches!(&service.source, DeclaredSource::Folder { path, .. } if path == ".")
}

fn lay_app_over(declared: &mut Declared, app: AppJson) {
    declared.notes.extend(app.notes);
    for (name, quantity) in &app.formation {
        match declared.services.iter_mut().find(|service| service.name == *name) {
            Some(service) => service.initial_replicas = Some(*quantity),
            None => declared.notes.push(format!(
                "{APP_JSON}: the formation of `{name}` is not carried over: there is no such process type"
            )),
        }
    }
    for service in declared.services.iter_mut().filter(|service| is_root(service)) {
        service.required_variables = app.required.iter().cloned().collect();
        let more = app
            .generated
            .iter()
            .filter(|name| !service.variables.contains_key(*name));
        for name in more {
            if !service.required_secrets.contains(name) {
                service.required_secrets.push(name.clone());
            }
        }
    }
    declared
        .secrets
        .extend(app.generated.into_iter().map(|name| SecretSource {
            name,
            from: SecretFrom::Generated,
        }));
}

#[cfg(test)]
mod tests;
