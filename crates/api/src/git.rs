//! Deploying by git.

use std::collections::BTreeMap;
use std::fmt;

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

/// `POST …/git/connections`: connects a repository on a forge, or changes what
/// is deployed from one that is connected.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// The repository's address: `https://…`, `ssh://…` or `git@host:path`.
    pub repository: String,
    /// The branch that is deployed.
    pub branch: String,
    /// The environment that follows it.
    pub environment: String,
    /// Only these services of it; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// `github`, `gitlab`, `gitea` (Forgejo too) or `bitbucket`, where the
    /// host's name does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<String>,
    /// Where the forge's API is, where the address does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// A token of the forge: for commit statuses, and for fetching over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Makes another secret for the webhook of a repository that is connected.
    #[serde(default)]
    pub new_secret: bool,
}

// By hand: what it holds is not printed.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("repository", &self.repository)
            .field("branch", &self.branch)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// What was connected, and what is to be entered at the forge.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectAnswer {
    /// The connection.
    pub connection: ConnectionAnswer,
    /// The webhook's secret, if one was made: it is shown this once.
    pub secret: Option<String>,
}

impl fmt::Debug for ConnectAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAnswer")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// A repository on a forge that a project is deployed from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectionAnswer {
    /// Its id.
    pub id: String,
    /// The project.
    pub project: String,
    /// The repository's address.
    pub repository: String,
    /// `github`, `gitlab`, `gitea` or `bitbucket`.
    pub forge: String,
    /// Where the forge's API is.
    pub api: String,
    /// What is deployed, by branch.
    pub branches: BTreeMap<String, FollowedAnswer>,
    /// The webhook's path on this server.
    pub webhook_path: String,
    /// The webhook's whole address, where this server knows how it is reached.
    pub webhook_url: Option<String>,
    /// The public half of the deploy key, where there is one.
    pub public_key: Option<String>,
    /// Whether a token is kept.
    pub has_token: bool,
    /// The fingerprints by which the forge's host is known, over SSH.
    pub host_keys: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When: milliseconds since 1970, UTC.
    pub created_at: i64,
    /// What its webhook said last.
    pub last: Option<DeliveryAnswer>,
}

/// What follows a branch of a repository on a forge.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FollowedAnswer {
    /// The environment.
    pub environment: String,
    /// Only these services of it; empty: all.
    pub services: Vec<String>,
    /// The commit that was deployed last.
    pub deployed: Option<String>,
}

/// What a webhook said, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryAnswer {
    /// Its number.
    pub number: u64,
    /// Who asked for it, where it was no webhook.
    pub actor: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// The commit that was fetched; before that the one that the message named.
    pub commit: Option<String>,
    /// `waiting`, `running`, `reporting` or `done`.
    pub state: String,
    /// `deployed`, `unchanged`, `failed`, `ignored` or `superseded`.
    pub result: Option<String>,
    /// The same in a sentence.
    pub message: String,
    /// The deployment that it made.
    pub deployment: Option<String>,
    /// When it came: milliseconds since 1970, UTC.
    pub received_at: i64,
    /// When it was over.
    pub finished_at: Option<i64>,
}

/// A delivery with all that was said of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryLogAnswer {
    /// The delivery.
    pub delivery: DeliveryAnswer,
    /// What was said, line by line, as a `git push` is told it.
    pub log: String,
}

/// `POST …/disconnect`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectRequest {
    /// Only this branch; absent: the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// `POST …/deploy`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgeDeployRequest {
    /// Which branch, where several are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// What a webhook is answered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HookAnswer {
    /// What became of the message.
    pub message: String,
    /// The numbers of the deliveries that it made.
    pub deliveries: Vec<u64>,
}
