//! The server itself: version, login, projects, doctor, metrics, backup.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, body::Body};
use http::{HeaderValue, StatusCode, header};
use nonna_api::{
    DoctorAnswer, LoginAnswer, LoginRequest, Page, PageQuery, ProjectAnswer, VersionAnswer, paths,
};
use nonna_engine::event::Progress;
use nonna_engine::{Code, Error};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::super::failure::{Answer, Refusal};
use super::super::input::{Input, Params};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller, Peer};
use super::answers;
use crate::auth::{self, Permission};

/// How long the runtime may take to say what it is.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(paths::VERSION, Permission::Public, "The server's version.").answers::<VersionAnswer>(),
            version,
        )
        .add(
            get(paths::HEALTH, Permission::Public, "200 when the server is up.").answers_kind("text/plain"),
            health,
        )
        .add(
            get(paths::OPENAPI, Permission::Public, "This document.").answers_kind("application/json"),
            openapi,
        )
        .add(
            post(
                paths::LOGIN,
                Permission::Public,
                "Exchanges a one-time code for a token.",
            )
            .takes::<LoginRequest>()
            .answers::<LoginAnswer>(),
            login,
        )
        .add(
            get(
                paths::METRICS,
                Permission::Read,
                "Metrics in Prometheus' text format.",
            )
            .answers_kind("text/plain"),
            metrics,
        )
        .add(
            get(
                paths::PROJECTS,
                Permission::Read,
                "Projects and their environments.",
            )
            .query::<PageQuery>()
            .answers::<Page<ProjectAnswer>>(),
            projects,
        )
        .add(
            get(
                paths::DOCTOR,
                Permission::Administer,
                "What is wrong on the server's machine.",
            )
            .answers::<DoctorAnswer>(),
            doctor,
        )
        .add(
            get(
                paths::BACKUP,
                Permission::Administer,
                "A backup of Nonna's own state, one file.",
            )
            .answers_kind("application/octet-stream"),
            backup,
        )
        .add(
            post(
                paths::PULL,
                Permission::Deploy,
                "Fetches a registry's current image of a tag.",
            )
            .query_text("reference")
            .answers_kind("application/json"),
            pull,
        )
}

async fn version(State(app): State<Arc<App>>) -> Json<VersionAnswer> {
    let asked = tokio::time::timeout(RUNTIME_TIMEOUT, app.runtime.capabilities()).await;
    Json(VersionAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        installation: app.installation.id.to_string(),
        runtime: asked.ok().and_then(Result::ok).map(|c| c.name),
    })
}

async fn health(State(app): State<Arc<App>>) -> Answer<&'static str> {
    app.store.check().await?;
    Ok("ok\n")
}

async fn openapi(State(app): State<Arc<App>>) -> Response {
    let text = app.openapi.get().cloned().unwrap_or_default();
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        text,
    )
        .into_response()
}

async fn login(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    Input(request): Input<LoginRequest>,
) -> Answer<Json<LoginAnswer>> {
    let address = peer.map(|Extension(Peer(address))| address);
    if let Some(address) = address
        && let Err(wait) = app.limiter.check(&address.ip())
    {
        return Err(Refusal::from(
            Error::user(
                Code::LimitExceeded,
                "Too many wrong codes came from your address.",
            )
            .hint("Wait a moment, then try again with a code from `nonna server login-code`."),
        )
        .status(StatusCode::TOO_MANY_REQUESTS)
        .retry_after(wait.as_secs()));
    }
    let result = auth::redeem(app.store.as_ref(), &request.code, &request.name).await;
    let caller = Caller {
        name: request
            .name
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect(),
        peer: address,
    };
    match result {
        Ok(token) => {
            app.audit(&caller, "login", "server".to_owned(), None).await;
            Ok(Json(LoginAnswer { token }))
        }
        Err(error) => {
            if error.code == Code::Unauthenticated {
                if let Some(address) = address {
                    app.limiter.failed(address.ip());
                }
                app.audit(&caller, "login.refused", "server".to_owned(), None)
                    .await;
            }
            Err(error.into())
        }
    }
}

