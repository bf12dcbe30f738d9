//! Pushes: what their hook asks, and what it is answered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use nonna_engine::{Code, Error, Result};
use nonna_git::hook::{Answer, Ask, MOST_ASKED, Update};
use nonna_git::{ObjectId, Reference};
use nonna_model::Name;
use nonna_model::manifest::{self, FILE_NAME};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::branches::Branches;
use super::say::Say;
use super::source::{self, Commit, Order};
use crate::http::{App, Caller};

/// How long a hook may take to ask.
const ASKING: Duration = Duration::from_secs(20);

/// A push that is under way.
pub(super) struct Push {
    project: Name,
    caller: Caller,
    cancel: CancellationToken,
    /// Held from its deployment until its branch has moved.
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
}

/// A push, as long as its request is served. Dropped early, it is cancelled.
pub(super) struct Pushing {
    app: Arc<App>,
    id: String,
    _cancel: DropGuard,
}

impl Pushing {
    /// Takes a push in.
    pub(super) fn begin(app: &Arc<App>, project: Name, caller: Caller) -> Result<Self> {
        let mut random = [0_u8; 20];
        getrandom::fill(&mut random).map_err(|e| {
            Error::provider(Code::Bug, "The system gives no random numbers.").said(e.to_string())
        })?;
        let id = HEXLOWER.encode(&random);
        let cancel = CancellationToken::new();
        let push = Push {
            project,
            caller,
            cancel: cancel.clone(),
            turn: Mutex::default(),
        };
        let mut pushes = app.git()?.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        pushes.insert(id.clone(), Arc::new(push));
        Ok(Self {
            app: Arc::clone(app),
            id,
            _cancel: cancel.drop_guard(),
        })
    }

    /// What its hook is known by.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if let Ok(git) = self.app.git() {
            let mut pushes = git.pushes.lock().unwrap_or_else(PoisonError::into_inner);
            pushes.remove(&self.id);
        }
    }
}

/// Where hooks ask.
pub(super) struct Hooks(UnixListener);

impl Hooks {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // One that an earlier process left; the folder's lock says it is gone.
        let _ = std::fs::remove_file(path);
        UnixListener::bind(path).map(Self).map_err(|e| {
            Error::provider(
                Code::StoreUnavailable,
                format!("{} cannot be made.", path.display()),
            )
            .said(e.to_string())
        })
    }

    /// Answers until the server stops.
    pub(super) async fn answer(self, app: Arc<App>) {
        loop {
            let stream = tokio::select! {
                accepted = self.0.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a hook could not be heard");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = app.closing.cancelled() => return,
            };
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                if let Err(error) = attend(app, stream).await {
                    tracing::debug!(%error, "a hook went away");
                }
            });
        }
    }
}

async fn attend(app: Arc<App>, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut limited = (&mut reader).take(MOST_ASKED * 2);
    let read = limited.read_until(b'\n', &mut line);
    tokio::time::timeout(ASKING, read)
        .await
        .map_err(std::io::Error::other)??;
    let Ok(ask) = serde_json::from_slice::<Ask>(&line) else {
        return Ok(());
    };
    let push = app.git().ok().and_then(|git| {
        let pushes = git.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        pushes.get(&ask.push).cloned()
    });
    let Some(push) = push else {
        return tell(&mut writer, &Answer::Refuse).await;
    };
    let (say, mut lines) = Say::channel();
    let deciding = tokio::spawn({
        let (app, push) = (Arc::clone(&app), Arc::clone(&push));
        async move {
            let result = decide(&app, &push, &ask, &say).await;
            if let Err(error) = &result {
                say.error(error).await;
            }
            result.is_ok()
        }
    });
    let gone = async {
        // A hook says nothing more: what comes is its end.
        let mut byte = [0_u8];
        let _ = reader.read(&mut byte).await;
    };
    tokio::pin!(gone);
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    if tell(&mut writer, &Answer::Say(line)).await.is_err() {
                        push.cancel.cancel();
                        break;
                    }
                }
                None => break,
            },
            () = &mut gone => {
                push.cancel.cancel();
                break;
            }
        }
    }
    // With nobody to read them, lines are let go.
    lines.close();
    let accepted = deciding.await.unwrap_or(false);
    tell(
        &mut writer,
        if accepted {
            &Answer::Accept
        } else {
            &Answer::Refuse
        },
    )
    .await
}

