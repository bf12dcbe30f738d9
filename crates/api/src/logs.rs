//! Log lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The query of `…/logs`. The answer is a stream of server-sent events whose
/// data are [`LogLineAnswer`]s and whose ids are their numbers, honoured in
/// `Last-Event-ID`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Go on with new lines.
    #[serde(default)]
    pub follow: bool,
    /// The newest so many lines. Where nothing narrows it down: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Not before: milliseconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Not after: milliseconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Only lines that hold this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grep: Option<String>,
    /// Only lines that this query finds: `error level:>=warn -healthz`
    /// (`docs/logs.md`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// By which ways the lines came: some of `stdout`, `stderr`, `edge`,
    /// `nonna`, `proxy`, `network`, separated by commas, or `all`. Without it
    /// all but `edge` and `nonna`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The edge's access log: the same as `stream=edge`.
    #[serde(default)]
    pub access: bool,
    /// Which lines come first.
    #[serde(default)]
    pub order: LogOrder,
    /// So many lines of the same replica before and after each as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
}

/// Which lines come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogOrder {
    /// The oldest.
    #[default]
    Oldest,
    /// The newest.
    Newest,
}

/// A log line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLineAnswer {
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// When, to the nanosecond: `2026-11-24T08:36:11.123456789Z`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Its number: lines are numbered in the order in which they came.
    #[serde(default)]
    pub number: u64,
    /// The service's name.
    pub service: String,
    /// `v3`; absent in the access log.
    pub release: Option<String>,
    /// Which replica.
    pub replica: Option<u32>,
    /// `stdout`, `stderr`, `edge`, `nonna` (deployments and builds), `proxy`
    /// (what was lost), `network`.
    pub stream: String,
    /// `error`, `warn` …; absent where nothing says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What came beside the line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// It was not asked for, but stands near what was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub context: bool,
    /// So many lines are missing here, because the reader was too slow for
    /// them; then there is no line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// The line; several where they belong together (a stack trace).
    pub line: String,
}
