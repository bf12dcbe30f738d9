//! Labels: written on all that is made, and read back.

use std::collections::HashMap;

use nonna_model::labels as l;
use nonna_model::plan::{Job, Scope};
use nonna_model::{EnvironmentId, Name, ReleaseNumber, ServiceId};

use nonna_engine::ports::runtime::Launch;

/// The value of [`l::ROLE`] of a replica.
pub(crate) const ROLE_REPLICA: &str = "replica";
/// The value of [`l::ROLE`] of a one-off command.
pub(crate) const ROLE_RUN: &str = "run";
/// The value of [`l::ROLE`] of a deployment's command.
pub(crate) const ROLE_JOB: &str = "job";

/// The value of [`l::JOB`].
pub(crate) fn job_name(job: Job) -> &'static str {
    match job {
        Job::Release => "release",
        Job::PostDeploy => "post-deploy",
    }
}

/// Labels as the engine's API has them.
pub(crate) type Labels = HashMap<String, String>;

fn pair(key: &str, value: &(impl ToString + ?Sized)) -> (String, String) {
    (key.to_owned(), value.to_string())
}

/// What everything of an environment carries.
pub(crate) fn of_environment(installation: &str, scope: &Scope) -> Labels {
    Labels::from([
        pair(l::INSTALLATION, installation),
        pair(l::ORGANIZATION, &scope.organization),
        pair(l::PROJECT, &scope.project_name),
        pair(l::ENVIRONMENT, &scope.environment),
        pair(l::ENVIRONMENT_NAME, &scope.environment_name),
    ])
}

/// What a volume carries.
pub(crate) fn of_volume(installation: &str, scope: &Scope, service: &ServiceId, volume: &Name) -> Labels {
    let mut labels = of_environment(installation, scope);
    labels.extend([pair(l::SERVICE, service), pair(l::VOLUME, volume)]);
    labels
}

/// What any container of a release carries.
pub(crate) fn of_container(installation: &str, launch: &Launch, role: &str) -> Labels {
    let mut labels = of_environment(installation, &launch.scope);
    labels.extend([
        pair(l::SERVICE, &launch.service),
        pair(l::SERVICE_NAME, &launch.service_name),
        pair(l::RELEASE, &launch.release.0),
        pair(l::CONFIG, &config(launch)),
        pair(l::ROLE, role),
    ]);
    if let Some(port) = launch.spec.port {
        labels.extend([pair(l::PORT, &port)]);
    }
    labels
}

/// Tells whether a container was made of this image and this configuration.
pub(crate) fn config(launch: &Launch) -> String {
    format!("{}@{}", launch.spec.digest(), launch.image)
}

/// What a replica's labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub environment: EnvironmentId,
    pub service: ServiceId,
    pub release: ReleaseNumber,
    pub index: u32,
    pub port: Option<u16>,
}

impl Identity {
    /// Reads a replica's labels; `None` if it is not a replica.
    pub(crate) fn read(labels: &Labels) -> Option<Self> {
        let get = |key: &str| labels.get(key).map(String::as_str);
        if get(l::ROLE) != Some(ROLE_REPLICA) {
            return None;
        }
        Some(Self {
            environment: get(l::ENVIRONMENT)?.parse().ok()?,
            service: get(l::SERVICE)?.parse().ok()?,
            release: get(l::RELEASE)?.parse().ok()?,
            index: get(l::REPLICA)?.parse().ok()?,
            port: get(l::PORT).and_then(|text| text.parse().ok()),
        })
    }
}

/// A filter of the engine's API for these labels (`key=value` or `key`).
pub(crate) fn filter<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> HashMap<String, Vec<String>> {
    let wanted = labels
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    HashMap::from([("label".to_owned(), wanted)])
}
