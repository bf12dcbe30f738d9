//! What a service should be: the configuration half of a release.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::name::Name;
use crate::units::Bytes;

/// Where a service's image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// An image that exists already (a Container).
    Image {
        /// Its reference, as `docker pull` takes it.
        reference: String,
    },
    /// Source that Nonna builds (an Application).
    Build(BuildSource),
}

/// Source to be built, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSource {
    /// The digest of the build context: `sha256:` and 64 hexadecimal digits
    /// over every path, mode and content in it. The same digest is the same
    /// source, so nothing needs to be built for it twice.
    pub context: String,
    /// The Dockerfile's path in the context; `None`: `Dockerfile` if there is
    /// one, else by detection of the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// The stage of the Dockerfile to build; the last one if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Build arguments (not for secrets: they stay in the image's history).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// Milliseconds a build may take, where that is less than the server
    /// allows. It changes nothing of what is built: [`BuildSource::inputs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What its owner says in place of what would be detected.
    #[serde(default, skip_serializing_if = "BuildOverrides::is_empty")]
    pub overrides: Box<BuildOverrides>,
    /// The names of the secrets that its steps may mount, by these ids. Their
    /// values are no input: another value builds nothing anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// What is said in place of what would be detected: `build` in `nonna.toml`.
/// Where nothing is said, detection decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildOverrides {
    /// The language, one of [`LANGUAGES`]. Also where there is a Dockerfile,
    /// which is not used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// A line for the shell that installs the dependencies; empty: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<String>,
    /// A line for the shell that builds; empty: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A line for the shell that starts the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The folder whose files are served as they are, once the build has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The languages and site generators that can be detected, as [`BuildOverrides::language`] names
/// them. The detectors' own table must have the same names.
pub const LANGUAGES: &[&str] = &[
    "hugo", "zola", "jekyll", "ruby", "php", "elixir", "java", "dotnet", "go", "rust", "python", "deno",
    "node", "mkdocs", "static",
];

impl BuildOverrides {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }

    /// What is said, by the names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            ("language", &self.language),
            ("install", &self.install),
            ("command", &self.command),
            ("start", &self.start),
            ("output", &self.output),
        ]
        .into_iter()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| name)
    }
}

impl BuildSource {
    /// Only what decides what is built: two sources with the same inputs are
    /// the same image.
    #[must_use]
    pub fn inputs(&self) -> Self {
        Self {
            timeout_ms: None,
            ..self.clone()
        }
    }
}

/// Where every image that is built for a service is put beside the machine it
/// was built on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The repository, without a tag: `registry.example/team/app`.
    pub repository: String,
    /// Whether a release that could not be put there is no release.
    pub required: bool,
}

impl Push {
    /// The tag of the repository under which the cache of builds is kept.
    pub const CACHE_TAG: &str = "nonna-cache";

    /// Where the cache of builds is: `registry.example/team/app:nonna-cache`.
    #[must_use]
    pub fn cache(&self) -> String {
        format!("{}:{}", self.repository, Self::CACHE_TAG)
    }
}

/// How the runtime brings a new release up beside the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// New replicas first, old ones after: no request is lost.
    #[default]
    Rolling,
    /// Old replicas stop first: for what must not run twice, such as a
    /// database on a volume. A short time nothing answers.
    Recreate,
}

/// What happens when a replica's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// It is started again, however it ended.
    #[default]
    Always,
    /// It is started again if it failed.
    OnFailure,
    /// It stays ended.
    Never,
}

/// The limits of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time, in thousandths of one core; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Memory, swap included; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// How many processes and threads it may have.
    pub pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu_millis: None,
            memory: Some(Bytes(512 * 1024 * 1024)),
            pids: 512,
        }
    }
}

/// How to tell that a replica is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Milliseconds between two probes once it was healthy. While it starts,
    /// probes are quicker.
    pub interval_ms: u64,
    /// Milliseconds within which an answer must come.
    pub timeout_ms: u64,
    /// Milliseconds a replica may take to become healthy.
    pub start_period_ms: u64,
    /// How many probes in a row must fail, once the replica was healthy, until
    /// it counts as unhealthy.
    pub retries: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            probe: Probe::Auto,
            interval_ms: 10_000,
            timeout_ms: 5_000,
            start_period_ms: 60_000,
            retries: 3,
        }
    }
}

/// What a health check asks of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Probe {
    /// `GET /` on the port: any answer below 500 is healthy. Without a port:
    /// that the process runs. What a service gets that says nothing.
    #[default]
    Auto,
    /// `GET` of this path must answer 200 to 399.
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// The port, if not the service's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// A TCP connection must be accepted.
    Tcp {
        /// The port, if not the service's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// A command inside the replica must exit with 0.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Only that the process runs.
    Process,
}

/// A volume and where a replica finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume's name, of the service.
    pub name: Name,
    /// The absolute path in the replica.
    pub path: String,
}

/// What a service gets of the machine itself. A server grants none of it but
/// what its administrator allows: whoever has it can have the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostAccess {
    /// Paths of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<HostMount>,
    /// The whole machine: every capability and every device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
}

impl HostAccess {
    /// Whether a service gets nothing of the machine, as most do.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.mounts.is_empty() && !self.privileged
    }
}

