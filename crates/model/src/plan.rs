//! Plans: what will change, why, and by which steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{EnvironmentId, OrganizationId, ProjectId, ServiceId};
use crate::name::Name;
use crate::release::{Release, ReleaseNumber};
use crate::service::{JobSpec, ServiceSpec};

/// Which environment something belongs to, with the names people know it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The organization.
    pub organization: OrganizationId,
    /// The project's id.
    pub project: ProjectId,
    /// The project's name.
    pub project_name: Name,
    /// The environment's id.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: Name,
}

/// What an environment should be: the planner's first input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredEnvironment {
    /// Whose.
    pub scope: Scope,
    /// Every service that this plan is about. Services not named here are left
    /// as they are.
    pub services: Vec<DesiredService>,
    /// Remove the environment itself once its services are gone.
    pub remove: bool,
}

/// What a service should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredService {
    /// The service's id; new services have one already.
    pub id: ServiceId,
    /// Its name.
    pub name: Name,
    /// What is current, if anything was ever deployed.
    pub current: Option<CurrentRelease>,
    /// The number the next release will get.
    pub next_release: ReleaseNumber,
    /// The services, by name, whose replicas must be healthy before its own
    /// start. Those that the plan is not about are there already.
    #[serde(default)]
    pub after: Vec<Name>,
    /// What should be.
    pub target: Target,
}

/// The release that is current, and how much of it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRelease {
    /// The release.
    pub release: Release,
    /// How many replicas were last asked for (when not paused).
    pub replicas: u32,
    /// Whether the service is paused: no replica runs.
    pub paused: bool,
}

/// What should become of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one per service of a plan; a box would only cost an indirection"
)]
pub enum Target {
    /// It should run like this.
    Run {
        /// The configuration.
        spec: ServiceSpec,
        /// The image, where it is known already (a rollback, or an image that
        /// is on the machine); a build or a pull finds it otherwise.
        image: Option<String>,
        /// How many replicas.
        replicas: u32,
        /// No replica runs, whatever `replicas` says; volumes stay.
        paused: bool,
        /// A new release even where nothing differs.
        force: bool,
        /// A new release runs its release command. Not where a rollback makes
        /// it: what the command changed then is not to be changed again.
        jobs: bool,
        /// Build everything anew: no image, layer or dependency of before is
        /// used. Always a new release.
        no_cache: bool,
        /// Why it is built again though its source is the same; `None`: it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rebuild: Option<String>,
        /// Why, for the list of releases.
        reason: String,
    },
    /// It should be gone, with its volumes.
    Remove {
        /// The names of its volumes, which will be lost.
        volumes: Vec<Name>,
    },
}

/// What a plan does to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It comes to be.
    Create,
    /// It changes where it stands.
    Change,
    /// A new one takes the place of the old.
    Replace,
    /// It is removed, with what it holds.
    Destroy,
    /// It stays as it is.
    Keep,
    /// It is run, once.
    Run,
}

/// The kinds of thing a plan speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// An environment.
    Environment,
    /// An environment's private network.
    Network,
    /// A service.
    Service,
    /// A volume.
    Volume,
    /// A route from outside.
    Route,
    /// A command that a deployment runs once.
    Job,
}

/// One line of a plan, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens.
    pub action: Action,
    /// To what kind of thing.
    pub resource: ResourceKind,
    /// Which: `web`, `web/data`.
    pub name: String,
    /// Why, each a short sentence.
    pub reasons: Vec<String>,
}

/// A step's number within its plan.
pub type StepId = u32;

/// One step of a plan: idempotent, and either undoable or behind the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// What it does.
    #[serde(flatten)]
    pub kind: StepKind,
    /// The steps that must be done before.
    pub after: Vec<StepId>,
}

/// The commands that a deployment runs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// [`ServiceSpec::release`].
    Release,
    /// [`ServiceSpec::post_deploy`].
    PostDeploy,
}

impl Job {
    /// The job of a specification, if it has it.
    #[must_use]
    pub fn of(self, spec: &ServiceSpec) -> Option<&JobSpec> {
        match self {
            Self::Release => spec.release.as_ref(),
            Self::PostDeploy => spec.post_deploy.as_ref(),
        }
    }

