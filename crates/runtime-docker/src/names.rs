//! The names of what is made. They derive from ids, so that the same thing
//! always has the same name and making it twice is noticed by the engine.

use nonna_model::plan::Job;
use nonna_model::{EnvironmentId, Name, ReleaseNumber, ServiceId};

use crate::labels;

/// An environment's network.
pub(crate) fn network(environment: &EnvironmentId) -> String {
    format!("nonna-{environment}")
}

/// A service's volume.
pub(crate) fn volume(service: &ServiceId, volume: &Name) -> String {
    format!("nonna-{service}-{volume}")
}

/// A replica's container.
pub(crate) fn replica(service: &ServiceId, release: ReleaseNumber, index: u32) -> String {
    format!("nonna-{service}-{release}-{index}")
}

/// The container of a deployment's command.
pub(crate) fn job(service: &ServiceId, release: ReleaseNumber, job: Job) -> String {
    format!("nonna-{service}-{release}-{}", labels::job_name(job))
}

/// The container of a one-off command.
pub(crate) fn run(service: &ServiceId) -> String {
    let unique = ServiceId::generate();
    let unique = unique.as_str().trim_start_matches(ServiceId::PREFIX);
    format!("nonna-{service}-run{unique}")
}
