//! Records as answers.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use nonna_api::{DeploymentAnswer, Page, PageQuery, ReleaseAnswer, ReplicaAnswer, ServiceAnswer};
use nonna_engine::ports::runtime::ReplicaStats;
use nonna_engine::{Code, Error};
use nonna_model::observed::{Observed, ObservedReplica, ReplicaState};
use nonna_model::release::{Release, ReleaseState};
use nonna_model::service::Source;
use nonna_store::records::{Deployment, Service};

use super::super::App;
use super::super::failure::Answer;

/// How many things a page has by default, and at most.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 200;

/// How many things a page shall have.
pub(super) fn limit(query: &PageQuery) -> Answer<u32> {
    match query.limit {
        None => Ok(PAGE),
        Some(limit) if (1..=LARGEST_PAGE).contains(&limit) => Ok(limit),
        Some(limit) => Err(Error::user(
            Code::InvalidInput,
            format!("`limit` is {limit}: it must be from 1 to {LARGEST_PAGE}."),
        )
        .into()),
    }
}

/// A page of at most `limit`, cut from one more than that.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(key) } else { None };
    Page { items, next }
}

/// A page of a list that is whole in memory, ordered by its key.
pub(super) fn page_by_key<T>(
    items: Vec<T>,
    query: &PageQuery,
    key: impl Fn(&T) -> String,
) -> Answer<Page<T>> {
    let limit = limit(query)?;
    let rest = items
        .into_iter()
        .filter(|item| query.after.as_ref().is_none_or(|after| key(item) > *after))
        .collect();
    Ok(page(rest, limit, key))
}

pub(crate) fn deployment(app: &App, deployment: Deployment) -> DeploymentAnswer {
    let scope = &deployment.plan.scope;
    let urls: BTreeMap<String, Vec<String>> = deployment
        .plan
        .services
        .values()
        .filter_map(|service| {
            let release = service.release.as_ref()?;
            let urls: Vec<String> = release.spec.routes.iter().map(|r| app.url(r)).collect();
            (!urls.is_empty()).then(|| (service.name.to_string(), urls))
        })
        .collect();
    DeploymentAnswer {
        id: deployment.id.to_string(),
        kind: deployment.kind.to_string(),
        project: scope.project_name.to_string(),
        environment: scope.environment_name.to_string(),
        state: deployment.state.to_string(),
        created_at: deployment.created_at,
        finished_at: deployment.finished_at,
        outcome: deployment.outcome,
        plan: deployment.plan,
        urls,
    }
}

/// 200 for what is over already, 202 for what has begun.
pub(super) fn begun(app: &App, found: Deployment) -> Response {
    let status = if found.state.is_finished() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    (status, axum::Json(deployment(app, found))).into_response()
}

pub(super) fn release(release: Release, current: bool, reference: Option<String>) -> ReleaseAnswer {
    ReleaseAnswer {
        release: release.number.to_string(),
        current,
        state: match release.state {
            ReleaseState::Pending => "pending",
            ReleaseState::Succeeded => "succeeded",
            ReleaseState::Failed => "failed",
        }
        .to_owned(),
        created_at: release.created_at,
        reason: release.reason,
        image: release.image,
        reference,
    }
}

fn replica_state(state: &ReplicaState) -> String {
    match state {
        ReplicaState::Created => "created".to_owned(),
        ReplicaState::Running => "running".to_owned(),
        ReplicaState::Restarting => "restarting".to_owned(),
        ReplicaState::Exited {
            out_of_memory: true, ..
        } => "killed: out of memory".to_owned(),
        ReplicaState::Exited { code, .. } => format!("exited ({code})"),
        ReplicaState::Other { words } => words.clone(),
    }
}

fn replica(observed: &ObservedReplica, stats: &[ReplicaStats]) -> ReplicaAnswer {
    let used = stats
        .iter()
        .find(|s| s.release == observed.release && s.index == observed.index);
    ReplicaAnswer {
        release: observed.release.to_string(),
        index: observed.index,
        state: replica_state(&observed.state),
        started_at: observed.started_at,
        restarts: observed.restarts,
        memory: used.map(|s| s.memory),
        memory_limit: used.and_then(|s| s.memory_limit),
        cpu_micros: used.map(|s| s.cpu_micros),
    }
}

pub(crate) fn service(
    app: &App,
    service: &Service,
    observed: Option<&Observed>,
    stats: &[ReplicaStats],
) -> ServiceAnswer {
    let replicas: Vec<&ObservedReplica> = observed.map(|o| o.replicas_of(&service.id)).unwrap_or_default();
    let current = service.current.as_ref();
    let serving = current.map_or(0, |current| {
        replicas
            .iter()
            .filter(|r| {
                r.release == current.release.number && r.index < current.replicas && r.state.is_running()
            })
            .count()
    });
    let state = match current {
        None => "never_deployed",
        Some(current) if current.paused => "paused",
        Some(_) if observed.is_none() => "unknown",
        Some(current) if serving >= usize::try_from(current.replicas).unwrap_or(usize::MAX) => "running",
        Some(_) if serving > 0 => "degraded",
        Some(_) => "down",
    };
    ServiceAnswer {
        name: service.name.to_string(),
        id: service.id.to_string(),
        release: current.map(|c| c.release.number.to_string()),
        source: match current.map(|c| &c.release.spec.source) {
            Some(Source::Image { reference }) => reference.clone(),
            Some(Source::Build(_)) => "built from source".to_owned(),
            None => String::new(),
        },
        replicas: current.map_or(0, |c| c.replicas),
        paused: current.is_some_and(|c| c.paused),
        state: state.to_owned(),
        urls: current
            .map(|c| c.release.spec.routes.iter().map(|r| app.url(r)).collect())
            .unwrap_or_default(),
        running: replicas.iter().map(|r| replica(r, stats)).collect(),
        volumes: service.volumes.iter().map(ToString::to_string).collect(),
    }
}
