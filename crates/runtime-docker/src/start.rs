//! Replicas come up: made or adopted, started, and asked until they are
//! healthy or it is clear that they will not be.

use std::time::Duration;

use bollard::errors::Error as Refusal;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use nonna_engine::event::{EventKind, Progress};
use nonna_engine::ports::runtime::{Endpoint, Launch};
use nonna_engine::{Code, Error, Result};
use nonna_model::labels as l;
use nonna_model::observed::ReplicaState;
use nonna_model::service::RestartPolicy;
use tokio::time::Instant;

use crate::client::Client;
use crate::diagnose::{self, Exit, Failure};
use crate::health::{Answer, Check};
use crate::labels::{self, Identity};
use crate::listeners::{self, Misplaced};
use crate::{error, files, image, launch as body, names, observe, output, stop};

/// The pause between two questions while a replica starts: so short at first
/// that a quick app is not waited for, longer for a slow one.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);
/// A process that ends so often before it was ever healthy will not become so.
/// Once or twice is forgiven: it may have waited for another service.
const EXITS_MAX: u32 = 3;
/// A service without a port has started when its process has run for so long.
const SETTLE: Duration = Duration::from_secs(1);
/// Where it listens is looked at after it refused for so long, and so often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An app that listens for so long on 127.0.0.1 will not change its mind.
const LOOPBACK_GRACE: Duration = Duration::from_secs(2);
/// One that listens on another port may yet open the right one too.
const OTHER_PORT_GRACE: Duration = Duration::from_secs(10);
/// How often is told what is waited for.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How often a container that is being removed by somebody is made again.
const MAKE_ATTEMPTS: u32 = 20;

pub(crate) async fn replicas(
    client: &Client,
    launch: &Launch,
    count: u32,
    progress: &Progress,
) -> Result<Vec<Endpoint>> {
    image::ensure(client, launch, progress).await?;
    let one = |index| Start {
        client,
        launch,
        index,
        progress,
    };
    try_join_all((0..count).map(|index| async move { Box::pin(one(index).run()).await })).await
}

/// The start of one replica.
struct Start<'a> {
    client: &'a Client,
    launch: &'a Launch,
    index: u32,
    progress: &'a Progress,
}

