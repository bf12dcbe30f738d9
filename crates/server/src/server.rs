//! A running server: put together from its parts, and ended in order.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nonna_engine::{Error, Result};
use nonna_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth;
use crate::build::{BuildQueue, QueuedBuilder};
use crate::config::Config;
use crate::deploy::{Deployments, Parts, RouteTable};
use crate::forge::{self, Forges};
use crate::gc::Collector;
use crate::git::{self, GitServer};
use crate::http::{self, App};
use crate::parts::ServerParts;
use crate::registries::{FetchingBuilder, Registries};

/// How often what is long over is removed from the store.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 3600);
/// How long events and journals of deployments that are over are kept.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Starts servers.
#[derive(Debug, Clone, Copy)]
pub struct Server;

/// A running server. It goes on until [`ServerHandle::shutdown`]; dropped, it
/// ends as by a crash, which the next start makes good.
pub struct ServerHandle {
    address: SocketAddr,
    app: Arc<App>,
    tasks: TaskTracker,
    closing: CancellationToken,
    patience: Duration,
    _stop: tokio_util::sync::DropGuard,
}

impl Server {
    /// Starts a server on a listening socket: routes are made right from the
    /// store and an observation, unfinished deployments go on, and only then
    /// is the API answered.
    ///
    /// # Errors
    /// `StoreUnavailable` where the store cannot be read.
    pub async fn start(config: Config, parts: ServerParts, api: TcpListener) -> Result<ServerHandle> {
        let config = Arc::new(config);
        let installation = parts.store.installation().await?;
        let routes = Arc::new(RouteTable::new(Arc::clone(&parts.router)));
        let builds = BuildQueue::new(config.build.at_once());
        let keeping = Arc::new(tokio::sync::RwLock::new(()));
        let collector = Collector::new(
            Arc::clone(&config),
            Arc::clone(&parts.store),
            Arc::clone(&parts.storage),
            Arc::clone(&keeping),
        );
        let registries = Registries::new(
            Arc::clone(&parts.store),
            Arc::clone(&parts.journal),
            Arc::clone(&parts.runtime),
        )?;
        let deployments = Deployments::new(Parts {
            config: Arc::clone(&config),
            organization: installation.organization.clone(),
            store: Arc::clone(&parts.store),
            journal: Arc::clone(&parts.journal),
            runtime: Arc::clone(&parts.runtime),
            builder: Arc::new(FetchingBuilder::new(
                Arc::new(QueuedBuilder::new(
                    Arc::clone(&parts.builder),
                    Arc::clone(&parts.store),
                    builds.clone(),
                    config.build.log_limit,
                )),
                Arc::clone(&parts.store),
                Arc::clone(&parts.runtime),
                registries.clone(),
            )),
            logs: parts.logs.clone(),
            publisher: Arc::new(registries.clone()),
            routes: Arc::clone(&routes),
            keeping,
        });
        deployments.restore_routes().await?;
        parts.edge.open();
        let resumed = deployments.resume().await?;

        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        if let Some(logs) = &parts.logs {
            let (store, runtime) = (Arc::clone(&parts.store), Arc::clone(&parts.runtime));
            let feeding = logs.start(store, runtime, parts.capture, closing.clone()).await?;
            tasks.spawn(feeding);
        }
        let patience = config.shutdown_timeout;
        let app = Arc::new(App {
            config,
            installation,
            store: Arc::clone(&parts.store),
            runtime: parts.runtime,
            routes,
            deployments: deployments.clone(),
            registries,
            contexts: parts.contexts,
            edge: parts.edge,
            logs: parts.logs,
            backup: parts.backup,
            builds,
            collector: collector.clone(),
            build_limits: parts.build_limits,
            git: parts.git.map(GitServer::new),
            forges: Forges::new(tasks.clone())?,
            limiter: auth::Limiter::default(),
            sessions: crate::pages::Sessions::default(),
            started: Instant::now(),
            openapi: std::sync::OnceLock::new(),
            closing: closing.clone(),
        });
        api.set_nonblocking(true)
            .map_err(|e| Error::bug(format!("the API's socket cannot be made non-blocking: {e}")))?;
        let listener = tokio::net::TcpListener::from_std(api)
            .map_err(|e| Error::bug(format!("the API's socket cannot be used: {e}")))?;
        let address = listener
            .local_addr()
            .map_err(|e| Error::bug(format!("the API's socket has no address: {e}")))?;
        tasks.spawn(deployments.clone().reconcile());
        tasks.spawn(deployments.monitor());
        tasks.spawn(collector.keep_running(closing.clone()));
        git::start(&app, &tasks)?;
        forge::start(&app, address).await?;
        tasks.spawn(prune(Arc::clone(&parts.store), closing.clone()));
        tasks.spawn(http::serve(
            listener,
            http::router(&app),
            closing.clone(),
            Duration::from_secs(5),
        ));
        tasks.close();
        tracing::info!(api = %address, resumed, "server started");
        Ok(ServerHandle {
            address,
            app,
            tasks,
            _stop: closing.clone().drop_guard(),
            closing,
            patience,
        })
    }
}

impl ServerHandle {
    /// Where the API is answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a one-time login code.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn login_code(&self) -> Result<String> {
        auth::new_code(self.app.store.as_ref()).await
    }

    /// Makes a token, as a login would.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn token(&self, name: &str) -> Result<String> {
        let code = self.login_code().await?;
        auth::redeem(self.app.store.as_ref(), &code, name).await
    }

    /// Ends the server: no more deployments are taken; those under way get the
    /// time that the settings give and go on at the next start if it is not
    /// enough; then the API, the edge and the logs end.
    pub async fn shutdown(self) {
        let begun = Instant::now();
        tracing::info!("server stops");
        self.app.deployments.close(self.patience / 2).await;
        self.closing.cancel();
        self.tasks.wait().await;
        let left = self.patience.saturating_sub(begun.elapsed());
        self.app.edge.close(left.max(Duration::from_secs(1))).await;
        if let Some(logs) = &self.app.logs {
            logs.flush().await;
        }
        tracing::info!(took_ms = begun.elapsed().as_millis(), "server stopped");
    }
}

async fn prune(store: Arc<dyn Store>, closing: CancellationToken) {
    let keep = i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
        let before = jiff::Timestamp::now().as_millisecond().saturating_sub(keep);
        match store.prune(before).await {
            Ok(count) => tracing::debug!(count, "what is long over was removed"),
            Err(error) => tracing::warn!(%error, "what is long over could not be removed"),
        }
    }
}
