//! Services: releases, rollback, scale, pause, resume, end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use nonna_api::{
    DeploymentAnswer, DestroyRequest, Page, PageQuery, ReleaseAnswer, RollbackRequest, ScaleRequest, paths,
};
use nonna_engine::{Code, Error};
use nonna_model::{Release, ReleaseNumber};
use nonna_store::records::{EnvironmentSnapshot, Service};

use super::super::failure::Answer;
use super::super::input::{Input, OfService, Params};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::answers;
use crate::auth::Permission;
use crate::deploy::{Destroy, Intent, Request};

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::RELEASES,
                Permission::Read,
                "A service's releases, newest first.",
            )
            .query::<PageQuery>()
            .answers::<Page<ReleaseAnswer>>(),
            releases,
        )
        .add(
            post(
                paths::ROLLBACK,
                Permission::Deploy,
                "Makes what an earlier release was current again.",
            )
            .takes::<RollbackRequest>()
            .answers::<DeploymentAnswer>(),
            roll_back,
        )
        .add(
            post(paths::SCALE, Permission::Deploy, "Changes how many replicas run.")
                .takes::<ScaleRequest>()
                .answers::<DeploymentAnswer>(),
            scale,
        )
        .add(
            post(
                paths::PAUSE,
                Permission::Deploy,
                "Stops all replicas; volumes and configuration stay.",
            )
            .answers::<DeploymentAnswer>(),
            pause,
        )
        .add(
            post(
                paths::RESUME,
                Permission::Deploy,
                "Starts the replicas of a paused service.",
            )
            .answers::<DeploymentAnswer>(),
            resume,
        )
        .add(
            post(
                paths::SERVICE_DESTROY,
                Permission::Deploy,
                "Destroys the service and its volumes.",
            )
            .takes::<DestroyRequest>()
            .answers::<DeploymentAnswer>(),
            destroy,
        )
}

/// A service of a snapshot that must be there.
pub(super) fn must<'a>(snapshot: &'a EnvironmentSnapshot, at: &OfService) -> Answer<&'a Service> {
    snapshot
        .services
        .iter()
        .find(|s| s.name == at.service)
        .ok_or_else(|| {
            let names: Vec<&str> = snapshot.services.iter().map(|s| s.name.as_str()).collect();
            crate::deploy::unknown_service(at.service.as_str(), &snapshot.scope, &names).into()
        })
}

/// A release of a service that must be there.
pub(super) async fn must_release(app: &App, service: &Service, number: ReleaseNumber) -> Answer<Release> {
    let found = app.store.release(&service.id, number).await?;
    Ok(found.ok_or_else(|| {
        Error::user(
            Code::NotFound,
            format!("`{}` has no release {number}.", service.name),
        )
        .hint("`nonna releases` lists them.")
    })?)
}

/// Refuses to destroy what was not named twice.
pub(super) fn confirmed(request: &DestroyRequest, name: &str) -> Answer<()> {
    if request.confirm == name {
        return Ok(());
    }
    Err(Error::user(
        Code::InvalidInput,
        format!("`confirm` must be `{name}`, the name of what is destroyed: nothing was done."),
    )
    .into())
}

async fn releases(
    State(app): State<Arc<App>>,
    at: OfService,
    Params(query): Params<PageQuery>,
) -> Answer<Json<Page<ReleaseAnswer>>> {
    let limit = answers::limit(&query)?;
    let before = match &query.after {
        Some(text) => Some(
            text.parse::<ReleaseNumber>()
                .map_err(|e| Error::user(Code::InvalidInput, format!("`after`: {e}.")))?,
        ),
        None => None,
    };
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let service = must(&snapshot, &at)?;
    let current = service.current.as_ref().map(|c| c.release.number);
    let found = app.store.list_releases(&service.id, before, limit + 1).await?;
    let page = answers::page(found, limit, |r| r.number.to_string());
    let mut items = Vec::with_capacity(page.items.len());
    for release in page.items {
        let is_current = Some(release.number) == current;
        let reference = match &release.image {
            Some(image) => app.registries.origin(image).await?,
            None => None,
        };
        items.push(answers::release(release, is_current, reference));
    }
    Ok(Json(Page {
        items,
        next: page.next,
    }))
}

async fn submit(
    app: &Arc<App>,
    caller: &Caller,
    at: OfService,
    action: &str,
    intent: Intent,
) -> Answer<Response> {
    let target = format!("{}/{}/{}", at.project, at.environment, at.service);
    let deployment = app
        .deployments
        .submit(Request {
            project: at.project,
            environment: at.environment,
            intent,
            actor: caller.name.clone(),
            plan: None,
            replace: false,
            idempotency: None,
        })
        .await?;
    if !deployment.plan.is_empty() {
        app.audit(caller, action, target, Some(deployment.id.to_string()))
            .await;
    }
    Ok(answers::begun(app, deployment))
}

async fn roll_back(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfService,
    Input(request): Input<RollbackRequest>,
) -> Answer<Response> {
    let release = match &request.release {
        Some(text) => Some(
            text.parse::<ReleaseNumber>()
                .map_err(|e| Error::user(Code::InvalidInput, format!("`release`: {e}.")))?,
        ),
        None => None,
    };
    let intent = Intent::Rollback {
        service: at.service.clone(),
        release,
    };
    submit(&app, &caller, at, "service.rollback", intent).await
}

async fn scale(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfService,
    Input(request): Input<ScaleRequest>,
) -> Answer<Response> {
    let intent = Intent::Scale {
        service: at.service.clone(),
        replicas: request.replicas,
    };
    submit(&app, &caller, at, "service.scale", intent).await
}

async fn pause(State(app): State<Arc<App>>, caller: Caller, at: OfService) -> Answer<Response> {
    let intent = Intent::Pause {
        service: at.service.clone(),
        paused: true,
    };
    submit(&app, &caller, at, "service.pause", intent).await
}

async fn resume(State(app): State<Arc<App>>, caller: Caller, at: OfService) -> Answer<Response> {
    let intent = Intent::Pause {
        service: at.service.clone(),
        paused: false,
    };
    submit(&app, &caller, at, "service.resume", intent).await
}

async fn destroy(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfService,
    Input(request): Input<DestroyRequest>,
) -> Answer<Response> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    must(&snapshot, &at)?;
    confirmed(&request, at.service.as_str())?;
    let intent = Intent::Destroy(Destroy::Service(at.service.clone()));
    submit(&app, &caller, at, "service.destroy", intent).await
}