impl Start<'_> {
    async fn run(&self) -> Result<Endpoint> {
        let id = self.container().await?;
        let seen = self.started(&id).await?;
        Waiting::new(self, id, &seen).until_healthy().await
    }

    fn name(&self) -> String {
        diagnose::name(self.launch, self.index)
    }

    fn refused(&self, what: &str, error: &Refusal) -> Error {
        self.client.refused(&format!("{what} {}", self.name()), error)
    }

    /// The id of the replica's container: the one that is there if it is of
    /// the same image and configuration, else a new one.
    async fn container(&self) -> Result<String> {
        let name = names::replica(&self.launch.service, self.launch.release, self.index);
        let mut body = body::replica(&self.client.installation, self.launch, self.index);
        let mut pipes = None;
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            ..CreateContainerOptions::default()
        };
        let mut attempts = 0;
        loop {
            if let Some(id) = self.adopt(&name).await? {
                // It may be the one that a call of ours made that was cut off.
                if pipes.is_some() && output::key(self.client, &id).await? != pipes {
                    output::discard(self.client, pipes).await;
                }
                return Ok(id);
            }
            if pipes.is_none() {
                pipes = output::redirect(self.client, self.launch, &mut body).await;
            }
            let made = self
                .client
                .call(|docker| {
                    let (options, body) = (options.clone(), body.clone());
                    async move { docker.create_container(Some(options), body).await }
                })
                .await;
            match made {
                Ok(made) => return Ok(made.id),
                // Made by a call of ours that was cut off, or still being
                // removed: look again.
                Err(e) if error::is_conflict(&e) && attempts < MAKE_ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(e) if error::is_missing(&e) && error::words(&e).to_lowercase().contains("image") => {
                    output::discard(self.client, pipes).await;
                    return Err(Error::provider(
                        Code::ImageNotFound,
                        format!("The image {} is not on this machine any more.", self.launch.image),
                    )
                    .hint("Deploy again: it will be built or fetched anew.")
                    .said(error::words(&e)));
                }
                // It may have been made all the same: its pipes stay.
                Err(e) => return Err(self.refused("make", &e)),
            }
        }
    }

    /// The container of this name, if it can serve; removes it if it cannot.
    async fn adopt(&self, name: &str) -> Result<Option<String>> {
        let Some(seen) = observe::inspect(self.client, name).await? else {
            return Ok(None);
        };
        let id = seen.id.clone().unwrap_or_default();
        let labels = seen
            .config
            .as_ref()
            .and_then(|config| config.labels.clone())
            .unwrap_or_default();
        if labels.get(l::INSTALLATION) != Some(&self.client.installation) {
            return Err(Error::provider(
                Code::Conflict,
                format!(
                    "There is a container `{name}` already, which this installation of Nonna did not make."
                ),
            )
            .hint(
                "Another installation may have been moved or restored here; remove the container by hand.",
            ));
        }
        let usable = matches!(
            observe::state(&seen),
            ReplicaState::Created | ReplicaState::Running | ReplicaState::Exited { .. }
        );
        if usable && labels.get(l::CONFIG) == Some(&labels::config(self.launch)) {
            return Ok(Some(id));
        }
        if observe::state(&seen).is_running() {
            stop::stop_container(self.client, &id).await?;
        }
        stop::remove_replica(self.client, &id).await?;
        Ok(None)
    }

    /// Starts the container if it does not run.
    async fn started(&self, id: &str) -> Result<ContainerInspectResponse> {
        let seen = self.inspect(id).await?;
        if observe::state(&seen).is_running() {
            return Ok(seen);
        }
        if observe::state(&seen) == ReplicaState::Created {
            let what = format!("put the files of {} in place", self.name());
            files::put(self.client, id, self.launch, &what).await?;
        }
        let started = self
            .client
            .call(|docker| async move { docker.start_container(id, None::<StartContainerOptions>).await })
            .await;
        if let Err(e) = started {
            return Err(self.not_started(id, &e).await);
        }
        self.progress.emit(EventKind::ReplicaStarted {
            step: self.progress.step(),
            release: self.launch.release,
            index: self.index,
        });
        self.inspect(id).await
    }

    /// Where the engine could not even execute the command, that is the app's
    /// fault: it has an exit code like one that ran.
    async fn not_started(&self, id: &str, error: &Refusal) -> Error {
        let code = match observe::inspect(self.client, id).await {
            Ok(Some(seen)) => exit_of(&seen).code,
            _ => 0,
        };
        let said = error::words(error);
        if !matches!(code, 126 | 127) || error::is_unreachable(error) || error::disk_full(&said).is_some() {
            return self.refused("start", error);
        }
        let exit = Exit {
            code,
            out_of_memory: false,
        };
        diagnose::ended(self.client, self.launch, self.index, id, exit, 1)
            .await
            .said(said)
    }

    async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse> {
        observe::inspect(self.client, id).await?.ok_or_else(|| {
            Error::provider(
                Code::RuntimeRefused,
                format!("The container of {} was removed while it started.", self.name()),
            )
            .retry()
        })
    }
}

fn exit_of(seen: &ContainerInspectResponse) -> Exit {
    let state = seen.state.as_ref();
    Exit {
        code: state.and_then(|s| s.exit_code).unwrap_or_default(),
        out_of_memory: state.and_then(|s| s.oom_killed).unwrap_or_default(),
    }
}

/// The wait for one replica.
struct Waiting<'a> {
    start: &'a Start<'a>,
    id: String,
    check: Check,
    begun: Instant,
    /// Restarts by the engine before we looked.
    restarts_before: u32,
    exits: u32,
    last_exit: Option<Exit>,
    /// When its process was started, as the engine says it, and when we saw
    /// that first.
    running: (Option<String>, Instant),
    answer: Option<Answer>,
    /// Since when it listens so wrongly.
    misplaced: Option<(Misplaced, Instant)>,
    looked: Instant,
    told: Instant,
}

