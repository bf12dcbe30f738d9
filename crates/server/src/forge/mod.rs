//! Deploys from a forge: connections, webhooks, and what comes of them.
//!
//! A webhook is a hint that a branch moved. It is kept in the store before it
//! is answered; what is deployed is the branch as it is when its turn comes,
//! fetched from the address that the user named. A start goes on with what is
//! kept and not over.

mod connect;
mod deliver;
mod hook;
mod report;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nonna_engine::ports::Router as _;
use nonna_engine::ports::router::ServiceRoutes;
use nonna_engine::{Code, Error, Result};
use nonna_git::forge::Forge;
use nonna_git::remote::RemoteUrl;
use nonna_model::service::{Protocol, RouteSpec};
use nonna_model::{ConnectionId, ServiceId};
use nonna_store::forge::{Connection, DeliveryState};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(crate) use connect::{Wanted, connect, disconnect};
pub(crate) use deliver::{by_hand, fingerprints};
pub(crate) use hook::receive;

use crate::auth::Limiter;
use crate::http::App;
use report::Reporter;

/// How many webhooks' bodies are read at once.
const BODIES: usize = 8;
/// How many repositories are fetched at once.
const FETCHES: usize = 2;
/// How many wrong signatures an address may send to a webhook at once, and how
/// long until one is forgiven.
const WRONG: (u32, Duration) = (10, Duration::from_secs(6));
/// How many messages a webhook may send at once, and how long until there may
/// be one more.
const MESSAGES: (u32, Duration) = (120, Duration::from_secs(1));
/// What the edge's route to the webhooks belongs to: no service has this id.
const ROUTE: &str = "svc-nonnawebhooksaaa";
/// What webhooks' paths begin with.
const PATH: &str = "/v1/git/hooks";

/// Everything about forges in a server.
pub(crate) struct Forges {
    tasks: TaskTracker,
    reporter: Reporter,
    /// Wrong signatures, by address and webhook.
    wrong: Limiter<(Option<IpAddr>, String)>,
    /// Right ones, by webhook.
    messages: Limiter<ConnectionId>,
    bodies: Semaphore,
    fetches: Semaphore,
    /// The connections whose deliveries are seen to; whether there may be more
    /// since.
    busy: Mutex<HashMap<ConnectionId, bool>>,
}

impl Forges {
    pub(crate) fn new(tasks: TaskTracker) -> Result<Self> {
        Ok(Self {
            tasks,
            reporter: Reporter::new()?,
            wrong: Limiter::new(WRONG.0, WRONG.1),
            messages: Limiter::new(MESSAGES.0, MESSAGES.1),
            bodies: Semaphore::new(BODIES),
            fetches: Semaphore::new(FETCHES),
            busy: Mutex::default(),
        })
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashMap<ConnectionId, bool>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection's forge and address are, as they were checked when it was
/// made.
fn parts(connection: &Connection) -> Result<(Forge, RemoteUrl)> {
    let unreadable = |what: &str| Error::bug(format!("The {what} of a connection cannot be read."));
    let forge = connection.forge.parse().map_err(|_| unreadable("forge"))?;
    let url = connection.url.parse().map_err(|_| unreadable("address"))?;
    Ok((forge, url))
}

/// Where the forge's API is.
pub(crate) fn api(connection: &Connection) -> String {
    match (&connection.api, parts(connection)) {
        (Some(api), _) => api.clone(),
        (None, Ok((forge, url))) => forge.api(&url),
        (None, Err(_)) => String::new(),
    }
}

/// The path of a connection's webhook.
pub(crate) fn webhook_path(connection: &ConnectionId) -> String {
    format!("{PATH}/{connection}")
}

/// A webhook's whole address, where the edge leads to it.
pub(crate) fn webhook_url(app: &App, connection: &ConnectionId) -> Option<String> {
    let host = app.config.webhooks.as_ref()?;
    let base = app.url(&RouteSpec {
        host: host.clone(),
        path: "/".to_owned(),
    });
    Some(format!(
        "{}{}",
        base.trim_end_matches('/'),
        webhook_path(connection)
    ))
}

/// Lets the edge lead to the webhooks, and goes on with what is not over.
pub(crate) async fn start(app: &Arc<App>, api: SocketAddr) -> Result<()> {
    if let Some(host) = &app.config.webhooks {
        let ip = match api.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let service: ServiceId = ROUTE
            .parse()
            .map_err(|error| Error::bug(format!("the webhooks' route has no owner: {error}")))?;
        let routes = ServiceRoutes {
            service,
            label: "nonna/webhooks".to_owned(),
            routes: vec![RouteSpec {
                host: host.clone(),
                path: PATH.to_owned(),
            }],
            upstreams: vec![SocketAddr::new(ip, api.port())],
            protocol: Protocol::Http1,
            paused: false,
        };
        if let Err(error) = app.routes.set_routes(routes).await {
            if error.code != Code::Conflict {
                return Err(error);
            }
            // A service was first: the server serves all the same.
            tracing::error!(%host, %error, "the webhooks' host leads elsewhere");
        }
    }
    // What was being fetched when its repository was disconnected.
    if let Ok(git) = app.git() {
        for id in git.home.forges() {
            let known = match id.parse() {
                Ok(connection) => app.store.connection(&connection).await?.is_some(),
                Err(_) => false,
            };
            if !known {
                git.home.remove_forge(&id);
            }
        }
    }
    for delivery in app.store.unfinished_deliveries().await? {
        tracing::info!(connection = %delivery.connection, number = delivery.number, "delivery of a forge resumed");
        match delivery.state {
            DeliveryState::Reporting => report::again(app, delivery).await?,
            _ => deliver::wake(app, &delivery.connection),
        }
    }
    Ok(())
}
