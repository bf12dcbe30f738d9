//! Builds: the queue, their logs, what they leave.

use nonna_model::build::BuildPlan;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/builds`: what is being built and what waits for its turn.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildsAnswer {
    /// How many may run at the same time.
    pub concurrency: u32,
    /// Those under way first, then those that wait, the next one first.
    pub builds: Vec<BuildAnswer>,
}

/// A build that is not over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildAnswer {
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The service's name.
    pub service: String,
    /// For which release: `v3`.
    pub release: String,
    /// The deployment that it is part of.
    pub deployment: String,
    /// `running` or `waiting`.
    pub state: String,
    /// Its place among those that wait, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// When it was asked for: milliseconds since 1970, UTC.
    pub since: i64,
}

/// What happens in `POST …/environments/{environment}/builds`, whose body is
/// that of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BuildEvent {
    /// A build waits for others to end.
    Waiting {
        /// The service that it is for.
        service: String,
        /// Its place among those that wait, from 1: the next one.
        position: u32,
        /// How many builds are under way.
        running: u32,
    },
    /// A build says something.
    Output {
        /// The service that it is for.
        service: String,
        /// The line.
        line: String,
    },
    /// A build is over.
    Built {
        /// The services that the image is for.
        services: Vec<String>,
        /// The image, as the server's machine knows it.
        image: String,
        /// Its size in bytes.
        size: u64,
        /// What built it: `Dockerfile`, `python` …
        builder: String,
        /// It was there already: nothing that goes into it differs.
        unchanged: bool,
        /// The release that its log is kept with: the service's next.
        release: String,
    },
    /// All are over.
    Finished,
}

/// `GET …/releases/{release}/build-log`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildLogAnswer {
    /// Of which release: `v3`. Another than was asked for where that one took
    /// the image of an earlier one.
    pub release: String,
    /// `building`, `succeeded`, `failed`.
    pub state: String,
    /// What the build said.
    pub lines: Vec<BuildLogLine>,
    /// How many lines were left out, and after how many of `lines`: a log is
    /// kept up to the server's setting `build.log_limit`.
    pub left_out: u64,
    /// After how many of `lines` they were left out.
    pub left_out_after: u64,
}

/// `GET …/releases/{release}/build-plan`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildPlanAnswer {
    /// Of which release: `v3`.
    pub release: String,
    /// How its source is built by this server, and why.
    #[schema(value_type = Object)]
    pub plan: BuildPlan,
}

/// A line of a build's log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildLogLine {
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// The line.
    pub line: String,
}

/// `GET /v1/caches`: what builds keep to be quicker next time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CachesAnswer {
    /// The caches, those used last first.
    pub caches: Vec<CacheAnswer>,
    /// What they take together, in bytes.
    pub bytes: u64,
}

/// A cache.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CacheAnswer {
    /// The builder's name for it.
    pub id: String,
    /// `dependencies` (shared between builds) or `layer` (a step's result).
    pub kind: String,
    /// The project whose build made it; absent where it is gone.
    pub project: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// All services of the organization share it.
    pub shared: bool,
    /// What it came of.
    pub description: String,
    /// In bytes.
    pub bytes: u64,
    /// When it was used last: milliseconds since 1970, UTC.
    pub used_at: i64,
    /// A build uses it, or an image has it: it stays.
    pub in_use: bool,
}

/// `POST /v1/caches/clear`: removes caches that nothing uses.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClearCachesRequest {
    /// Of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Of this environment of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Of this service of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// All that this installation has.
    #[serde(default)]
    pub all: bool,
}

/// `POST /v1/gc`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GcRequest {
    /// Only tell what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GcAnswer {
    /// Nothing was removed.
    pub dry_run: bool,
    /// What.
    pub items: Vec<GcItem>,
    /// How many bytes it has together.
    pub bytes: u64,
    /// The disks, as they were before.
    pub disks: Vec<DiskAnswer>,
}

/// One thing that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcItem {
    /// `image`, `dependencies`, `layer`, `build_log`, `context`.
    pub kind: String,
    /// Its name: an image's id, a release, a digest.
    pub name: String,
    /// The id of the service it was for.
    pub service: Option<String>,
    /// In bytes; 0 where it is not known.
    pub bytes: u64,
    /// Why it goes.
    pub why: String,
}

/// A disk that builds fill.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiskAnswer {
    /// What is on it: `container engine`, `data folder`.
    pub name: String,
    /// Free, in bytes.
    pub free: u64,
    /// Its size, in bytes.
    pub total: u64,
}