async fn projects(
    State(app): State<Arc<App>>,
    Params(query): Params<PageQuery>,
) -> Answer<Json<Page<ProjectAnswer>>> {
    let projects = app.store.list_projects(&app.installation.organization).await?;
    let page = answers::page_by_key(projects, &query, |p| p.name.to_string())?;
    let mut items = Vec::with_capacity(page.items.len());
    for project in page.items {
        let environments = app.store.list_environments(&project.id).await?;
        items.push(ProjectAnswer {
            name: project.name.to_string(),
            environments: environments.iter().map(|e| e.name.to_string()).collect(),
        });
    }
    Ok(Json(Page {
        items,
        next: page.next,
    }))
}

async fn doctor(State(app): State<Arc<App>>) -> Json<DoctorAnswer> {
    Json(DoctorAnswer {
        findings: crate::doctor::examine(&app).await,
    })
}

async fn backup(State(app): State<Arc<App>>, caller: Caller) -> Answer<Response> {
    // What leaves the house with every secret in it is on record first.
    app.store
        .append_audit(caller.entry("backup", "server".to_owned(), None))
        .await?;
    let stream = app.backup.backup().await?;
    Ok((
        [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            ),
            (
                header::CONTENT_DISPOSITION,
                HeaderValue::from_static("attachment; filename=\"nonna.backup\""),
            ),
        ],
        Body::from_stream(stream),
    )
        .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PullQuery {
    reference: String,
}

async fn pull(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(query): Params<PullQuery>,
) -> Answer<Json<serde_json::Value>> {
    nonna_model::manifest::value::check_image(&query.reference)
        .map_err(|e| Error::user(Code::InvalidInput, format!("`reference`: {}", e.message)))?;
    // Cancelled with the request: the future's guard is dropped then.
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let image = app
        .runtime
        .pull(
            &app.installation.organization,
            &query.reference,
            &Progress::discard(),
            &cancel,
        )
        .await?;
    app.audit(&caller, "image.pull", query.reference, None).await;
    Ok(Json(serde_json::json!({ "image": image.id, "size": image.size })))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = app.edge.metrics();
    if let Some(logs) = &app.logs {
        text.push_str(&logs.proxy().metrics());
    }
    let counts = app.deployments.counts();
    let mut line = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    line(
        "nonna_deployments_total",
        "counter",
        "Deployments that ended, by outcome.",
        &[
            (
                "{outcome=\"succeeded\"}",
                counts.succeeded.load(Ordering::Relaxed),
            ),
            (
                "{outcome=\"rolled_back\"}",
                counts.rolled_back.load(Ordering::Relaxed),
            ),
            ("{outcome=\"failed\"}", counts.failed.load(Ordering::Relaxed)),
            (
                "{outcome=\"unchanged\"}",
                counts.unchanged.load(Ordering::Relaxed),
            ),
        ],
    );
    let gauge = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    line(
        "nonna_deployments_active",
        "gauge",
        "Deployments that are under way or wait.",
        &[("", gauge(app.deployments.active()))],
    );
    line(
        "nonna_replicas_unhealthy",
        "gauge",
        "Replicas that get no requests because they fail their health check.",
        &[("", gauge(app.deployments.unhealthy()))],
    );
    let (running, waiting) = app.builds.counts();
    line(
        "nonna_builds",
        "gauge",
        "Builds that are not over, by state.",
        &[
            ("{state=\"running\"}", gauge(running)),
            ("{state=\"waiting\"}", gauge(waiting)),
        ],
    );
    line(
        "nonna_uptime_seconds",
        "gauge",
        "Since the server started.",
        &[("", app.started.elapsed().as_secs())],
    );
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4"),
        )],
        text,
    )
        .into_response()
}
