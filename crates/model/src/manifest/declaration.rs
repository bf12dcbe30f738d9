//! What a manifest says of a service in one environment, complete with every
//! default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::service::{
    BuildOverrides, BuildSource, DEFAULT_PORT, FileMount, HealthCheck, HostAccess, JobSpec, Protocol, Push,
    Resources, RestartPolicy, RouteSpec, ServiceSpec, Source, Strategy, VolumeMount,
};

/// Where a service's image shall come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeclaredSource {
    /// A folder that is built.
    Folder {
        /// The folder: relative to the manifest's and inside it, `.` for itself.
        path: String,
        /// The Dockerfile, inside the folder; `None`: `Dockerfile` if there is
        /// one, else by detection.
        dockerfile: Option<String>,
        /// The Dockerfile's stage; `None`: the last.
        target: Option<String>,
        /// Build arguments.
        arguments: BTreeMap<String, String>,
        /// Milliseconds a build may take; `None`: as the server says.
        timeout_ms: Option<u64>,
        /// What is said in place of what would be detected.
        #[serde(default, skip_serializing_if = "BuildOverrides::is_empty")]
        overrides: Box<BuildOverrides>,
        /// The names of the secrets that the build may mount.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<String>,
    },
    /// An image that exists already.
    Image {
        /// Its reference.
        reference: String,
    },
}

impl DeclaredSource {
    /// The source of a release. `context` is the digest of the folder, and
    /// means nothing for an image.
    #[must_use]
    pub fn with_context(&self, context: impl Into<String>) -> Source {
        match self {
            Self::Image { reference } => Source::Image {
                reference: reference.clone(),
            },
            Self::Folder {
                dockerfile,
                target,
                arguments,
                timeout_ms,
                overrides,
                secrets,
                ..
            } => Source::Build(BuildSource {
                context: context.into(),
                dockerfile: dockerfile.clone(),
                target: target.clone(),
                arguments: arguments.clone(),
                timeout_ms: *timeout_ms,
                overrides: overrides.clone(),
                secrets: secrets.clone(),
            }),
        }
    }
}

/// Where a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredPort {
    /// The manifest does not say: [`DEFAULT_PORT`].
    #[default]
    Unsaid,
    /// It does not listen.
    Nothing,
    /// On this port.
    Number(u16),
}

impl DeclaredPort {
    /// The port of a release.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        match self {
            Self::Unsaid => Some(DEFAULT_PORT),
            Self::Nothing => None,
            Self::Number(port) => Some(port),
        }
    }
}

/// A service as a manifest wants it in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDeclaration {
    /// Its name.
    pub name: Name,
    /// Where its image shall come from.
    pub source: DeclaredSource,
    /// Where its images are pushed, if they are built.
    pub push: Option<Push>,
    /// What runs in place of the image's command.
    pub command: Option<Vec<String>>,
    /// What runs in place of the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The user in place of the image's.
    pub user: Option<String>,
    /// The working directory in place of the image's.
    pub working_directory: Option<String>,
    /// Where it listens.
    pub port: DeclaredPort,
    /// What the edge speaks to that port.
    pub protocol: Protocol,
    /// How many replicas; `None`: as many as there are, one at first.
    pub replicas: Option<u32>,
    /// How many replicas at first, where `replicas` does not say; `None`: one.
    pub initial_replicas: Option<u32>,
    /// The routes beside the one that every service with a port gets.
    pub routes: Vec<RouteSpec>,
    /// How a replica is found healthy.
    pub health: HealthCheck,
    /// The limits of a replica.
    pub resources: Resources,
    /// What happens when its process ends.
    pub restart: RestartPolicy,
    /// How a new release comes up.
    pub strategy: Strategy,
    /// Volumes.
    pub volumes: Vec<VolumeMount>,
    /// What it gets of the machine, if the server's administrator allows it.
    #[serde(default, skip_serializing_if = "HostAccess::is_none")]
    pub host: HostAccess,
    /// Small files.
    pub files: Vec<FileMount>,
    /// More names that others reach it by.
    pub aliases: Vec<String>,
    /// What runs before each of its releases starts.
    pub release: Option<JobSpec>,
    /// What runs in its first deployment only.
    pub post_deploy: Option<JobSpec>,
    /// The services whose replicas must be healthy before its own start.
    pub after: Vec<Name>,
    /// Milliseconds until a replica that does not end is killed.
    pub stop_timeout_ms: u64,
    /// The manifest's variables of all scopes, merged.
    pub variables: BTreeMap<String, String>,
    /// The secrets that must be set before a deploy.
    pub required_secrets: Vec<String>,
    /// What must be set before a deploy, as a variable or as a secret.
    pub required_variables: Vec<String>,
    /// Secrets of its environment that are not given to it.
    pub withheld_secrets: Vec<String>,
    /// The paths, from the manifest's folder, that make a push build it anew;
    /// none: all of its source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<String>,
}

impl ServiceDeclaration {
    /// The specification of a release of this service.
    ///
    /// `extra_variables` are those set by hand (`nonna env set`), all scopes
    /// merged: they win over the manifest's of the same name, so that an
    /// operator can always have the last word. A secret wins over a variable
    /// of the same name.
    #[must_use]
    pub fn spec(
        &self,
        source: Source,
        extra_variables: &BTreeMap<String, String>,
        secrets: BTreeMap<String, u64>,
    ) -> ServiceSpec {
        let mut variables = self.variables.clone();
        variables.extend(extra_variables.clone());
        let mut secrets = secrets;
        secrets.retain(|name, _| !self.withheld_secrets.contains(name));
        variables.retain(|name, _| !secrets.contains_key(name));
        ServiceSpec {
            push: self.push.clone().filter(|_| matches!(source, Source::Build(_))),
            source,
            folder: match &self.source {
                DeclaredSource::Folder { path, .. } if path != "." => Some(path.clone()),
                _ => None,
            },
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            user: self.user.clone(),
            working_directory: self.working_directory.clone(),
            port: self.port.number(),
            protocol: self.protocol,
            routes: self.routes.clone(),
            health: self.health.clone(),
            resources: self.resources.clone(),
            restart: self.restart,
            strategy: self.strategy,
            volumes: self.volumes.clone(),
            host: self.host.clone(),
            files: self.files.clone(),
            aliases: self.aliases.clone(),
            release: self.release.clone(),
            post_deploy: self.post_deploy.clone(),
            stop_timeout_ms: self.stop_timeout_ms,
            variables,
            secrets,
            withheld_secrets: self.withheld_secrets.clone(),
        }
    }

    /// The required secrets that are not among those that are set.
    #[must_use]
    pub fn missing_secrets(&self, set: &BTreeMap<String, u64>) -> Vec<&str> {
        let of_build = match &self.source {
            DeclaredSource::Folder { secrets, .. } => secrets.as_slice(),
            DeclaredSource::Image { .. } => &[],
        };
        self.required_secrets
            .iter()
            .chain(
                of_build
                    .iter()
                    .filter(|name| !self.required_secrets.contains(name)),
            )
            .map(String::as_str)
            .filter(|name| !set.contains_key(*name))
            .collect()
    }

    /// The variables that must be set, and are neither in the manifest nor
    /// among those that are set by hand.
    #[must_use]
    pub fn missing_variables(
        &self,
        variables: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, u64>,
    ) -> Vec<&str> {
        self.required_variables
            .iter()
            .map(String::as_str)
            .filter(|name| {
                !self.variables.contains_key(*name)
                    && !variables.contains_key(*name)
                    && !secrets.contains_key(*name)
            })
            .collect()
    }
}
