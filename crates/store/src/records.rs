//! The records of the control plane: plain data, as [`crate::Store`] takes and
//! gives it.
//!
//! Every time is in milliseconds since 1970, UTC.

use std::collections::BTreeMap;
use std::fmt;

use nonna_engine::event::{Event, Outcome};
use nonna_engine::{Code, Error, Result};
use nonna_model::plan::{CurrentRelease, Plan, Scope};
use nonna_model::{
    DeploymentId, EnvironmentId, InstallationId, Name, OrganizationId, ProjectId, ReleaseNumber, ServiceId,
    TokenId,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// This installation, made once with its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its id; the label `nonna.installation` of all that it makes.
    pub id: InstallationId,
    /// The one organization there is for now, named `default`.
    pub organization: OrganizationId,
    /// When it was made.
    pub created_at: i64,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Whose.
    pub organization: OrganizationId,
    /// Its name, unique within the organization.
    pub name: Name,
    /// When it was made.
    pub created_at: i64,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Of which project.
    pub project: ProjectId,
    /// Its name, unique within the project.
    pub name: Name,
    /// When it was made.
    pub created_at: i64,
}

/// A service, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Of which environment.
    pub environment: EnvironmentId,
    /// Its name, unique within the environment.
    pub name: Name,
    /// What is current; `None` before the first deployment that succeeded.
    pub current: Option<CurrentRelease>,
    /// The number its next release gets. Numbers of failed and waiting
    /// releases are taken too.
    pub next_release: ReleaseNumber,
    /// Every volume a release of it ever named: they may hold data.
    pub volumes: Vec<Name>,
    /// When it was made.
    pub created_at: i64,
}

/// An environment as it stands, read in one transaction: what the planner
/// needs of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentSnapshot {
    /// Its ids and names.
    pub scope: Scope,
    /// Its services, by name.
    pub services: Vec<Service>,
    /// Its deployments that are not finished, oldest first: the running one,
    /// then those that wait.
    pub unfinished: Vec<DeploymentId>,
}

/// Why there is a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// `nonna deploy`
    Deploy,
    /// `nonna rollback`
    Rollback,
    /// `nonna scale`
    Scale,
    /// A variable or a secret changed.
    Variables,
    /// `nonna pause`
    Pause,
    /// `nonna resume`
    Resume,
    /// `nonna destroy`
    Destroy,
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// It waits for its turn.
    Queued,
    /// It is under way, or was when Nonna stopped.
    Running,
    /// Its plan is carried out.
    Succeeded,
    /// It failed; the old state stands.
    RolledBack,
    /// It failed where only forward leads.
    Failed,
}

impl DeploymentKind {
    /// The stable word: `deploy`, `rollback` …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Scale => "scale",
            Self::Variables => "variables",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Destroy => "destroy",
        }
    }
}

impl DeploymentState {
    /// The stable word: `queued`, `rolled_back` …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::Failed)
    }

    /// The state a deployment with this outcome is in.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::RolledBack { .. } => Self::RolledBack,
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

impl fmt::Display for DeploymentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes a request that is sent twice happen once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key, unique for each actor.
    pub key: String,
    /// The digest of the request: another request under the same key is
    /// refused.
    pub request: String,
}

/// A deployment to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeployment {
    /// Its id, made by the caller.
    pub id: DeploymentId,
    /// Why.
    pub kind: DeploymentKind,
    /// What it will do.
    pub plan: Plan,
    /// Who asked: a token's name, `system` …
    pub actor: String,
    /// Against doing it twice.
    pub idempotency: Option<Idempotency>,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Why.
    pub kind: DeploymentKind,
    /// What it does; its scope says where.
    pub plan: Plan,
    /// Who asked.
    pub actor: String,
    /// How far it is.
    pub state: DeploymentState,
    /// Somebody asked to cancel it.
    pub cancel_requested: bool,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it was asked for.
    pub created_at: i64,
    /// When its turn came.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
}

/// What [`crate::Store::create_deployment`] made or found.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The deployment.
    pub deployment: Deployment,
    /// The same request came before: this is what it made.
    pub existed: bool,
}

/// An event with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its number within the deployment, from 1 without gaps until pruned.
    pub sequence: u64,
    /// What happened.
    pub event: Event,
}

/// Whose a variable or a secret is. The nearest wins: a service's own before
/// its environment's, its project's and its organization's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Seen by every service of the organization.
    Organization(OrganizationId),
    /// Seen by every service of the project.
    Project(ProjectId),
    /// Seen by every service of the environment.
    Environment(EnvironmentId),
    /// Seen by the service.
    Service(ServiceId),
}

impl Owner {
    /// The scope's word: `organization`, `project`, `environment`, `service`.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        match self {
            Self::Organization(_) => "organization",
            Self::Project(_) => "project",
            Self::Environment(_) => "environment",
            Self::Service(_) => "service",
        }
    }

    /// The owner's id as text; its prefix says what it is.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Organization(id) => id.as_str(),
            Self::Project(id) => id.as_str(),
            Self::Environment(id) => id.as_str(),
            Self::Service(id) => id.as_str(),
        }
    }

    /// The owner of this id.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        Some(match id.get(..4)? {
            "org-" => Self::Organization(id.parse().ok()?),
            "prj-" => Self::Project(id.parse().ok()?),
            "env-" => Self::Environment(id.parse().ok()?),
            "svc-" => Self::Service(id.parse().ok()?),
            _ => return None,
        })
    }

    /// All that a service sees, farthest first.
    #[must_use]
    pub fn seen_by(scope: &Scope, service: &ServiceId) -> [Self; 4] {
        [
            Self::Organization(scope.organization.clone()),
            Self::Project(scope.project.clone()),
            Self::Environment(scope.environment.clone()),
            Self::Service(service.clone()),
        ]
    }
}

