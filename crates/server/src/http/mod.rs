//! The HTTP API: one file a noun below `routes`, one table that makes router
//! and OpenAPI document, and the connections themselves.

mod failure;
mod input;
mod loki;
mod registry;
mod routes;
mod serve;
mod websocket;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use nonna_engine::ports::{Router as EdgeRouter, Runtime};
use nonna_engine::{Code, Error};
use nonna_model::Name;
use nonna_store::Store;
use nonna_store::records::{EnvironmentSnapshot, Installation, NewAudit};
use tokio_util::sync::CancellationToken;

pub(crate) use failure::{Answer, Refusal, status};
pub(crate) use input::read_body;
pub(crate) use routes::{deployment_answer, service_answer};
pub(crate) use serve::serve;

use crate::auth::{Identity, Limiter};
use crate::build::BuildQueue;
use crate::config::Config;
use crate::deploy::{Deployments, RouteTable};
use crate::forge::Forges;
use crate::gc::Collector;
use crate::git::GitServer;
use crate::logs::Logs;
use crate::pages::Sessions;
use crate::parts::{Backup, Contexts, EdgeStatus, LimitsStatus};
use crate::registries::Registries;

/// What every handler may use.
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) installation: Installation,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) deployments: Deployments,
    pub(crate) registries: Registries,
    pub(crate) contexts: Arc<dyn Contexts>,
    pub(crate) edge: Arc<dyn EdgeStatus>,
    pub(crate) logs: Option<Logs>,
    pub(crate) backup: Arc<dyn Backup>,
    /// The queue of builds.
    pub(crate) builds: BuildQueue,
    pub(crate) collector: Collector,
    pub(crate) build_limits: Arc<dyn LimitsStatus>,
    pub(crate) git: Option<GitServer>,
    pub(crate) forges: Forges,
    pub(crate) limiter: Limiter,
    pub(crate) sessions: Sessions,
    pub(crate) started: Instant,
    pub(crate) openapi: OnceLock<Bytes>,
    /// Cancelled when the server stops: streams end.
    pub(crate) closing: CancellationToken,
}

impl App {
    /// An environment that must be there.
    pub(crate) async fn snapshot(&self, project: &Name, environment: &Name) -> Answer<EnvironmentSnapshot> {
        self.store
            .environment_snapshot(&self.installation.organization, project, environment)
            .await?
            .ok_or_else(|| crate::deploy::no_environment(&(project.clone(), environment.clone())).into())
    }

    /// Where a route is reached.
    pub(crate) fn url(&self, route: &nonna_model::service::RouteSpec) -> String {
        self.routes.url(route)
    }

    /// Writes a line of the audit log about something that was done.
    pub(crate) async fn audit(&self, who: &Caller, action: &str, target: String, detail: Option<String>) {
        if let Err(error) = self.store.append_audit(who.entry(action, target, detail)).await {
            tracing::error!(%error, action, "a line of the audit log could not be kept");
        }
    }
}

/// The peer of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) peer: Option<SocketAddr>,
}

impl Caller {
    /// A line of the audit log.
    pub(crate) fn entry(&self, action: &str, target: String, detail: Option<String>) -> NewAudit {
        NewAudit {
            at: jiff::Timestamp::now().as_millisecond(),
            actor: self.name.clone(),
            address: self.peer.map(|p| p.ip().to_string()),
            action: action.to_owned(),
            target,
            detail,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let identity = parts
            .extensions
            .get::<Identity>()
            .ok_or_else(|| Error::bug("a handler asks who calls, and its path needs no token"))?;
        Ok(Self {
            name: identity.name.clone(),
            peer: parts.extensions.get::<Peer>().map(|p| p.0),
        })
    }
}

/// The whole API.
pub(crate) fn router(app: &Arc<App>) -> axum::Router {
    let (router, document) = routes::all(registry::Registry::new(Arc::clone(app))).finish();
    let _ = app
        .openapi
        .set(Bytes::from(document.to_json().unwrap_or_default()));
    router
        .merge(crate::pages::router())
        .merge(crate::git::router())
        .merge(loki::router(app))
        .fallback(async || {
            Refusal::from(
                Error::user(Code::NotFound, "There is no such path in this API.")
                    .hint("GET /v1/openapi.json lists every path."),
            )
        })
        .method_not_allowed_fallback(async || {
            Refusal::from(
                Error::user(Code::InvalidInput, "This path has no such method.")
                    .hint("GET /v1/openapi.json lists every path and its methods."),
            )
            .status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(axum::middleware::map_response(async |response| harden(response)))
        .with_state(Arc::clone(app))
}

/// Headers that every answer has.
fn harden(response: axum::response::Response) -> axum::response::Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    response
}
