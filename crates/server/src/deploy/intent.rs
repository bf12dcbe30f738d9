//! What was asked for. Kept with a deployment that waits, since its plan is
//! made anew when its turn comes.

use nonna_api::DesiredRequest;
use nonna_model::{Name, ReleaseNumber};
use nonna_store::records::DeploymentKind;
use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Intent {
    /// The environment should be as the manifest says.
    Deploy(DesiredRequest),
    /// A service should be as it was in a release; `None`: the one before.
    Rollback {
        /// Which service.
        service: Name,
        /// To which release.
        release: Option<ReleaseNumber>,
    },
    /// A service should have so many replicas.
    Scale {
        /// Which service.
        service: Name,
        /// How many.
        replicas: u32,
    },
    /// Services should see the variables as they are in the store.
    Variables {
        /// Why, for the list of releases.
        reason: String,
    },
    /// No replica of the service should run, or they should again.
    Pause {
        /// Which service.
        service: Name,
        /// Paused or not.
        paused: bool,
    },
    /// It should be gone.
    Destroy(Destroy),
}

/// What should be gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Destroy {
    /// A service.
    Service(Name),
    /// The whole environment.
    Environment,
}

impl Intent {
    /// What kind of deployment it makes.
    pub(crate) fn kind(&self) -> DeploymentKind {
        match self {
            Self::Deploy(_) => DeploymentKind::Deploy,
            Self::Rollback { .. } => DeploymentKind::Rollback,
            Self::Scale { .. } => DeploymentKind::Scale,
            Self::Variables { .. } => DeploymentKind::Variables,
            Self::Pause { paused: true, .. } => DeploymentKind::Pause,
            Self::Pause { paused: false, .. } => DeploymentKind::Resume,
            Self::Destroy(_) => DeploymentKind::Destroy,
        }
    }
}