impl<'a> Waiting<'a> {
    fn new(start: &'a Start<'a>, id: String, seen: &ContainerInspectResponse) -> Self {
        let now = Instant::now();
        Self {
            start,
            id,
            check: Check::of(&start.launch.spec),
            begun: now,
            restarts_before: observe::restarts(seen),
            exits: 0,
            last_exit: None,
            running: (None, now),
            answer: None,
            misplaced: None,
            looked: now,
            told: now,
        }
    }

    async fn until_healthy(mut self) -> Result<Endpoint> {
        let health = &self.start.launch.spec.health;
        let deadline = self.begun + Duration::from_millis(health.start_period_ms);
        let mut pause = PAUSE_FIRST;
        let mut ended = self.next_exit();
        loop {
            let seen = self.start.inspect(&self.id).await?;
            self.note_exit(&seen).await?;
            if observe::state(&seen).is_running() && self.ask(&seen).await? {
                return Ok(self.healthy(&seen));
            }
            if Instant::now() >= deadline {
                self.look(&seen).await;
                return Err(self.failure().await);
            }
            if let Some(error) = self.hopeless(&seen).await {
                return Err(error);
            }
            self.tell();
            let next = (Instant::now() + pause).min(deadline);
            tokio::select! {
                exit = &mut ended => {
                    if let Some(code) = exit {
                        self.exited(code).await?;
                    } else {
                        tokio::time::sleep_until(next).await;
                    }
                    ended = self.next_exit();
                }
                () = tokio::time::sleep_until(next) => {}
            }
            pause = (pause * 3 / 2).min(PAUSE_LONGEST);
        }
    }

    /// Asks the replica. Whether it is healthy.
    async fn ask(&mut self, seen: &ContainerInspectResponse) -> Result<bool> {
        if self.check == Check::Process {
            let settled = self.has_run_for(seen) >= SETTLE;
            self.answer = Some(Answer {
                healthy: settled,
                words: format!("the process has run for {}", crate::health::words_of(SETTLE)),
                refused: false,
            });
            return Ok(settled);
        }
        let launch = self.start.launch;
        let ip = observe::ip(seen, &launch.scope.environment);
        let timeout = Duration::from_millis(launch.spec.health.timeout_ms);
        let host = launch.service_name.as_str();
        let asked = self
            .check
            .ask(self.start.client, &self.id, ip, host, timeout)
            .await?;
        let healthy = asked.healthy;
        self.answer = Some(asked);
        Ok(healthy)
    }

    /// How long we have seen the same process run.
    fn has_run_for(&mut self, seen: &ContainerInspectResponse) -> Duration {
        let started = seen.state.as_ref().and_then(|state| state.started_at.clone());
        if self.running.0 != started {
            self.running = (started, Instant::now());
        }
        self.running.1.elapsed()
    }

    fn healthy(self, seen: &ContainerInspectResponse) -> Endpoint {
        let Start {
            launch,
            index,
            progress,
            ..
        } = *self.start;
        progress.emit(EventKind::ReplicaHealthy {
            step: progress.step(),
            release: launch.release,
            index,
            answer: self.answer.map(|answer| answer.words).unwrap_or_default(),
        });
        let identity = Identity {
            environment: launch.scope.environment.clone(),
            service: launch.service.clone(),
            release: launch.release,
            index,
            port: launch.spec.port,
        };
        Endpoint {
            index,
            address: observe::address(seen, &identity),
        }
    }