/// A path of the machine and where a replica finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    /// The absolute path on the machine.
    pub source: String,
    /// The absolute path in the replica.
    pub path: String,
    /// Whether replicas may only read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A small file that every replica finds at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMount {
    /// The absolute path in the replica.
    pub path: String,
    /// What stands in it.
    pub content: FileContent,
    /// The file's permission bits, such as `0o444`.
    pub mode: u32,
}

/// What stands in a [`FileMount`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FileContent {
    /// The value of this secret, of those in [`ServiceSpec::secrets`]. It is
    /// given as the file only, not as a variable too.
    Secret {
        /// The secret's name.
        name: String,
    },
    /// This text.
    Text {
        /// The text.
        text: String,
    },
}

/// A command that a deployment runs once, in a fresh replica of the new
/// release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Milliseconds within which it must end.
    pub timeout_ms: u64,
}

/// How long a job may take, in milliseconds, where nothing is said: Heroku's
/// release phase has an hour, too.
pub const DEFAULT_JOB_TIMEOUT_MS: u64 = 3_600_000;

/// What reaches a service from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteSpec {
    /// The host, in lower case: `example.org`, `*.example.org`.
    pub host: String,
    /// The path prefix, beginning with `/`; matched at segment boundaries.
    pub path: String,
}

/// What the edge speaks to the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1, with upgrades (WebSocket).
    #[default]
    Http1,
    /// HTTP/2 without TLS, which gRPC needs.
    H2c,
}

/// All that a release says of how its replicas run. Two equal specs (by
/// [`ServiceSpec::digest`]) with the same image are the same release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Where the image comes from.
    pub source: Source,
    /// Where its images are pushed, if they are built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// The folder of what is built, within the project's; `None`: the
    /// project's own. Only for people and exports: the context has its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The arguments that replace the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The program and arguments that replace the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The user, and the group behind a `:`, in place of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working directory in place of the image's: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Where the replicas listen; given to them as `PORT`. `None`: nothing
    /// listens (a worker), no route can lead there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the edge speaks to that port.
    #[serde(default)]
    pub protocol: Protocol,
    /// The routes that lead here. The control plane adds the host that every
    /// service with a port gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// How a replica is found healthy.
    #[serde(default)]
    pub health: HealthCheck,
    /// The limits of a replica.
    #[serde(default)]
    pub resources: Resources,
    /// What happens when its process ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How a new release comes up.
    #[serde(default)]
    pub strategy: Strategy,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// What it gets of the machine.
    #[serde(default, skip_serializing_if = "HostAccess::is_none")]
    pub host: HostAccess,
    /// Small files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileMount>,
    /// More names, beside the service's own, by which the environment's other
    /// services reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What runs once before this release's replicas start, and stops the
    /// deployment if it fails. A rollback does not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<JobSpec>,
    /// What runs once in the service's first deployment, when the replicas of
    /// the whole environment are healthy and before they get requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<JobSpec>,
    /// Milliseconds that requests and processes get to end by themselves
    /// before a replica is killed.
    pub stop_timeout_ms: u64,
    /// Variables: of all scopes merged, the nearest wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Secrets by the number of their version. The values stay sealed in the
    /// store and are opened only to start a replica.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, u64>,
    /// Secrets of its environment that are not given to it, although they are
    /// set: a Compose file grants each secret to some services only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld_secrets: Vec<String>,
}

/// The port a service listens on where it says nothing.
pub const DEFAULT_PORT: u16 = 8080;

/// How long replicas get to end, in milliseconds, where a service says nothing.
pub const DEFAULT_STOP_TIMEOUT_MS: u64 = 10_000;

impl ServiceSpec {
    /// A service of this source with every default.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            push: None,
            folder: None,
            command: None,
            entrypoint: None,
            user: None,
            working_directory: None,
            port: Some(DEFAULT_PORT),
            protocol: Protocol::default(),
            routes: Vec::new(),
            health: HealthCheck::default(),
            resources: Resources::default(),
            restart: RestartPolicy::default(),
            strategy: Strategy::default(),
            volumes: Vec::new(),
            host: HostAccess::default(),
            files: Vec::new(),
            aliases: Vec::new(),
            release: None,
            post_deploy: None,
            stop_timeout_ms: DEFAULT_STOP_TIMEOUT_MS,
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            withheld_secrets: Vec::new(),
        }
    }

    /// Whether a secret is given as a file, and so not as a variable.
    #[must_use]
    pub fn is_file(&self, secret: &str) -> bool {
        self.files
            .iter()
            .any(|file| matches!(&file.content, FileContent::Secret { name } if name == secret))
    }

    /// The SHA-256 of the whole spec in its canonical form, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        // Fields in declaration order and sorted maps: the same spec always
        // has the same text. Serialising such plain data cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        data_encoding::HEXLOWER.encode(&Sha256::digest(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_specs_have_equal_digests_and_unequal_ones_do_not() {
        let a = ServiceSpec::new(Source::Image {
            reference: "nginx".into(),
        });
        let mut b = a.clone();
        assert_eq!(a.digest(), b.digest());
        b.variables.insert("A".into(), "1".into());
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn a_spec_survives_json() {
        let spec = ServiceSpec::new(Source::Build(BuildSource {
            context: "sha256:00".into(),
            dockerfile: None,
            target: None,
            arguments: BTreeMap::new(),
            timeout_ms: None,
            overrides: Box::default(),
            secrets: Vec::new(),
        }));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ServiceSpec>(&text).unwrap(), spec);
    }
}
