//! Protocols over HTTP: OTLP, Loki's push API, Elasticsearch's bulk API and
//! lines; beside them health and metrics.

mod access;
mod body;
mod elastic;
mod lines;
mod loki;
mod otlp;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nonna_engine::Result;
use rustls::ServerConfig;
use tower::ServiceExt;

pub use access::Access;

use super::connection::{Connection, Socket, accept};
use super::slots::Held;
use super::{Door, Protocol, Tasks, bind};

/// From the first byte of a request's head to its last. A connection without a
/// request is closed then too, so it is longer than most senders' pauses.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest head of a request.
const HEAD_BYTES: usize = 64 * 1024;
/// How long requests under way may take when the process ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The protocols that bring records.
    Intake,
    /// Questions: whatever router was given for them.
    Query,
    /// `/metrics`.
    Metrics,
}

/// An HTTP listener.
pub struct Http {
    socket: tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
}

/// Who sends a request.
#[derive(Debug, Clone)]
struct Peer(Arc<str>);

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    door: Arc<Door>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Http {
    /// Listens on an address.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        Ok(Self {
            socket: bind("HTTP", address)?,
            tls,
            router: Router::new(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// What it serves, to whom. `query` answers questions; it must itself see
    /// to who may see what beyond `access`.
    #[must_use]
    pub fn with(
        mut self,
        door: &Arc<Door>,
        served: &[Served],
        access: Access,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
        query: Option<Router>,
    ) -> Self {
        let shared = Shared {
            door: Arc::clone(door),
            metrics,
        };
        let mut router = Router::new();
        if served.contains(&Served::Intake) {
            router = router
                .merge(otlp::routes())
                .merge(loki::routes())
                .merge(elastic::routes())
                .merge(lines::routes());
        }
        if served.contains(&Served::Metrics) {
            router = router.route("/metrics", get(metrics_page));
        }
        let mut router = router.with_state(shared.clone());
        if served.contains(&Served::Query)
            && let Some(query) = query
        {
            router = router.merge(query);
        }
        let access = Arc::new(access);
        let door = Arc::clone(door);
        let guard = axum::middleware::from_fn(move |request: axum::extract::Request, next| {
            access::check(Arc::clone(&access), Arc::clone(&door), request, next)
        });
        self.router = router
            .fallback(nothing_here)
            .layer(guard)
            // Who watches over the process needs no password for that.
            .route("/health", get(health))
            .route("/ready", get(health));
        self
    }

    /// Serves until the tasks end.
    pub fn serve(self, door: Arc<Door>, tasks: &Tasks) {
        let router = self.router;
        let socket = Socket::Tcp(self.socket, self.tls);
        accept(tasks, door, Protocol::Http, socket, move |_, connection| {
            requests(connection, router.clone())
        });
    }
}

async fn requests(connection: Connection, router: Router) -> Result<()> {
    let (wire, peer, held, closing) = connection.into_parts();
    let (peer, held): (Arc<str>, Arc<Held>) = (peer.into(), Arc::new(held));
    let service = {
        let held = Arc::clone(&held);
        service_fn(move |mut request: Request<Incoming>| {
            held.active();
            request.extensions_mut().insert(Peer(Arc::clone(&peer)));
            let answer = router.clone().oneshot(request.map(Body::new));
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        })
    };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => {}
        () = held.gone() => {}
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(PATIENCE, serving).await;
        }
    }
    Ok(())
}

async fn health() -> &'static str {
    "ready\n"
}

async fn metrics_page(State(shared): State<Shared>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (shared.metrics)(),
    )
        .into_response()
}

async fn nothing_here() -> Response {
    (
        StatusCode::NOT_FOUND,
        "There is nothing here. Records are taken at /v1/logs (OTLP), /loki/api/v1/push, /_bulk and /lines.\n",
    )
        .into_response()
}