    /// When the process ends next, its exit code; `None` if the engine cannot
    /// be asked.
    fn next_exit(&self) -> BoxFuture<'static, Option<i64>> {
        let options = WaitContainerOptions {
            condition: "next-exit".into(),
        };
        let docker = self.start.client.docker.clone();
        let id = self.id.clone();
        async move {
            let mut wait = std::pin::pin!(docker.wait_container(&id, Some(options)));
            match wait.next().await {
                Some(Ok(exit)) => Some(exit.status_code),
                Some(Err(Refusal::DockerContainerWaitError { code, .. })) => Some(code),
                _ => None,
            }
        }
        .boxed()
    }

    /// It has just ended: fails if it is not worth waiting any longer.
    async fn exited(&mut self, code: i64) -> Result<()> {
        let seen = self.start.inspect(&self.id).await?;
        let mut exit = exit_of(&seen);
        exit.code = code;
        self.last_exit = Some(exit);
        self.exits = self.exits.max(self.restarts(&seen)).max(self.exits + 1);
        self.judge_exit(&seen).await
    }

    /// The same for an end that was missed, found by what the engine counted.
    async fn note_exit(&mut self, seen: &ContainerInspectResponse) -> Result<()> {
        let ended = !observe::state(seen).is_running();
        let exits = self.restarts(seen) + u32::from(ended && self.is_final(seen));
        if exits <= self.exits {
            return Ok(());
        }
        self.exits = exits;
        // Once it runs again, the engine has forgotten how it ended; the next
        // end will tell.
        if ended {
            self.last_exit = Some(exit_of(seen));
        }
        self.judge_exit(seen).await
    }

    fn restarts(&self, seen: &ContainerInspectResponse) -> u32 {
        observe::restarts(seen).saturating_sub(self.restarts_before)
    }

    /// Whether it ended and the engine will not start it again.
    fn is_final(&self, seen: &ContainerInspectResponse) -> bool {
        let ReplicaState::Exited { code, .. } = observe::state(seen) else {
            return false;
        };
        match self.start.launch.spec.restart {
            RestartPolicy::Never => true,
            RestartPolicy::OnFailure => code == 0,
            RestartPolicy::Always => false,
        }
    }

    async fn judge_exit(&self, seen: &ContainerInspectResponse) -> Result<()> {
        let Some(exit) = self.last_exit else {
            return Ok(());
        };
        let killed = exit.out_of_memory || exit.code == 137;
        if !killed && !self.is_final(seen) && self.exits < EXITS_MAX {
            return Ok(());
        }
        let Start {
            client,
            launch,
            index,
            ..
        } = *self.start;
        Err(diagnose::ended(client, launch, index, &self.id, exit, self.exits).await)
    }

    /// Looks where it listens, if it refused a connection, now and then.
    async fn look(&mut self, seen: &ContainerInspectResponse) {
        let refused = self.answer.as_ref().is_some_and(|answer| answer.refused);
        let Some(port) = self.check.port().filter(|_| refused) else {
            self.misplaced = None;
            return;
        };
        self.looked = Instant::now();
        let found = listeners::misplaced(self.start.client, seen, port).await;
        self.misplaced = match (found, self.misplaced.take()) {
            (Some(now), Some((before, since))) if now == before => Some((now, since)),
            (Some(now), _) => Some((now, Instant::now())),
            (None, _) => None,
        };
    }

    /// The error, if it is clear already that it will not become healthy.
    async fn hopeless(&mut self, seen: &ContainerInspectResponse) -> Option<Error> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look(seen).await;
        }
        let (misplaced, since) = self.misplaced.as_ref()?;
        let grace = match misplaced {
            Misplaced::Loopback(_) => LOOPBACK_GRACE,
            Misplaced::OtherPorts(_) => OTHER_PORT_GRACE,
            Misplaced::Nowhere => return None,
        };
        if since.elapsed() < grace {
            return None;
        }
        Some(self.failure().await)
    }

    async fn failure(&self) -> Error {
        let Start {
            client,
            launch,
            index,
            ..
        } = *self.start;
        if let (Some(exit), true) = (self.last_exit, self.answer.is_none()) {
            return diagnose::ended(client, launch, index, &self.id, exit, self.exits).await;
        }
        let failure = Failure {
            check: &self.check,
            waited: self.begun.elapsed(),
            answer: self.answer.as_ref().map(|answer| answer.words.as_str()),
            misplaced: self.misplaced.as_ref().map(|(misplaced, _)| misplaced),
        };
        diagnose::unhealthy(client, launch, index, &self.id, failure).await
    }

    /// Tells now and then what is waited for.
    fn tell(&mut self) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let last = self
            .answer
            .as_ref()
            .map_or("no answer yet", |answer| &answer.words);
        let message = format!("waiting for {}: {last}", self.start.name());
        self.start.progress.message(message);
    }
}
