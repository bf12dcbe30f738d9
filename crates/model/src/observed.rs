//! What is really there, as a runtime reports it from labels, never from
//! memory.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{EnvironmentId, ServiceId};
use crate::name::Name;
use crate::release::ReleaseNumber;

/// What a runtime holds of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Whose.
    pub environment: EnvironmentId,
    /// Whether its private network exists.
    pub network: bool,
    /// Its volumes.
    pub volumes: Vec<ObservedVolume>,
    /// Its replicas, in any state.
    pub replicas: Vec<ObservedReplica>,
}

impl Observed {
    /// An environment of which nothing exists.
    #[must_use]
    pub fn nothing(environment: EnvironmentId) -> Self {
        Self {
            environment,
            network: false,
            volumes: Vec::new(),
            replicas: Vec::new(),
        }
    }

    /// The replicas of one service, ordered by release and index.
    #[must_use]
    pub fn replicas_of(&self, service: &ServiceId) -> Vec<&ObservedReplica> {
        let mut found: Vec<_> = self.replicas.iter().filter(|r| r.service == *service).collect();
        found.sort_by_key(|r| (r.release, r.index));
        found
    }
}

/// A volume that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedVolume {
    /// The service it belongs to.
    pub service: ServiceId,
    /// Its name within the service.
    pub name: Name,
}

/// A replica that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedReplica {
    /// The runtime's own id for it (a container's id).
    pub id: String,
    /// Whose replica.
    pub service: ServiceId,
    /// Of which release.
    pub release: ReleaseNumber,
    /// Which of the release's replicas, from 0.
    pub index: u32,
    /// How it is.
    pub state: ReplicaState,
    /// Where its service port is reached from this machine, if it has one and
    /// runs.
    pub address: Option<SocketAddr>,
    /// When it was last started: milliseconds since 1970, UTC.
    pub started_at: Option<i64>,
    /// How often the runtime has restarted it.
    pub restarts: u32,
}

/// The state of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReplicaState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Ended, and about to be started again.
    Restarting,
    /// Ended.
    Exited {
        /// The process's exit code.
        code: i64,
        /// Killed for using more memory than its limit.
        out_of_memory: bool,
    },
    /// Anything else, in the runtime's words.
    Other {
        /// The runtime's words.
        words: String,
    },
}

impl ReplicaState {
    /// Whether its process runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}