/// A variable, or that there is a secret of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Whose.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: VariableValue,
    /// When it was last set.
    pub updated_at: i64,
    /// Who set it last.
    pub updated_by: String,
}

/// What a variable says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableValue {
    /// In the clear.
    Plain(String),
    /// Sealed, under this version. Versions are unique in the installation
    /// and never used again.
    Secret(u64),
}

/// A change of the variables of one owner: all of it or nothing.
#[derive(Debug)]
pub struct VariablesChange {
    /// Whose.
    pub owner: Owner,
    /// Variables to set; a secret of that name is replaced.
    pub set: BTreeMap<String, String>,
    /// Secrets to set, each as a new version unless the value is the same; a
    /// variable of that name is replaced.
    pub set_secrets: BTreeMap<String, SecretString>,
    /// Names to remove, of either kind.
    pub unset: Vec<String>,
    /// Who.
    pub actor: String,
}

impl VariablesChange {
    /// A change that changes nothing yet.
    #[must_use]
    pub fn of(owner: Owner, actor: impl Into<String>) -> Self {
        Self {
            owner,
            set: BTreeMap::new(),
            set_secrets: BTreeMap::new(),
            unset: Vec::new(),
            actor: actor.into(),
        }
    }

    /// Checks every name and value.
    ///
    /// # Errors
    /// `InvalidInput`, with every fault found among the details.
    pub fn check(&self) -> Result<()> {
        use secrecy::ExposeSecret;
        let mut faults = Vec::new();
        let names = self.set.keys().chain(self.set_secrets.keys());
        faults.extend(names.filter_map(|name| variable_name_fault(name)));
        let values = self.set.iter().map(|(name, value)| (name, value.as_str()));
        let secrets = self
            .set_secrets
            .iter()
            .map(|(name, value)| (name, value.expose_secret()));
        for (name, value) in values.chain(secrets) {
            if value.contains('\0') {
                faults.push(format!("the value of {name} holds a NUL character"));
            }
            if value.len() > MAX_VALUE_BYTES {
                faults.push(format!("the value of {name} is longer than 64 KiB"));
            }
        }
        for name in self.set.keys() {
            if self.set_secrets.contains_key(name) {
                faults.push(format!("{name} is set both as a variable and as a secret"));
            }
        }
        for name in &self.unset {
            if self.set.contains_key(name) || self.set_secrets.contains_key(name) {
                faults.push(format!("{name} is both set and removed"));
            }
        }
        let Some(first) = faults.first() else {
            return Ok(());
        };
        let mut error = Error::user(
            Code::InvalidInput,
            format!("Variables were not changed: {first}."),
        )
        .hint("Names are letters, digits and `_`, and do not begin with a digit.");
        error.details = faults;
        Err(error)
    }
}

/// The longest value of a variable or a secret, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// What is wrong with a variable's name, if anything is.
#[must_use]
pub fn variable_name_fault(name: &str) -> Option<String> {
    let shown: String = name.chars().take(64).filter(|c| !c.is_control()).collect();
    if name.is_empty() {
        Some("a name is empty".to_owned())
    } else if name.len() > 256 {
        Some(format!("the name `{shown}…` is longer than 256 characters"))
    } else if name.starts_with(|c: char| c.is_ascii_digit())
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        Some(format!("`{shown}` cannot be a variable's name"))
    } else {
        None
    }
}

/// What a service sees of all scopes: what its next release's spec gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergedVariables {
    /// Variables.
    pub variables: BTreeMap<String, String>,
    /// Secrets, by version.
    pub secrets: BTreeMap<String, u64>,
}

/// The SHA-256 of a token or a one-time code. Both have so many random bits
/// that a slow hash would protect nothing more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A token to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its hash.
    pub hash: TokenHash,
    /// What it is for, for people.
    pub name: String,
    /// When it stops being valid; `None`: never.
    pub expires_at: Option<i64>,
}

/// A token, without what would let anybody use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: i64,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
    /// When it stops being valid.
    pub expires_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

/// That there is a sealed blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its key within its kind: a domain, say.
    pub key: String,
    /// When it was last put.
    pub updated_at: i64,
}

/// Something somebody did, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// When.
    pub at: i64,
    /// Who: a token's name, `system`.
    pub actor: String,
    /// From which address, where it came over the network.
    pub address: Option<String>,
    /// What: `deployment.create`, `secret.set` …
    pub action: String,
    /// On what: `shop/production/web`.
    pub target: String,
    /// What else is worth knowing. Never a secret's value.
    pub detail: Option<String>,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Its number, growing.
    pub sequence: u64,
    /// What was done.
    pub entry: NewAudit,
}
