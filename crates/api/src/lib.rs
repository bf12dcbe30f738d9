//! The wire types of the control plane's HTTP API, version 1: what the server
//! answers and the client reads are the same types.
//!
//! Paths stand in [`paths`]. Every body is JSON except where a path says
//! otherwise; every failure is an [`Failure`] with the HTTP status of its code.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use nonna_engine::Error;
use nonna_engine::event::Outcome;
use nonna_model::folder::Words;
use nonna_model::plan::Plan;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod builds;
pub mod git;
mod logs;
pub mod paths;
mod registries;

pub use registries::{
    PushAnswer, RegistryAnswer, RegistryLoginRequest, RegistryLogoutRequest, SbomQuery, SigningKeyAnswer,
    VerifyAnswer,
};

pub use logs::{LogLineAnswer, LogOrder, LogsQuery};

pub use builds::{
    BuildAnswer, BuildEvent, BuildLogAnswer, BuildLogLine, BuildPlanAnswer, BuildsAnswer, CacheAnswer,
    CachesAnswer, ClearCachesRequest, DiskAnswer, GcAnswer, GcItem, GcRequest,
};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What failed, whose fault it is and how to mend it.
    #[schema(value_type = Object)]
    pub error: Error,
}

/// `POST /v1/login`: exchanges the one-time code of the first start for a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginRequest {
    /// The one-time code.
    pub code: String,
    /// What the token is for, for people: `laptop`.
    pub name: String,
}

/// A token, shown once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswer {
    /// The token: sent as `Authorization: Bearer …`.
    pub token: String,
}

/// `GET /v1/version`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionAnswer {
    /// The server's version.
    pub version: String,
    /// The installation's id.
    pub installation: String,
    /// What services run on: `Docker Engine 20.10.24`; absent where it does
    /// not answer.
    pub runtime: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The things, newest or first by name.
    pub items: Vec<T>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The query of every list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// What [`Page::next`] of the page before said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many; 1 to 200, by default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A project and its environments.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProjectAnswer {
    /// Its name.
    pub name: String,
    /// The names of its environments.
    pub environments: Vec<String>,
}

/// What `plan` and `deploy` are asked: what an environment should be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DesiredRequest {
    /// The text of `nonna.toml`; empty: all defaults.
    #[serde(default)]
    pub manifest: String,
    /// The texts of the other files that say something of the services, by
    /// path: `Procfile`, `app.json`, or a Compose file and those it names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The Compose file among `files` that decides alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<String>,
    /// The variables that a Compose file takes from the environment of whoever
    /// deploys it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Secrets that will be set before the deployment: a plan counts them as
    /// set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promised_secrets: Vec<String>,
    /// For each service that is built: the digest of its build context, which
    /// was sent before.
    #[serde(default)]
    pub contexts: BTreeMap<String, String>,
    /// Only these services of the manifest; empty: all.
    #[serde(default)]
    pub services: Vec<String>,
    /// Take this image for the service `web` (or the only one in `services`)
    /// instead of building.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Also remove services of the environment that the manifest no longer
    /// has. Process types that are gone from a Procfile, and have no volume,
    /// are removed without it.
    #[serde(default)]
    pub prune: bool,
    /// A new release even where nothing differs.
    #[serde(default)]
    pub force: bool,
    /// Build everything anew: no image, layer or dependency of before is used.
    #[serde(default)]
    pub no_cache: bool,
    /// The base images of what is built were fetched just now: what is made of
    /// others is built again.
    #[serde(default)]
    pub pull: bool,
}

impl DesiredRequest {
    /// A request for what these words of a folder say.
    #[must_use]
    pub fn of_words(words: Words) -> Self {
        Self {
            manifest: words.manifest,
            files: words.files,
            compose: words.compose,
            variables: words.variables,
            ..Self::default()
        }
    }

    /// The words that it is about.
    #[must_use]
    pub fn words(&self) -> Words {
        Words {
            manifest: self.manifest.clone(),
            files: self.files.clone(),
            compose: self.compose.clone(),
            variables: self.variables.clone(),
        }
    }
}

/// `POST …/deployments`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// What the environment should be.
    #[serde(flatten)]
    pub desired: DesiredRequest,
    /// Only if the plan still is the one of this digest (`PlanChanged` else).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Cancel deployments of this environment that are under way or wait,
    /// rather than wait for them.
    #[serde(default)]
    pub replace: bool,
}

/// What would happen: `POST …/plan`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanAnswer {
    /// The plan.
    #[schema(value_type = Object)]
    pub plan: Plan,
    /// Its digest.
    pub digest: String,
}

/// What was begun: the answer to everything that takes time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentAnswer {
    /// The deployment's id.
    pub id: String,
    /// `deploy`, `rollback`, `scale`, `variables`, `pause`, `resume`, `destroy`.
    pub kind: String,
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// `queued`, `running`, `succeeded`, `rolled_back`, `failed`.
    pub state: String,
    /// When it was asked for: milliseconds since 1970, UTC.
    pub created_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// How it ended.
    #[schema(value_type = Option<Object>)]
    pub outcome: Option<Outcome>,
    /// What it does. Nothing to do: no steps, and it is `succeeded` at once.
    #[schema(value_type = Object)]
    pub plan: Plan,
    /// Where its services are reached, by service name.
    pub urls: BTreeMap<String, Vec<String>>,
}

/// `POST /v1/contexts`: the client names every file of a build context.
/// The body is a `nonna_model::context::ContextManifest`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ContextAnswer {
    /// The context's digest.
    pub digest: String,
    /// The SHA-256 digests of contents that the server does not have yet.
    pub missing: Vec<String>,
}

