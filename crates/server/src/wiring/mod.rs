//! The real parts: container engine, edge, store, contexts; and the process
//! around them.

mod backup;
mod contexts;
mod edge;
mod runtime;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nonna_engine::Result;
use nonna_engine::ports::{Credentials, Router, Runtime};
use nonna_logs::capture::pipe::{self, HolderOptions, Pipes};
use nonna_logs::{Durability, LogProxy, RateLimit};
use nonna_model::context::ContextLimits;
use nonna_store::{DataFolder, SqliteStore, Store};

use crate::auth::{self, ControlSocket};
use crate::config::{Capture, Config};
use crate::listen::Inherited;
use crate::logs::{Logs, ReplicaCapture};
use crate::parts::ServerParts;
use crate::registries::StoredCredentials;
use crate::server::Server;

/// How long the container engine may take to be there when the server starts.
const ENGINE_PATIENCE: Duration = Duration::from_secs(3);

/// Runs a server until `shutdown` resolves, then ends it in order. `say` is
/// given what a person should read: the one-time login command of the first
/// start.
///
/// `environment` is the process's own, for sockets that systemd handed over.
///
/// # Errors
/// `Conflict` where the data folder or a port is taken; `StoreUnavailable`,
/// `SealBroken` where the state cannot be used.
pub async fn run(
    config: Config,
    environment: &[(String, String)],
    say: impl Fn(&str),
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    run_with(config, environment, say, shutdown, |parts| parts).await
}

/// How the logs are kept.
fn log_options(config: &Config) -> nonna_logs::Options {
    nonna_logs::Options {
        max_bytes: config.logs.limit,
        max_age: config.logs.age,
        spool_bytes: config.logs.spool,
        rate_limit: config.logs.rate.map(|lines_per_second| RateLimit {
            lines_per_second,
            burst: lines_per_second.saturating_mul(10),
        }),
        durability: if config.logs.sync {
            Durability::Power
        } else {
            Durability::Process
        },
        ..nonna_logs::Options::default()
    }
}

/// The pipes of the data folder: where replicas are to print into some, or once
/// were and still do.
fn output_pipes(data: &std::path::Path, capture: Capture) -> Result<Option<Arc<Pipes>>> {
    let root = data.join("output");
    if capture != Capture::Pipes && !root.exists() {
        return Ok(None);
    }
    let holder = pipe::this_program(&root, HolderOptions::default()).map_err(|error| {
        nonna_engine::Error::bug("This program does not know where it is.").said(error.to_string())
    })?;
    Pipes::start(&root, holder).map(Arc::new).map(Some)
}

/// The repositories in the data folder. This program is their hook.
fn git(data: &std::path::Path) -> Result<nonna_git::Home> {
    let program = std::env::current_exe().map_err(|error| {
        nonna_engine::Error::bug("This program does not know where it is.").said(error.to_string())
    })?;
    nonna_git::Home::open(&data.join("git"), &program)
}

/// The same, with something put around the real parts: a journal that is
/// watched, a runtime that fails on purpose.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    environment: &[(String, String)],
    say: impl Fn(&str),
    shutdown: impl Future<Output = ()>,
    around: impl FnOnce(ServerParts) -> ServerParts,
) -> Result<()> {
    let mut inherited = Inherited::take(environment);
    let folder = DataFolder::lock(&config.data)?;
    let api = inherited.listener("api", config.api)?;
    let sqlite = Arc::new(SqliteStore::open_in(&folder, None)?);
    let store: Arc<dyn Store> = Arc::clone(&sqlite) as _;
    let installation = store.installation().await?;

    let credentials: Arc<dyn Credentials> = Arc::new(StoredCredentials::new(Arc::clone(&store)));
    let logs = Logs::new(Arc::new(LogProxy::open(
        &folder.path().join("logs"),
        log_options(&config),
    )?));
    let pipes = output_pipes(folder.path(), config.logs.capture)?;
    let runtime = runtime::LateRuntime::start(
        config.engine.clone(),
        config.pull_timeout,
        installation.id.to_string(),
        Arc::clone(&credentials),
        logs.clone(),
        pipes
            .clone()
            .filter(|_| config.logs.capture == Capture::Pipes)
            .map(|pipes| pipes as _),
    );
    runtime.settle(ENGINE_PATIENCE).await;
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let contexts = contexts::open(
        folder.path(),
        ContextLimits {
            total_size: config.build.context_limit,
            ..ContextLimits::default()
        },
    )?;
    let builder = contexts::builder(&config, &contexts, installation.id.to_string(), credentials)?;
    let edge = edge::start(&config, &mut inherited, &store, logs.proxy()).await?;
    let edge_router: Arc<dyn Router> = Arc::new(edge.handle());
    let parts = ServerParts {
        contexts: Arc::new(contexts::Intake(contexts)),
        edge: Arc::new(edge),
        logs: Some(logs),
        capture: Some(Arc::new(ReplicaCapture::new(
            Arc::clone(&runtime),
            config.logs.capture != Capture::Engine,
            pipes,
        ))),
        backup: Arc::new(backup::SqliteBackup(sqlite)),
        git: Some(Arc::new(git(folder.path())?)),
        storage: Arc::new(builder.storage()),
        build_limits: Arc::new(contexts::Limits::of(&builder)),
        ..ServerParts::new(runtime, Arc::new(builder), edge_router, Arc::clone(&store))
    };
    let server = Server::start(config, around(parts), api).await?;
    let control = match ControlSocket::open(folder.path()) {
        Ok(socket) => Some(tokio::spawn(socket.serve(Arc::clone(&store)))),
        Err(error) => {
            tracing::warn!(%error, "`nonna server login-code` will not work");
            None
        }
    };
    if store.list_tokens().await?.is_empty() {
        let code = auth::new_code(store.as_ref()).await?;
        say(&format!(
            "Log in once with this, within the hour:\n\n    nonna login http://{} --code {code}\n",
            server.address()
        ));
    }
    shutdown.await;
    if let Some(control) = control {
        control.abort();
    }
    server.shutdown().await;
    drop(folder);
    Ok(())
}
