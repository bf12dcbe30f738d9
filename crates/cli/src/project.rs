//! Which project, environment and folder a command is about.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nonna_client::Place;
use nonna_client::context::DiskFolder;
use nonna_engine::{Code, Error};
use nonna_model::Name;
use nonna_model::folder::{self, Ask, Declared};
use nonna_model::manifest::{FILE_NAME, Manifest, Problems};

use crate::args::GlobalArgs;
use crate::fail::{Failure, Result};

/// A folder on the disk, as the model reads it.
fn on_disk(folder: &Path) -> DiskFolder {
    DiskFolder::new(folder).shown_by(shown)
}

/// A project's folder and its manifest.
#[derive(Debug)]
pub(crate) struct Project {
    /// The folder that the manifest's paths start from.
    pub(crate) folder: PathBuf,
    /// The manifest.
    pub(crate) manifest: Manifest,
    /// The Compose file that was named, relative to the folder.
    pub(crate) compose: Option<String>,
}

impl Project {
    /// The project of a folder: that of the nearest `nonna.toml` in it or
    /// above, else the folder itself with no manifest. A Compose file is a
    /// project of its own.
    pub(crate) fn find(start: Option<&Path>) -> Result<Self> {
        let given = start.unwrap_or_else(|| Path::new("."));
        let start = fs::canonicalize(given).map_err(|error| no_folder(given, &error))?;
        if start.is_file() {
            if let (Some(folder), Some(name)) = (start.parent(), start.file_name().and_then(|n| n.to_str())) {
                if name == FILE_NAME {
                    return Self::read(folder);
                }
                if name.ends_with(".yaml") || name.ends_with(".yml") {
                    return Ok(Self {
                        folder: folder.to_owned(),
                        manifest: Manifest::default(),
                        compose: Some(name.to_owned()),
                    });
                }
            }
            return Err(Failure::usage_hint(
                format!("{} is a file.", given.display()),
                "Name the folder that it is in, or a Compose file.",
            ));
        }
        match start.ancestors().find(|folder| folder.join(FILE_NAME).is_file()) {
            Some(folder) => Self::read(folder),
            None => Self::read(&start),
        }
    }

    fn read(folder: &Path) -> Result<Self> {
        let manifest = folder::manifest(&on_disk(folder)).map_err(|problems| mistakes(&problems))?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            compose: None,
        })
    }

    /// Everything that the folder says of its services.
    pub(crate) fn declare(&self, environment: Option<&Name>) -> Result<Declared> {
        let ask = Ask {
            environment,
            compose: self.compose.as_deref(),
            variables: &|name| std::env::var(name).ok(),
        };
        folder::declare(&on_disk(&self.folder), &ask).map_err(|problems| mistakes(&problems))
    }

    /// The project's name: the manifest's, else the folder's.
    pub(crate) fn name(&self) -> Result<Name> {
        if let Some(name) = &self.manifest.project {
            return Ok(name.clone());
        }
        self.folder
            .file_name()
            .and_then(|name| Name::slug(&name.to_string_lossy()))
            .ok_or_else(|| {
                Failure::usage_hint(
                    format!(
                        "No project's name can be made of the folder {}.",
                        self.folder.display()
                    ),
                    "Give one with `--project NAME`, or write `project = \"…\"` into nonna.toml.",
                )
            })
    }
}

/// The environment that the flags, else the manifest, name.
pub(crate) fn place(global: &GlobalArgs, project: &Project) -> Result<Place> {
    let name = match &global.project {
        Some(name) => name.clone(),
        None => project.name()?,
    };
    let environment = match &global.environment {
        Some(name) => name.to_string(),
        None => default_environment(&project.manifest),
    };
    Ok(Place::new(name.to_string(), environment))
}

/// The same, of all that a folder says.
pub(crate) fn place_of(global: &GlobalArgs, project: &Project, declared: &Declared) -> Result<Place> {
    let name = match (&global.project, &declared.project) {
        (Some(name), _) | (None, Some(name)) => name.clone(),
        (None, None) => project.name()?,
    };
    Ok(Place::new(name.to_string(), declared.environment.to_string()))
}

/// The same where the manifest is not needed otherwise: with both flags given
/// no file is read.
pub(crate) fn place_here(global: &GlobalArgs) -> Result<Place> {
    if let (Some(project), Some(environment)) = (&global.project, &global.environment) {
        return Ok(Place::new(project.to_string(), environment.to_string()));
    }
    if let Some(project) = &global.project {
        // A manifest speaks for its own project only.
        let found = Project::find(None)?;
        return Ok(if found.name().is_ok_and(|name| name == *project) {
            place(global, &found)?
        } else {
            Place::new(project.to_string(), default_environment(&Manifest::default()))
        });
    }
    place(global, &Project::find(None)?)
}

fn default_environment(manifest: &Manifest) -> String {
    manifest
        .default_environment()
        .map(String::from)
        .unwrap_or_default()
}

fn mistakes(problems: &Problems) -> Failure {
    let mut lines: Vec<String> = problems.to_string().lines().map(str::to_owned).collect();
    let summary = lines.pop().unwrap_or_default();
    let mut error = Error::user(Code::InvalidInput, format!("{summary}."));
    error.details = lines;
    error.into()
}

fn no_folder(given: &Path, error: &io::Error) -> Failure {
    let what = if error.kind() == io::ErrorKind::NotFound {
        format!("There is no folder {}.", given.display())
    } else {
        format!("The folder {} cannot be read: {error}.", given.display())
    };
    Failure::usage(what)
}

/// A file's path, relative to the working folder where it is in it.
fn shown(file: &Path) -> String {
    let here = std::env::current_dir().and_then(fs::canonicalize);
    let relative = here
        .ok()
        .and_then(|here| file.strip_prefix(here).map(Path::to_owned).ok());
    relative.as_deref().unwrap_or(file).display().to_string()
}
