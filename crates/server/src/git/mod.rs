//! Deploying by git: repositories that are pushed to.

mod branches;
mod http;
mod push;
mod say;
pub(crate) mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nonna_engine::{Code, Error, Result};
use nonna_git::Home;
use nonna_model::Name;
use tokio_util::task::TaskTracker;

pub(crate) use branches::Branches;
pub(crate) use http::router;
pub(crate) use say::Say;

use crate::http::App;
use push::Push;

/// Everything about git in a server.
pub(crate) struct GitServer {
    pub(crate) home: Arc<Home>,
    pushes: Mutex<HashMap<String, Arc<Push>>>,
    /// One push of a project deploys at a time.
    turns: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>,
    /// How many git processes serve requests at once.
    room: Arc<tokio::sync::Semaphore>,
}

/// The most requests on repositories at once.
const MOST_AT_ONCE: usize = 32;

impl GitServer {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self {
            home,
            pushes: Mutex::default(),
            turns: Mutex::default(),
            room: Arc::new(tokio::sync::Semaphore::new(MOST_AT_ONCE)),
        }
    }

    /// The version of git on this machine.
    pub(crate) async fn version(&self) -> Result<String> {
        self.home.version().await
    }

    /// Whose turn it is in a project.
    fn turn(&self, project: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|name, turn| name == project || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(project.clone()).or_default())
    }
}

impl App {
    /// The server's git, if it has one.
    pub(crate) fn git(&self) -> Result<&GitServer> {
        self.git
            .as_ref()
            .ok_or_else(|| Error::provider(Code::NotFound, "This server keeps no repositories."))
    }
}

/// Begins to answer the hooks of pushes.
pub(crate) fn start(app: &Arc<App>, tasks: &TaskTracker) -> Result<()> {
    if let Some(git) = &app.git {
        let hooks = push::Hooks::open(&git.home.socket())?;
        tasks.spawn(hooks.answer(Arc::clone(app)));
    }
    Ok(())
}
