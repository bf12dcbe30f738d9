//! Environments: their state, plans, deployments, export, end.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use nonna_api::{
    DeployRequest, DeploymentAnswer, DesiredRequest, DestroyRequest, EnvironmentAnswer, ExportAnswer,
    ExportQuery, Page, PageQuery, PlanAnswer, paths,
};
use nonna_engine::{Code, Error};
use nonna_model::DeploymentId;
use nonna_model::service::Source;
use nonna_store::records::Idempotency;
use sha2::{Digest, Sha256};

use super::super::failure::Answer;
use super::super::input::{InEnvironment, Input, Params};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::answers;
use crate::auth::Permission;
use crate::deploy::{Destroy, Intent, Request};

/// How long the runtime may take to say what replicas use.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest idempotency key.
const LONGEST_KEY: usize = 200;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(paths::ENVIRONMENT, Permission::Read, "An environment's state.")
                .answers::<EnvironmentAnswer>(),
            state,
        )
        .add(
            post(paths::PLAN, Permission::Read, "What a deployment would do.")
                .takes::<DesiredRequest>()
                .answers::<PlanAnswer>(),
            plan,
        )
        .add(
            post(paths::DEPLOYMENTS, Permission::Deploy, "Begins a deployment.")
                .takes::<DeployRequest>()
                .answers::<DeploymentAnswer>(),
            deploy,
        )
        .add(
            get(
                paths::DEPLOYMENTS,
                Permission::Read,
                "Deployments of the environment, newest first.",
            )
            .query::<PageQuery>()
            .answers::<Page<DeploymentAnswer>>(),
            list,
        )
        .add(
            post(
                paths::ENVIRONMENT_DESTROY,
                Permission::Deploy,
                "Destroys the environment and all that is in it.",
            )
            .takes::<DestroyRequest>()
            .answers::<DeploymentAnswer>(),
            destroy,
        )
        .add(
            get(
                paths::EXPORT,
                Permission::Read,
                "The environment as files that run without Nonna.",
            )
            .query::<ExportQuery>()
            .answers::<ExportAnswer>(),
            export,
        )
}

async fn state(State(app): State<Arc<App>>, at: InEnvironment, headers: HeaderMap) -> Answer<Response> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let observed = app.runtime.observe(&snapshot.scope.environment).await.ok();
    let stats = join_all(snapshot.services.iter().map(async |service| {
        tokio::time::timeout(STATS_TIMEOUT, app.runtime.stats(&service.id))
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }))
    .await;
    let answer = EnvironmentAnswer {
        project: at.project.to_string(),
        environment: at.environment.to_string(),
        services: snapshot
            .services
            .iter()
            .zip(&stats)
            .map(|(service, stats)| answers::service(&app, service, observed.as_ref(), stats))
            .collect(),
        deployment: app
            .deployments
            .under_way(&at.project, &at.environment)
            .first()
            .map(ToString::to_string),
    };
    let tag = tag_of(&answer)?;
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Json(answer)).into_response())
}

/// The state without what changes all the time: use of memory and processor.
fn tag_of(answer: &EnvironmentAnswer) -> Answer<HeaderValue> {
    let mut still = answer.clone();
    for replica in still.services.iter_mut().flat_map(|s| &mut s.running) {
        replica.memory = None;
        replica.cpu_micros = None;
    }
    let text = serde_json::to_vec(&still).unwrap_or_default();
    let digest = HEXLOWER.encode(&Sha256::digest(&text));
    HeaderValue::from_str(&format!("W/\"{}\"", digest.get(..32).unwrap_or_default()))
        .map_err(|_| Error::bug("a digest is no header value").into())
}

async fn plan(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Input(request): Input<DesiredRequest>,
) -> Answer<Json<PlanAnswer>> {
    let place = (at.project, at.environment);
    let planned = app.deployments.plan(&place, &Intent::Deploy(request)).await?;
    let digest = planned.plan.digest();
    Ok(Json(PlanAnswer {
        plan: planned.plan,
        digest,
    }))
}

/// What makes a request that comes twice happen once.
fn idempotency(
    headers: &HeaderMap,
    request: &DeployRequest,
    at: &InEnvironment,
) -> Answer<Option<Idempotency>> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(|| {
            Error::user(
                Code::InvalidInput,
                format!(
                    "The Idempotency-Key must have 1 to {LONGEST_KEY} printable characters and no spaces."
                ),
            )
        })?;
    let text =
        serde_json::to_vec(&(at.project.as_str(), at.environment.as_str(), request)).unwrap_or_default();
    Ok(Some(Idempotency {
        key: key.to_owned(),
        request: HEXLOWER.encode(&Sha256::digest(&text)),
    }))
}

async fn deploy(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: InEnvironment,
    headers: HeaderMap,
    Input(request): Input<DeployRequest>,
) -> Answer<Response> {
    let idempotency = idempotency(&headers, &request, &at)?;
    let target = format!("{}/{}", at.project, at.environment);
    let deployment = app
        .deployments
        .submit(Request {
            project: at.project,
            environment: at.environment,
            intent: Intent::Deploy(request.desired),
            actor: caller.name.clone(),
            plan: request.plan,
            replace: request.replace,
            idempotency,
        })
        .await?;
    if !deployment.plan.is_empty() {
        app.audit(
            &caller,
            "deployment.create",
            target,
            Some(deployment.id.to_string()),
        )
        .await;
    }
    Ok(answers::begun(&app, deployment))
}

async fn list(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Params(query): Params<PageQuery>,
) -> Answer<Json<Page<DeploymentAnswer>>> {
    let limit = answers::limit(&query)?;
    let before = match &query.after {
        Some(id) => Some(
            id.parse::<DeploymentId>()
                .map_err(|e| Error::user(Code::InvalidInput, format!("`after`: {e}.")))?,
        ),
        None => None,
    };
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let found = app
        .store
        .list_deployments(&snapshot.scope.environment, before.as_ref(), limit + 1)
        .await?;
    let page = answers::page(found, limit, |d| d.id.to_string());
    Ok(Json(Page {
        items: page
            .items
            .into_iter()
            .map(|d| answers::deployment(&app, d))
            .collect(),
        next: page.next,
    }))
}

async fn destroy(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: InEnvironment,
    Input(request): Input<DestroyRequest>,
) -> Answer<Response> {
    app.snapshot(&at.project, &at.environment).await?;
    super::services::confirmed(&request, at.environment.as_str())?;
    let target = format!("{}/{}", at.project, at.environment);
    let deployment = app
        .deployments
        .submit(Request {
            project: at.project,
            environment: at.environment,
            intent: Intent::Destroy(Destroy::Environment),
            actor: caller.name.clone(),
            plan: None,
            replace: false,
            idempotency: None,
        })
        .await?;
    app.audit(
        &caller,
        "environment.destroy",
        target,
        Some(deployment.id.to_string()),
    )
    .await;
    Ok(answers::begun(&app, deployment))
}

async fn export(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Params(query): Params<ExportQuery>,
) -> Answer<Json<ExportAnswer>> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let mut plans = crate::export::Plans::new();
    for service in &snapshot.services {
        if let Some(current) = &service.current
            && let Source::Build(source) = &current.release.spec.source
            && source.dockerfile.is_none()
        {
            let plan = app.deployments.explain(source, current.release.spec.port).await;
            plans.insert(service.id.clone(), plan);
        }
    }
    let files = crate::export::files(&snapshot, &plans, query.format.as_deref())?;
    Ok(Json(ExportAnswer { files }))
}