async fn tell(writer: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

fn refused(message: impl Into<String>) -> Error {
    Error::user(Code::InvalidInput, message)
}

/// A branch that an environment follows.
struct Moving {
    branch: String,
    environment: Name,
    old: ObjectId,
    new: ObjectId,
}

/// Judges all that a push wants, deploys what is followed, and says all of it.
async fn decide(app: &Arc<App>, push: &Arc<Push>, ask: &Ask, say: &Say) -> Result<()> {
    let git = app.git()?;
    let repository = git.home.ensure_project(&push.project).await?;
    let quarantine = ask.quarantine();
    let branches = Branches::load(app.store.as_ref(), &push.project).await?;
    let mut moving: Vec<Moving> = Vec::new();
    for Update { old, new, name } in &ask.updates {
        let (Ok(old), Ok(new)) = (old.parse::<ObjectId>(), new.parse::<ObjectId>()) else {
            return Err(refused("git names an object in a way that is not understood."));
        };
        let branch = match Reference::parse(name) {
            Some(Reference::Branch(branch)) => branch,
            Some(Reference::Tag(tag)) => {
                let what = if new.is_zero() { "removed" } else { "kept" };
                say.line(&format!("The tag {tag} is {what}. Only branches are deployed."))
                    .await;
                continue;
            }
            None => {
                return Err(refused(format!(
                    "`{name}` is neither a branch nor a tag, or has a name that none may have."
                ))
                .hint("Push branches and tags: `git push nonna main`."));
            }
        };
        let tree = if new.is_zero() { None } else { Some(&new) };
        let manifest = match tree {
            None => None,
            Some(commit) => {
                let text = git
                    .home
                    .text(&repository, Some(&quarantine), commit, FILE_NAME)
                    .await?;
                // One that cannot be read is told of when it is deployed.
                text.and_then(|text| manifest::parse(&text, FILE_NAME).ok())
            }
        };
        match branches.environment(&branch, manifest.as_ref()) {
            Some(environment) if new.is_zero() => {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "The branch {branch} cannot be deleted: the environment {environment} of {} follows it.",
                        push.project
                    ),
                )
                .hint(format!(
                    "To take the app down: `nonna destroy -p {} -e {environment}`. To follow another branch: `nonna git follow`.",
                    push.project
                )));
            }
            Some(environment) => moving.push(Moving {
                branch,
                environment,
                old,
                new,
            }),
            None if new.is_zero() => say.line(&format!("The branch {branch} is removed.")).await,
            None => {
                say.line(&format!(
                    "The branch {branch} is kept and not deployed: no environment follows it."
                ))
                .await;
                say.line(&format!(
                    "hint: `nonna git follow {branch} ENVIRONMENT -p {}` lets one.",
                    push.project
                ))
                .await;
            }
        }
    }
    if moving.is_empty() {
        return Ok(());
    }
    check_twice(&moving)?;
    let turn = git.turn(&push.project);
    let turn = match Arc::clone(&turn).try_lock_owned() {
        Ok(turn) => turn,
        Err(_) => {
            say.line("Waiting for another push to this project to end").await;
            tokio::select! {
                turn = turn.lock_owned() => turn,
                () = push.cancel.cancelled() => return Err(Error::cancelled()),
            }
        }
    };
    // From here on the branches stand still.
    for one in &moving {
        let now = git
            .home
            .resolve(&repository, &format!("refs/heads/{}", one.branch))
            .await?;
        if now != Some(one.old.clone()).filter(|old| !old.is_zero()) {
            return Err(Error::user(
                Code::Conflict,
                format!("Somebody else pushed {} in the meantime.", one.branch),
            )
            .hint("Fetch and merge first: `git pull nonna`."));
        }
    }
    for one in &moving {
        say.line(&format!(
            "Deploying {} ({}) to {}/{}",
            one.branch,
            one.new.short(),
            push.project,
            one.environment
        ))
        .await;
        let commit = Commit {
            repository: &repository,
            quarantine: Some(&quarantine),
            id: &one.new,
        };
        let place = (push.project.clone(), one.environment.clone());
        app.audit(
            &push.caller,
            "git.push",
            format!("{}/{}", place.0, place.1),
            Some(format!("{} → {}", one.branch, one.new.short())),
        )
        .await;
        let order = Order {
            place: &place,
            services: &[],
            actor: &push.caller.name,
            idempotency: None,
        };
        source::deploy(app, order, &commit, say, &push.cancel).await?;
    }
    if let Some(first) = moving.first() {
        git.home.suggest_head(&repository, &first.branch).await?;
    }
    *push.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
    Ok(())
}

/// Two branches of one push cannot both be what an environment serves.
fn check_twice(moving: &[Moving]) -> Result<()> {
    let mut seen: BTreeMap<&Name, &str> = BTreeMap::new();
    for one in moving {
        if let Some(other) = seen.insert(&one.environment, &one.branch) {
            return Err(refused(format!(
                "The branches {other} and {} are both followed by the environment {}.",
                one.branch, one.environment
            ))
            .hint("Push the one that shall be deployed."));
        }
    }
    Ok(())
}