/// The state of an environment: `GET …/environments/{environment}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentAnswer {
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// Its services.
    pub services: Vec<ServiceAnswer>,
    /// The deployment that is under way, if one is.
    pub deployment: Option<String>,
}

/// The state of a service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ServiceAnswer {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The current release, `v3`; absent before the first.
    pub release: Option<String>,
    /// The image or the language it was built by.
    pub source: String,
    /// How many replicas were asked for.
    pub replicas: u32,
    /// Whether it is paused.
    pub paused: bool,
    /// `running`, `degraded` (some replicas do not run), `down`, `paused`,
    /// `never_deployed`.
    pub state: String,
    /// Where it is reached.
    pub urls: Vec<String>,
    /// Its replicas.
    pub running: Vec<ReplicaAnswer>,
    /// Its volumes' names.
    pub volumes: Vec<String>,
}

/// The state of a replica.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplicaAnswer {
    /// Of which release.
    pub release: String,
    /// Which replica, from 0.
    pub index: u32,
    /// `running`, `restarting`, `exited (1)`, `killed: out of memory` …
    pub state: String,
    /// When it was started: milliseconds since 1970, UTC.
    pub started_at: Option<i64>,
    /// How often the runtime has restarted it.
    pub restarts: u32,
    /// Memory in use, in bytes, where it is known.
    pub memory: Option<u64>,
    /// Its memory limit, in bytes.
    pub memory_limit: Option<u64>,
    /// Processor time used, in microseconds.
    pub cpu_micros: Option<u64>,
}

/// A release in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReleaseAnswer {
    /// `v3`
    pub release: String,
    /// Whether it is current.
    pub current: bool,
    /// `pending`, `succeeded`, `failed`.
    pub state: String,
    /// When it was made: milliseconds since 1970, UTC.
    pub created_at: i64,
    /// Why it was made.
    pub reason: String,
    /// Its image.
    pub image: Option<String>,
    /// Where a registry has exactly this image: a repository with a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// `POST …/services/{service}/rollback`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which release; absent: the one before the current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// `POST …/services/{service}/scale`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// How many replicas.
    pub replicas: u32,
}

/// `POST …/destroy`: of a service, or of an environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestroyRequest {
    /// The name of what is destroyed, again, so that it is meant.
    pub confirm: String,
}

/// `POST …/variables`: sets and removes, in one change, and releases anew
/// every service that sees a difference.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariablesRequest {
    /// Variables or secrets to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Names to remove.
    #[serde(default)]
    pub unset: Vec<String>,
    /// These are secrets: sealed, never shown in lists or logs.
    #[serde(default)]
    pub secret: bool,
    /// Only store; the next deployment uses them.
    #[serde(default)]
    pub stage: bool,
}

/// Whose variable it is: the query of `…/variables`. The nearest scope wins.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableScope {
    /// `organization`, `project`, `environment` (the default) or `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The service, where the scope is `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// A variable in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VariableAnswer {
    /// Its name.
    pub name: String,
    /// Its value; absent for a secret.
    pub value: Option<String>,
    /// Whether it is a secret.
    pub secret: bool,
    /// `organization`, `project`, `environment`, `service`.
    pub scope: String,
    /// The service, where the scope is a service's.
    pub service: Option<String>,
    /// When it was set: milliseconds since 1970, UTC.
    pub updated_at: i64,
}

/// What a change of variables led to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VariablesAnswer {
    /// The deployment of the services that see a difference; absent where none
    /// does, or with `stage`.
    pub deployment: Option<DeploymentAnswer>,
}

/// The query of `…/exec` and `…/run`. The connection is upgraded to a
/// WebSocket on which [`Frame`]s travel.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ExecQuery {
    /// The program and its arguments, as a JSON array of strings.
    pub command: String,
    /// Give it a terminal.
    #[serde(default)]
    pub tty: bool,
    /// The terminal's columns.
    #[serde(default)]
    pub columns: u16,
    /// The terminal's rows.
    #[serde(default)]
    pub rows: u16,
    /// Which replica (`exec` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<u32>,
}

/// The first byte of a binary WebSocket message of `…/exec` and `…/run`; the
/// rest is what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    /// Client → server: bytes for standard input.
    Stdin = 0,
    /// Server → client: standard output.
    Stdout = 1,
    /// Server → client: standard error.
    Stderr = 2,
    /// Client → server: standard input ends.
    StdinEnd = 3,
    /// Client → server: columns and rows, two big-endian 16-bit numbers.
    Resize = 4,
    /// Server → client, last: the exit code, a big-endian signed 64-bit number.
    Exit = 5,
    /// Server → client, last: an [`Error`] as JSON.
    Error = 6,
}

impl Frame {
    /// The kind of frame this first byte announces.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::StdinEnd,
            4 => Self::Resize,
            5 => Self::Exit,
            6 => Self::Error,
            _ => return None,
        })
    }
}

/// The query of `…/export`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// `compose` (the default) or `kubernetes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// The files of an export.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExportAnswer {
    /// By path, relative to the folder the user names.
    pub files: BTreeMap<String, String>,
}

/// One finding of `nonna doctor`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at: `container engine`, `port 80`.
    pub check: String,
    /// `ok`, `warning`, `failed`.
    pub state: String,
    /// What was found.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// `GET /v1/doctor`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DoctorAnswer {
    /// What was found.
    pub findings: Vec<Finding>,
}