    /// What people call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Release => "release command",
            Self::PostDeploy => "post-deploy command",
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    /// Makes the environment's private network, if it is not there.
    EnsureNetwork,
    /// Makes a volume, if it is not there.
    EnsureVolume {
        /// Whose.
        service: ServiceId,
        /// Which.
        volume: Name,
    },
    /// Builds the target release's image.
    Build {
        /// Of which service.
        service: ServiceId,
        /// The services that are built from the same source in the same way,
        /// and get the same image.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<ServiceId>,
        /// Everything anew: no image, layer or dependency of before is used.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_cache: bool,
    },
    /// Fetches the target release's image.
    Pull {
        /// Of which service.
        service: ServiceId,
    },
    /// Puts the target release's image into the registry of its
    /// [`crate::service::Push`], signed.
    Push {
        /// Of which service.
        service: ServiceId,
    },
    /// Stops the replicas of the old release without removing them
    /// ([`crate::service::Strategy::Recreate`]).
    StopReplicas {
        /// Of which service.
        service: ServiceId,
        /// Of which release.
        release: ReleaseNumber,
    },
    /// Runs a command of the target release once, in a fresh replica, and waits
    /// until it ended well. At least once: where Nonna dies meanwhile, what is
    /// left of it is removed, and it is run again from its beginning.
    RunJob {
        /// Of which service.
        service: ServiceId,
        /// Which of its commands.
        job: Job,
    },
    /// Starts the target release's replicas and waits until all are healthy.
    StartReplicas {
        /// Of which service.
        service: ServiceId,
    },
    /// Sends requests to the target's replicas (or to nobody, when paused).
    SwitchRoutes {
        /// Of which service.
        service: ServiceId,
    },
    /// Makes every target of the plan current, in one transaction. Before it,
    /// a failure leads back to the old state; after it, only forward.
    Commit,
    /// Drains and removes every replica of the service that the target does
    /// not keep.
    RetireReplicas {
        /// Of which service.
        service: ServiceId,
    },
    /// Takes the service's routes away.
    RemoveRoutes {
        /// Of which service.
        service: ServiceId,
    },
    /// Removes a volume and what it holds.
    RemoveVolume {
        /// Whose.
        service: ServiceId,
        /// Which.
        volume: Name,
    },
    /// Removes the environment's private network.
    RemoveNetwork,
}

impl StepKind {
    /// The service the step is about, if it is about one.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceId> {
        match self {
            Self::EnsureVolume { service, .. }
            | Self::Build { service, .. }
            | Self::Pull { service }
            | Self::Push { service }
            | Self::StopReplicas { service, .. }
            | Self::RunJob { service, .. }
            | Self::StartReplicas { service }
            | Self::SwitchRoutes { service }
            | Self::RetireReplicas { service }
            | Self::RemoveRoutes { service }
            | Self::RemoveVolume { service, .. } => Some(service),
            Self::EnsureNetwork | Self::Commit | Self::RemoveNetwork => None,
        }
    }
}

/// Where a service stands once the plan is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedService {
    /// The service's name.
    pub name: Name,
    /// The release that becomes (or stays) current; `None`: the service is
    /// removed.
    pub release: Option<Release>,
    /// Whether `release` is a new one that this plan makes.
    pub new_release: bool,
    /// The release that was current before.
    pub previous: Option<CurrentRelease>,
    /// How many replicas run (0 while paused).
    pub running: u32,
    /// How many replicas are asked for when not paused.
    pub replicas: u32,
    /// Whether the service is paused.
    pub paused: bool,
}

/// What will happen: the planner's output, stored with the deployment that
/// carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// To which environment.
    pub scope: Scope,
    /// What changes, for people.
    pub changes: Vec<Change>,
    /// The steps; each names only earlier ones in `after`.
    pub steps: Vec<Step>,
    /// Every service the plan touches.
    pub services: BTreeMap<ServiceId, PlannedService>,
    /// The environment itself goes too.
    pub remove_environment: bool,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Tells this plan from any other: SHA-256 in hexadecimal of its canonical
    /// form, without the time at which its releases were made.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut plan = self.clone();
        for service in plan.services.values_mut() {
            if let Some(release) = &mut service.release {
                release.created_at = 0;
            }
        }
        let text = serde_json::to_vec(&plan).unwrap_or_default();
        data_encoding::HEXLOWER.encode(&Sha256::digest(&text))
    }

    /// Whether the plan removes anything that holds data.
    #[must_use]
    pub fn destroys(&self) -> bool {
        self.changes.iter().any(|c| c.action == Action::Destroy)
    }
}
