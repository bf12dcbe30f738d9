//! The records of deploys from a forge: which repository leads where, and
//! what its webhooks said.
//!
//! Every time is in milliseconds since 1970, UTC.

use std::collections::BTreeMap;
use std::fmt;

use nonna_engine::{Code, Error};
use nonna_model::{ConnectionId, DeploymentId, Name, OrganizationId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// The kind of the blobs that keep connections' secrets, by connection.
pub(crate) const SECRETS: &str = "forge-connection";

/// A repository on a forge that a project is deployed from. What is secret of
/// it is kept apart: [`ConnectionSecrets`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id, and the last part of its webhook's path.
    pub id: ConnectionId,
    /// Whose.
    pub organization: OrganizationId,
    /// Which project is deployed from it.
    pub project: Name,
    /// The repository's address; unique within the project.
    pub url: String,
    /// Which kind of forge it is on.
    pub forge: String,
    /// Where the forge's API is, where the address does not tell.
    pub api: Option<String>,
    /// What is deployed, by branch.
    pub branches: BTreeMap<String, Followed>,
    /// The public half of the deploy key, where there is one.
    pub public_key: Option<String>,
    /// Whether a token is kept.
    pub has_token: bool,
    /// The keys by which the forge's host was known the first time, as lines
    /// of a `known_hosts` file.
    pub host_keys: Option<String>,
    /// Who made it: the name of a token of Nonna's.
    pub created_by: String,
    /// When.
    pub created_at: i64,
}

/// What follows a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The environment.
    pub environment: Name,
    /// Only these services of it; empty: all that the commit's manifest has.
    #[serde(default)]
    pub services: Vec<Name>,
    /// The commit that was deployed last.
    #[serde(default)]
    pub deployed: Option<String>,
}

/// What is secret of a connection.
#[derive(Clone)]
pub struct ConnectionSecrets {
    /// What the webhook's messages are signed with.
    pub webhook: SecretString,
    /// The private half of the deploy key.
    pub key: Option<SecretString>,
    /// The token for the forge's API, and for fetching over HTTPS.
    pub token: Option<SecretString>,
}

impl fmt::Debug for ConnectionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionSecrets(…)")
    }
}

/// A change of a connection.
#[derive(Debug, Clone)]
pub enum ConnectionChange {
    /// Something follows this branch.
    Follow(String, Followed),
    /// Nothing follows it any more.
    Unfollow(String),
    /// Another token, or none.
    Token(Option<SecretString>),
    /// Another secret of the webhook.
    WebhookSecret(SecretString),
    /// The forge's API is there.
    Api(Option<String>),
    /// The host's keys, where none are known yet.
    HostKeys(String),
    /// This commit of the branch was deployed.
    Deployed {
        /// The branch.
        branch: String,
        /// The commit.
        commit: String,
    },
}

impl ConnectionChange {
    /// Makes the change.
    pub fn apply(&self, connection: &mut Connection, secrets: &mut ConnectionSecrets) {
        match self {
            Self::Follow(branch, followed) => {
                let mut followed = followed.clone();
                // Followed by the same as before, what was deployed stays known.
                if let Some(before) = connection.branches.get(branch)
                    && before.environment == followed.environment
                    && before.services == followed.services
                {
                    followed.deployed = followed.deployed.or_else(|| before.deployed.clone());
                }
                connection.branches.insert(branch.clone(), followed);
            }
            Self::Unfollow(branch) => {
                connection.branches.remove(branch);
            }
            Self::Token(token) => {
                connection.has_token = token.is_some();
                secrets.token.clone_from(token);
            }
            Self::WebhookSecret(secret) => secrets.webhook = secret.clone(),
            Self::Api(api) => connection.api.clone_from(api),
            Self::HostKeys(keys) => {
                connection.host_keys.get_or_insert_with(|| keys.clone());
            }
            Self::Deployed { branch, commit } => {
                if let Some(followed) = connection.branches.get_mut(branch) {
                    followed.deployed = Some(commit.clone());
                }
            }
        }
    }
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits for its turn.
    Waiting,
    /// It is fetched and deployed.
    Running,
    /// It is over, and the forge is not told yet.
    Reporting,
    /// It is over.
    Done,
}

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryResult {
    /// It serves.
    Deployed,
    /// Nothing that matters changed.
    Unchanged,
    /// It could not be deployed.
    Failed,
    /// It is about nothing that is deployed.
    Ignored,
    /// A later one came before its turn, or had come before it.
    Superseded,
}

/// A message of a webhook, and what came of it; or what a user asked for in
/// its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number, given when it is accepted. Later ones have higher ones.
    pub number: u64,
    /// Of which connection.
    pub connection: ConnectionId,
    /// The forge's id of it: it is accepted once.
    pub delivery: String,
    /// Who asked for it, where it was no webhook.
    pub actor: Option<String>,
    /// The branch it is about.
    pub branch: Option<String>,
    /// The commit: first the one that the message names, then the one that
    /// was fetched.
    pub commit: Option<String>,
    /// How far it is.
    pub state: DeliveryState,
    /// What came of it.
    pub result: Option<DeliveryResult>,
    /// The same in a sentence.
    pub message: String,
    /// The deployment that it made.
    pub deployment: Option<DeploymentId>,
    /// When it came.
    pub received_at: i64,
    /// When it was over.
    pub finished_at: Option<i64>,
}

/// A delivery to be accepted.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The record; its number does not count.
    pub delivery: Delivery,
    /// The digest of the message's body.
    pub digest: String,
    /// Which other message with the same body makes it a replay.
    pub repeats: Repeats,
    /// When it happened, as the forge says.
    pub happened: Option<i64>,
    /// How many of the connection are remembered.
    pub keep: u32,
}

/// Which other message with the same body makes a message a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// None: the body need not be the message's own.
    None,
    /// The last one: what happened once can happen again, but not twice at
    /// once.
    Last,
    /// Any: the body says when it happened.
    Any,
}

/// What became of accepting a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is kept.
    New(Delivery),
    /// It is kept and over: the branch had moved on before.
    Late(Delivery),
    /// It was accepted before.
    Replay,
}

/// What a delivery that came late is called.
pub const LATE: &str = "A later push of the branch was received before this one.";

/// What a delivery that another one overtook is called.
pub const OVERTAKEN: &str = "A later push of the branch came before its turn.";

/// The refusal of a repository that is connected already.
pub fn already_connected(url: &str) -> Error {
    Error::user(
        Code::Conflict,
        format!("{url} is connected to this project already."),
    )
}
