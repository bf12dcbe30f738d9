//! What steps, releases and services are called in progress and results.

use std::collections::BTreeMap;

use nonna_client::{Client, Place};
use nonna_model::ServiceId;
use nonna_model::plan::{Plan, Step, StepId, StepKind};

/// What a step is called: `build web`.
pub(super) fn title(kind: &StepKind, service: &str) -> String {
    match kind {
        StepKind::EnsureNetwork => "private network".to_owned(),
        StepKind::EnsureVolume { volume, .. } => format!("volume {service}/{volume}"),
        StepKind::Build { .. } => format!("build {service}"),
        StepKind::Pull { .. } => format!("fetch image of {service}"),
        StepKind::Push { .. } => format!("push image of {service}"),
        StepKind::StopReplicas { release, .. } => format!("stop {service} {release}"),
        StepKind::RunJob { job, .. } => format!("{} of {service}", job.title()),
        StepKind::StartReplicas { .. } => format!("start {service}"),
        StepKind::SwitchRoutes { .. } => format!("switch {service}"),
        StepKind::Commit => "commit".to_owned(),
        StepKind::RetireReplicas { .. } => format!("retire old replicas of {service}"),
        StepKind::RemoveRoutes { .. } => format!("remove routes of {service}"),
        StepKind::RemoveVolume { volume, .. } => format!("remove volume {service}/{volume}"),
        StepKind::RemoveNetwork => "remove private network".to_owned(),
    }
}

/// What is known of a plan's steps before they begin.
pub(super) struct Steps {
    by_id: BTreeMap<StepId, (String, Option<String>)>,
}

impl Steps {
    /// The steps of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let by_id = plan
            .steps
            .iter()
            .map(|step| {
                let service = service_of(plan, step);
                (
                    step.id,
                    (
                        title(&step.kind, service.as_deref().unwrap_or("service")),
                        service,
                    ),
                )
            })
            .collect();
        Self { by_id }
    }

    /// What a step is called.
    pub(super) fn title(&self, step: StepId) -> String {
        self.by_id
            .get(&step)
            .map_or_else(|| format!("step {step}"), |(title, _)| title.clone())
    }

    /// The service it is about.
    pub(super) fn service(&self, step: StepId) -> Option<&str> {
        self.by_id.get(&step)?.1.as_deref()
    }
}

fn service_of(plan: &Plan, step: &Step) -> Option<String> {
    let id: &ServiceId = step.kind.service()?;
    plan.services.get(id).map(|service| service.name.to_string())
}

/// The releases that a plan leads to: `v3` of the only service, else
/// `api v2, web v3`.
pub(super) fn releases(plan: &Plan) -> Option<String> {
    let running: Vec<(&str, String)> = plan
        .services
        .values()
        .filter_map(|service| {
            Some((
                service.name.as_str(),
                service.release.as_ref()?.number.to_string(),
            ))
        })
        .collect();
    join(running)
}

/// The releases that served before a plan and go on serving when it fails.
pub(super) fn previous(plan: &Plan) -> Option<String> {
    let serving: Vec<(&str, String)> = plan
        .services
        .values()
        .filter_map(|service| {
            let current = service.previous.as_ref().filter(|current| !current.paused)?;
            Some((service.name.as_str(), current.release.number.to_string()))
        })
        .collect();
    join(serving)
}

/// How many deployments are looked back at.
const LOOK_BACK: u32 = 10;

/// What runs, and where it is reached, as the latest deployments left it. The
/// environment's own state would tell too, but it measures every replica first,
/// and that takes a second.
pub(super) async fn current(
    client: &Client,
    place: &Place,
) -> (Option<String>, BTreeMap<String, Vec<String>>) {
    let latest = client
        .latest_deployments(place, LOOK_BACK)
        .await
        .unwrap_or_default();
    let mut running: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for deployment in latest
        .into_iter()
        .filter(|deployment| deployment.state == "succeeded")
    {
        for service in deployment.plan.services.values() {
            let name = service.name.to_string();
            if running.contains_key(&name) {
                continue;
            }
            if let (Some(_), Some(reached)) = (&service.release, deployment.urls.get(&name)) {
                urls.insert(name.clone(), reached.clone());
            }
            let release = service.release.as_ref().map(|release| release.number.to_string());
            running.insert(name, release);
        }
    }
    let running = running
        .iter()
        .filter_map(|(name, release)| Some((name.as_str(), release.clone()?)))
        .collect();
    (join(running), urls)
}

fn join(mut releases: Vec<(&str, String)>) -> Option<String> {
    releases.sort_unstable();
    match releases.as_slice() {
        [] => None,
        [(_, release)] => Some(release.clone()),
        several => Some(
            several
                .iter()
                .map(|(name, release)| format!("{name} {release}"))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    }
}

/// Where a build stands in the queue.
pub(super) fn queued(position: u32, running: u32) -> String {
    let under_way = match running {
        1 => "1 build is under way".to_owned(),
        many => format!("{many} builds are under way"),
    };
    match position {
        1 => format!("waits for its turn to build: next, {under_way}"),
        _ => format!("waits for its turn to build: place {position} in the queue, {under_way}"),
    }
}

/// What was done, of the kind of a deployment: `Deployed`.
pub(super) fn done(kind: &str) -> &'static str {
    match kind {
        "rollback" => "Rolled back",
        "scale" => "Scaled",
        "variables" => "Released",
        "pause" => "Paused",
        "resume" => "Resumed",
        "destroy" => "Destroyed",
        _ => "Deployed",
    }
}
