//! Deploying by git.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET …/git`: how a project is deployed by git.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GitAnswer {
    /// The path of the repository that is pushed to, on this server.
    pub path: String,
    /// The environments that follow a branch, by branch. Where `main` and
    /// `master` are not among them, they are followed by the environment that
    /// `nonna.toml` names, else by `production`.
    pub branches: BTreeMap<String, String>,
}

/// `POST …/git/branches`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchRequest {
    /// The branch.
    pub branch: String,
    /// The environment that follows it; absent: none is told to any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}
