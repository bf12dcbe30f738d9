//! Which project, environment and folder a command is about.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nonna_client::Place;
use nonna_engine::{Code, Error};
use nonna_model::Name;
use nonna_model::folder::{self, Ask, Declared, Folder};
use nonna_model::manifest::{FILE_NAME, Manifest, Problems};

use crate::args::GlobalArgs;
use crate::fail::{Failure, Result};

/// The largest file that is read for what it says of services, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A folder on the disk, as the model reads it.
#[derive(Debug)]
pub(crate) struct DiskFolder(PathBuf);

impl Folder for DiskFolder {
    fn text(&self, path: &str) -> std::result::Result<Option<String>, String> {
        let file = self.0.join(path);
        let found = match fs::metadata(&file) {
            Ok(found) => found,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        if !found.is_file() {
            return if found.is_dir() {
                Ok(None)
            } else {
                Err("it is no ordinary file".to_owned())
            };
        }
        if found.len() > MAX_FILE {
            return Err(format!("it has more than {MAX_FILE} bytes"));
        }
        match fs::read(&file) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| "it is no text in UTF-8".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).is_file()
    }

    fn shown(&self, path: &str) -> String {
        shown(&self.0.join(path))
    }
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
        let manifest = folder::manifest(&DiskFolder(folder.to_owned())).map_err(mistakes)?;
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
        folder::declare(&DiskFolder(self.folder.clone()), &ask).map_err(mistakes)
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

fn mistakes(problems: Problems) -> Failure {
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
