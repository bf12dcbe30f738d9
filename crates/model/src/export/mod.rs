//! Leaving Nonna: an environment as plain files that run without it.
//!
//! [`compose`] makes a folder that `docker compose up` runs, [`kubernetes`] one
//! that `kubectl apply` takes. Both hold what a release says of its replicas:
//! image or build, command, variables, limits, health, volumes, and the same
//! restrictions that Nonna's own runtime sets. Neither ever holds the value of
//! a secret: each is a reference by name, and a file lists what to fill in.

mod compose;
mod kubernetes;
mod secrets;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use compose::compose;
pub use kubernetes::kubernetes;

use crate::build::GeneratedDockerfile;
use crate::name::Name;
use crate::release::Release;
use crate::service::Source;

/// The capabilities of root that a replica keeps: what images commonly need to
/// start and to drop their rights. All others are dropped.
pub const CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];

/// An environment that is to be exported.
#[derive(Debug, Clone)]
pub struct ExportedEnvironment {
    /// The project's name.
    pub project: Name,
    /// The environment's name.
    pub environment: Name,
    /// Its services.
    pub services: Vec<ExportedService>,
}

/// A service that is to be exported.
#[derive(Debug, Clone)]
pub struct ExportedService {
    /// Its name.
    pub name: Name,
    /// The release that is current.
    pub release: Release,
    /// How many replicas run.
    pub replicas: u32,
    /// How the image is built, if it is; `None` for a service that is built:
    /// its image is taken as it is.
    pub build: Option<ExportedBuild>,
}

/// How a service's image is built.
#[derive(Debug, Clone)]
pub struct ExportedBuild {
    /// The folder of its source, relative to the project's: `.`, `services/api`.
    pub folder: String,
    /// The Dockerfile that was made for a detected language; it is exported
    /// too. `None`: the folder has its own.
    pub generated: Option<GeneratedDockerfile>,
    /// Why it is not known whether the folder has a Dockerfile, and none was
    /// made.
    pub unknown: Option<String>,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFile {
    /// Its path, relative to the folder that the user names.
    pub path: String,
    /// What stands in it.
    pub contents: String,
}

/// An export that could not be written down. Not to be met: everything in it
/// is plain data.
#[derive(Debug, thiserror::Error)]
#[error("the export cannot be written as YAML: {0}")]
pub struct ExportError(String);

/// Writes values as the documents of one YAML file, readable by parsers of
/// YAML 1.1 and 1.2 alike.
fn yaml(documents: &[serde_json::Value]) -> Result<String, ExportError> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut out = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            out.push_str("---\n");
        }
        let text = serde_saphyr::to_string_with_options(document, options.clone())
            .map_err(|error| ExportError(error.to_string()))?;
        out.push_str(&text);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    }
    Ok(out)
}

impl ExportedEnvironment {
    /// What both kinds of export call the whole: `shop-production`.
    fn title(&self) -> String {
        format!("{}-{}", self.project, self.environment)
    }

    /// The name for the image of a service that is built.
    fn image_name(&self, service: &ExportedService) -> String {
        format!("{}-{}", self.project, service.name)
    }
}

impl ExportedService {
    /// The image as a registry knows it: pinned to what runs now, where that
    /// is known.
    fn pulled_image(&self) -> Option<&str> {
        let Source::Image { reference } = &self.release.spec.source else {
            return None;
        };
        let pinned = self
            .release
            .image
            .as_deref()
            .filter(|image| image.contains("@sha256:"));
        Some(pinned.unwrap_or(reference))
    }

    /// The Dockerfile's path in the build's folder.
    fn dockerfile(&self) -> Option<String> {
        let build = self.build.as_ref()?;
        if build.generated.is_some() {
            return Some(format!("{}.Dockerfile", self.name));
        }
        match &self.release.spec.source {
            Source::Build(source) => source.dockerfile.clone(),
            Source::Image { .. } => None,
        }
    }

    /// The Dockerfile that was made by detection, what it needs beside it, and
    /// what it must not see, as files of the export.
    fn generated_files(&self) -> Vec<ExportFile> {
        let (Some(build), Some(name)) = (&self.build, self.dockerfile()) else {
            return Vec::new();
        };
        let Some(generated) = &build.generated else {
            return Vec::new();
        };
        let generated = generated.with_files_in(&format!("{name}.files"));
        let folder = build.folder.trim_matches('/');
        let file = |path: String, contents: String| ExportFile {
            path: match folder {
                "" | "." => path,
                folder => format!("{folder}/{path}"),
            },
            contents,
        };
        let mut files = vec![
            file(name.clone(), generated.dockerfile),
            file(format!("{name}.dockerignore"), generated.ignored),
        ];
        files.extend(generated.files.into_iter().map(|(path, text)| file(path, text)));
        files
    }
}

impl ExportedEnvironment {
    /// What is to be known of the Dockerfiles that were made, or were not.
    fn notes_on_dockerfiles(&self) -> String {
        let mut out = String::new();
        let built = || {
            self.services
                .iter()
                .filter_map(|service| Some((service, service.build.as_ref()?)))
        };
        if built().any(|(_, build)| build.generated.is_some()) {
            out.push_str(
                "- Files called `*.Dockerfile` are what Nonna made for the languages that it detected. They need BuildKit, \
                 which Docker has by default since release 23 (before: `DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1`). \
                 Take them over: nobody makes them anew when your source changes.\n",
            );
        }
        for (service, why) in built().filter_map(|(service, build)| Some((service, build.unknown.as_ref()?)))
        {
            out.push_str(&format!(
                "- How `{}` is built is not known here: {why} If its folder has no Dockerfile, run `nonna build --explain \
                 --dockerfile` in it.\n",
                service.name
            ));
        }
        out
    }
}
