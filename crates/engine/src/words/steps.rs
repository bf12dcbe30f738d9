//! What steps, releases and services are called in progress and results, and
//! what happens as plain lines: the same in a terminal, a pipe and a push.

use std::collections::BTreeMap;

use nonna_model::ServiceId;
use nonna_model::plan::{Plan, Step, StepId, StepKind};

use super::millis;
use crate::event::{Event, EventKind};

/// What a step is called: `build web`.
#[must_use]
pub fn title(kind: &StepKind, service: &str) -> String {
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
pub struct Steps {
    by_id: BTreeMap<StepId, (String, Option<String>)>,
}

impl Steps {
    /// The steps of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
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
    #[must_use]
    pub fn title(&self, step: StepId) -> String {
        self.by_id
            .get(&step)
            .map_or_else(|| format!("step {step}"), |(title, _)| title.clone())
    }

    /// The service it is about.
    #[must_use]
    pub fn service(&self, step: StepId) -> Option<&str> {
        self.by_id.get(&step)?.1.as_deref()
    }

    fn say(&self, step: StepId, text: &str) -> String {
        format!("[{}] {text}", self.title(step))
    }

    /// What happened, as a line; `None` where there is nothing to tell: the end
    /// is told by the result. What others wrote is not [`super::clean`]ed yet.
    #[must_use]
    pub fn line(&self, event: &Event) -> Option<String> {
        Some(match &event.kind {
            EventKind::Queued { behind } => format!("Waiting for the deployment {behind} to end"),
            EventKind::Started { resumed: true } => "The server was started again and goes on".to_owned(),
            EventKind::StepStarted { step, .. } => self.say(*step, "begins"),
            EventKind::StepProgress { step, message } => self.say(*step, message),
            EventKind::BuildQueued {
                step,
                position,
                running,
            } => self.say(*step, &queued(*position, *running)),
            EventKind::BuildOutput { step, line } | EventKind::JobOutput { step, line } => {
                self.say(*step, &format!("| {line}"))
            }
            EventKind::ReplicaStarted { step, release, index } => {
                self.say(*step, &format!("replica {index} of {release} runs"))
            }
            EventKind::ReplicaHealthy {
                step,
                release,
                index,
                answer,
            } => self.say(
                *step,
                &format!("replica {index} of {release} is healthy: {answer}"),
            ),
            EventKind::RoutesSwitched { step, micros, .. } => self.say(
                *step,
                &format!("requests go to the new replicas (switched in {micros} µs)"),
            ),
            EventKind::StepFinished { step, millis: took } => {
                self.say(*step, &format!("done in {}", millis(*took)))
            }
            EventKind::StepFailed { step, error } => self.say(*step, &format!("failed: {}", error.message)),
            EventKind::UndoStarted => "Undoing what was done".to_owned(),
            EventKind::StepUndone { step } => self.say(*step, "undone"),
            _ => return None,
        })
    }
}

fn service_of(plan: &Plan, step: &Step) -> Option<String> {
    let id: &ServiceId = step.kind.service()?;
    plan.services.get(id).map(|service| service.name.to_string())
}

/// The releases that a plan leads to: `v3` of the only service, else
/// `api v2, web v3`.
#[must_use]
pub fn releases(plan: &Plan) -> Option<String> {
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
#[must_use]
pub fn previous(plan: &Plan) -> Option<String> {
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

/// `v3` of the only service, else `api v2, web v3`.
#[must_use]
pub fn join(mut releases: Vec<(&str, String)>) -> Option<String> {
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
#[must_use]
pub fn queued(position: u32, running: u32) -> String {
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
#[must_use]
pub fn done(kind: &str) -> &'static str {
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
