//! A runtime in memory: no container, no waiting, the same every time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use nonna_engine::event::{EventKind, Progress};
use nonna_engine::ports::Runtime;
use nonna_engine::ports::output::OutputPlace;
use nonna_engine::ports::runtime::{
    Capabilities, Command, Endpoint, Image, Launch, LogLine, LogQuery, Output, OutputLine, ReplicaStats,
    RuntimeEvent,
};
use nonna_engine::{Code, Error, Result};
use nonna_model::observed::{Observed, ObservedReplica, ObservedVolume, ReplicaState};
use nonna_model::plan::{Job, Scope};
use nonna_model::{EnvironmentId, Name, OrganizationId, ReleaseNumber, ServiceId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::behaviour::Behaviour;
use super::fake_command;

/// The image of the real test app, whose variables the fake understands.
const TEST_APP: &str = "nonna-test/app";
/// Events that a slow reader may be behind.
const EVENTS: usize = 1024;

/// How often a replica is looked at for new output.
const OUTPUT_EVERY: std::time::Duration = std::time::Duration::from_millis(10);

fn nanos(line: &LogLine) -> i64 {
    line.at.saturating_mul(1_000_000)
}

/// A replica in memory.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub id: String,
    pub launch: Launch,
    pub state: ReplicaState,
    pub address: Option<SocketAddr>,
    pub restarts: u32,
    pub log: Vec<LogLine>,
}

type Key = (ServiceId, ReleaseNumber, u32);

#[derive(Default)]
pub(super) struct World {
    networks: BTreeSet<EnvironmentId>,
    volumes: BTreeSet<(EnvironmentId, ServiceId, Name)>,
    pub replicas: BTreeMap<Key, Replica>,
    images: BTreeMap<String, Behaviour>,
    /// Images that are on the machine.
    local: BTreeSet<String>,
    calls: Vec<String>,
    faults: Vec<(usize, Error)>,
    made: u16,
    /// What jobs left: how each ended, or `None` while it runs.
    jobs: BTreeMap<(ServiceId, ReleaseNumber, Job), Option<i64>>,
    /// How many times a job was begun.
    jobs_begun: BTreeMap<(ServiceId, ReleaseNumber, Job), usize>,
}

/// A runtime in memory. Clones are the same one.
///
/// An image's replicas behave as [`FakeRuntime::image`] was told; those of
/// `nonna-test/app` as the variables of the real test app say
/// ([`Behaviour::of_variables`]).
#[derive(Clone)]
pub struct FakeRuntime {
    pub(super) world: Arc<Mutex<World>>,
    events: broadcast::Sender<RuntimeEvent>,
    pub(super) lines: broadcast::Sender<(ServiceId, LogLine)>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// An empty one, that has the test app's image.
    #[must_use]
    pub fn new() -> Self {
        let world = World {
            local: BTreeSet::from([format!("{TEST_APP}:latest")]),
            ..World::default()
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            events: broadcast::channel(EVENTS).0,
            lines: broadcast::channel(EVENTS).0,
        }
    }

    /// A registry has this image from now on, and its replicas behave so.
    pub fn add_image(&self, reference: &str, behaviour: Behaviour) {
        self.world().images.insert(reference.to_owned(), behaviour);
    }

    /// This image is on the machine from now on (as a builder leaves one), and
    /// its replicas behave so.
    pub fn add_local_image(&self, reference: &str, behaviour: Behaviour) {
        self.add_image(reference, behaviour);
        self.world().local.insert(reference.to_owned());
    }

    /// The call after `calls` more calls fails with this error, before it has
    /// done anything.
    pub fn fail_after(&self, calls: usize, error: Error) {
        let mut world = self.world();
        let at = world.calls.len() + calls;
        world.faults.push((at, error));
    }

    /// How many containers of jobs there are, running or ended.
    #[must_use]
    pub fn jobs_left(&self) -> usize {
        self.world().jobs.len()
    }

    /// How often this job was begun.
    #[must_use]
    pub fn jobs_begun(&self, service: &ServiceId, release: ReleaseNumber, job: Job) -> usize {
        let key = (service.clone(), release, job);
        self.world().jobs_begun.get(&key).copied().unwrap_or_default()
    }

    /// Every call so far, in order: `start_replicas svc-… v1 2`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    /// The process of a replica ends by itself with this code; it is restarted
    /// as its release says. Whether there is such a replica.
    pub fn end(&self, service: &ServiceId, release: ReleaseNumber, index: u32, code: i64) -> bool {
        let environment = {
            let mut world = self.world();
            let Some(replica) = world.replicas.get_mut(&(service.clone(), release, index)) else {
                return false;
            };
            if Behaviour::is_restarted(&replica.launch.spec, code) {
                replica.restarts += 1;
            } else {
                replica.state = ReplicaState::Exited {
                    code,
                    out_of_memory: false,
                };
            }
            replica.launch.scope.environment.clone()
        };
        self.changed(environment);
        true
    }

    /// A replica prints a line. Whether there is such a replica.
    pub fn print(&self, service: &ServiceId, release: ReleaseNumber, index: u32, line: &str) -> bool {
        let line = LogLine {
            at: jiff::Timestamp::now().as_millisecond(),
            release,
            index,
            stderr: false,
            line: line.to_owned(),
        };
        let mut world = self.world();
        let Some(replica) = world.replicas.get_mut(&(service.clone(), release, index)) else {
            return false;
        };
        replica.log.push(line.clone());
        drop(world);
        let _ = self.lines.send((service.clone(), line));
        true
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked has failed already; the others see what it left.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, environment: EnvironmentId) {
        // Nobody need be watching.
        let _ = self.events.send(RuntimeEvent::Changed { environment });
    }

    /// Notes the call; fails it if it was told to.
    fn call(&self, words: String) -> Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        let number = world.calls.len();
        world.calls.push(words);
        if let Some(at) = world.faults.iter().position(|(at, _)| *at == number) {
            return Err(world.faults.remove(at).1);
        }
        Ok(world)
    }

    /// Brings one replica to life. How long until it is healthy.
    fn begin(&self, launch: &Launch, index: u32, progress: &Progress) -> Result<std::time::Duration> {
        let key = (launch.service.clone(), launch.release, index);
        let behaviour = {
            let mut world = self.world();
            if let Some(there) = world.replicas.get(&key)
                && there.state.is_running()
                && there.launch.spec == launch.spec
                && there.launch.image == launch.image
            {
                // It is there already; whether it is healthy is asked anew.
                return world
                    .behaviour(launch)
                    .start(launch, index)
                    .map(|_| std::time::Duration::ZERO);
            }
            if !world.local.contains(&launch.image) {
                return Err(not_found(&launch.image));
            }
            world.made += 1;
            let [high, low] = world.made.to_be_bytes();
            let ip = IpAddr::V4(Ipv4Addr::new(10, 255, high, low));
            let replica = Replica {
                id: format!("fake-{}", world.made),
                launch: launch.clone(),
                state: ReplicaState::Running,
                address: launch.spec.port.map(|port| SocketAddr::new(ip, port)),
                restarts: 0,
                log: Vec::new(),
            };
            world.replicas.insert(key, replica);
            world.behaviour(launch)
        };
        progress.emit(EventKind::ReplicaStarted {
            step: progress.step(),
            release: launch.release,
            index,
        });
        self.print(&launch.service, launch.release, index, "listening");
        self.changed(launch.scope.environment.clone());
        behaviour.start(launch, index)
    }
}

impl World {
    fn behaviour(&self, launch: &Launch) -> Behaviour {
        match self.images.get(&launch.image) {
            Some(behaviour) => behaviour.clone(),
            None => Behaviour::of_variables(&launch.spec),
        }
    }

    fn observed(&self, environment: &EnvironmentId) -> Observed {
        let ours = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.launch.scope.environment == *environment);
        let replicas = ours.map(|((service, release, index), replica)| ObservedReplica {
            id: replica.id.clone(),
            service: service.clone(),
            release: *release,
            index: *index,
            state: replica.state.clone(),
            address: replica.address.filter(|_| replica.state.is_running()),
            started_at: Some(1),
            restarts: replica.restarts,
        });
        let volumes = self.volumes.iter().filter(|(owner, ..)| owner == environment);
        Observed {
            environment: environment.clone(),
            network: self.networks.contains(environment),
            volumes: volumes
                .map(|(_, service, name)| ObservedVolume {
                    service: service.clone(),
                    name: name.clone(),
                })
                .collect(),
            replicas: replicas.collect(),
        }
    }
}

fn not_found(reference: &str) -> Error {
    Error::user(Code::ImageNotFound, format!("There is no image {reference}."))
}

fn image(reference: &str) -> Image {
    Image {
        id: reference.to_owned(),
        size: 1_000_000,
        ports: vec![8080],
        references: Vec::new(),
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn capabilities(&self) -> Result<Capabilities> {
        drop(self.call("capabilities".into())?);
        Ok(Capabilities {
            name: "Fake".into(),
            cpu_limits: true,
            memory_limits: true,
            routes: false,
        })
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<Observed> {
        Ok(self.call(format!("observe {environment}"))?.observed(environment))
    }

    async fn observe_all(&self) -> Result<Vec<Observed>> {
        let world = self.call("observe_all".into())?;
        let of_replicas = world.replicas.values().map(|r| &r.launch.scope.environment);
        let of_volumes = world.volumes.iter().map(|(environment, ..)| environment);
        let all: BTreeSet<_> = world
            .networks
            .iter()
            .chain(of_replicas)
            .chain(of_volumes)
            .collect();
        Ok(all.into_iter().map(|id| world.observed(id)).collect())
    }

    async fn ensure_network(&self, scope: &Scope) -> Result<()> {
        let mut world = self.call(format!("ensure_network {}", scope.environment))?;
        world.networks.insert(scope.environment.clone());
        Ok(())
    }

    async fn remove_network(&self, environment: &EnvironmentId) -> Result<()> {
        let mut world = self.call(format!("remove_network {environment}"))?;
        if world
            .replicas
            .values()
            .any(|r| r.launch.scope.environment == *environment)
        {
            return Err(Error::provider(Code::RuntimeRefused, "The network is in use."));
        }
        world.networks.remove(environment);
        Ok(())
    }

    async fn ensure_volume(&self, scope: &Scope, service: &ServiceId, volume: &Name) -> Result<()> {
        let mut world = self.call(format!("ensure_volume {service} {volume}"))?;
        let volume = (scope.environment.clone(), service.clone(), volume.clone());
        world.volumes.insert(volume);
        Ok(())
    }

    async fn remove_volume(&self, service: &ServiceId, volume: &Name) -> Result<()> {
        let mut world = self.call(format!("remove_volume {service} {volume}"))?;
        let mounted = |r: &Replica| {
            r.launch.service == *service && r.launch.spec.volumes.iter().any(|mount| mount.name == *volume)
        };
        if world.replicas.values().any(mounted) {
            return Err(Error::provider(Code::RuntimeRefused, "The volume is in use."));
        }
        world
            .volumes
            .retain(|(_, owner, name)| (owner, name) != (service, volume));
        Ok(())
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        let world = self.call(format!("image {reference}"))?;
        Ok(world.local.contains(reference).then(|| image(reference)))
    }

    async fn pull(
        &self,
        _organization: &OrganizationId,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Image> {
        let mut world = self.call(format!("pull {reference}"))?;
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        if !world.images.contains_key(reference) {
            return Err(not_found(reference));
        }
        world.local.insert(reference.to_owned());
        progress.message(format!("fetching {reference}"));
        Ok(image(reference))
    }

    async fn push(
        &self,
        _organization: &OrganizationId,
        image: &str,
        reference: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<String> {
        let mut world = self.call(format!("push {image} {reference}"))?;
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        if !world.local.contains(image) {
            return Err(not_found(image));
        }
        let behaviour = world.images.get(image).cloned();
        if let Some(behaviour) = behaviour {
            world.images.insert(reference.to_owned(), behaviour);
        }
        progress.message(format!("pushing {reference}"));
        Ok(format!("sha256:{}", "0".repeat(64)))
    }

    async fn export_image(&self, image: &str) -> Result<BoxStream<'static, Result<bytes::Bytes>>> {
        let world = self.call(format!("export_image {image}"))?;
        if !world.local.contains(image) {
            return Err(not_found(image));
        }
        // An empty archive: two blocks of zeroes.
        Ok(futures_util::stream::iter([Ok(bytes::Bytes::from_static(&[0; 1024]))]).boxed())
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let mut world = self.call(format!("remove_image {image}"))?;
        if !world
            .replicas
            .values()
            .any(|replica| replica.launch.image == image)
        {
            world.local.remove(image);
        }
        Ok(())
    }

    async fn start_replicas(
        &self,
        launch: &Launch,
        count: u32,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<Endpoint>> {
        let words = format!("start_replicas {} {} {count}", launch.service, launch.release);
        drop(self.call(words)?);
        let mut endpoints = Vec::new();
        for index in 0..count {
            let begun = self.begin(launch, index, progress);
            let failed_for_good = matches!(
                &begun,
                Err(e) if matches!(e.code, Code::ReplicaUnhealthy | Code::WrongPort | Code::ListensOnLoopback)
            );
            // What runs and never answers is waited for.
            let wait = match &begun {
                Ok(time) => *time,
                Err(_) if failed_for_good => {
                    std::time::Duration::from_millis(launch.spec.health.start_period_ms)
                }
                Err(_) => std::time::Duration::ZERO,
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Error::cancelled()),
                () = tokio::time::sleep(wait) => {}
            }
            begun?;
            progress.emit(EventKind::ReplicaHealthy {
                step: progress.step(),
                release: launch.release,
                index,
                answer: "GET / → 200 OK in 1 ms".into(),
            });
            let world = self.world();
            let key = (launch.service.clone(), launch.release, index);
            let address = world.replicas.get(&key).and_then(|replica| replica.address);
            endpoints.push(Endpoint { index, address });
        }
        Ok(endpoints)
    }

    async fn stop_replicas(&self, service: &ServiceId, release: ReleaseNumber) -> Result<()> {
        let mut world = self.call(format!("stop_replicas {service} {release}"))?;
        for ((owner, number, _), replica) in &mut world.replicas {
            if owner == service && *number == release && replica.state.is_running() {
                replica.state = ReplicaState::Exited {
                    code: 0,
                    out_of_memory: false,
                };
            }
        }
        Ok(())
    }

    async fn retire_replicas(&self, service: &ServiceId, keep: Option<(ReleaseNumber, u32)>) -> Result<()> {
        let kept = keep.map(|(release, count)| format!("{release} {count}"));
        let words = format!("retire_replicas {service} {}", kept.unwrap_or_else(|| "-".into()));
        let mut world = self.call(words)?;
        let mut environments = BTreeSet::new();
        world.replicas.retain(|(owner, release, index), replica| {
            let keeps =
                owner != service || keep.is_some_and(|(number, count)| *release == number && *index < count);
            if !keeps {
                environments.insert(replica.launch.scope.environment.clone());
            }
            keeps
        });
        drop(world);
        environments.into_iter().for_each(|id| self.changed(id));
        Ok(())
    }

    async fn run(&self, launch: &Launch, command: Command, cancel: &CancellationToken) -> Result<i64> {
        drop(self.call(format!("run {} {:?}", launch.service, command.arguments))?);
        fake_command::run(self, launch, None, command, cancel).await
    }

    async fn run_job(
        &self,
        launch: &Launch,
        job: Job,
        arguments: &[String],
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<i64> {
        let key = (launch.service.clone(), launch.release, job);
        let there = {
            let mut world = self.call(format!("run_job {} {} {job:?}", launch.service, launch.release))?;
            if !world.local.contains(&launch.image) {
                return Err(not_found(&launch.image));
            }
            // What another release's left does not run on beside this one.
            world
                .jobs
                .retain(|(owner, release, _), _| *owner != launch.service || *release == launch.release);
            let there = world.jobs.get(&key).copied();
            if there.is_none() {
                world.jobs.insert(key.clone(), None);
                *world.jobs_begun.entry(key.clone()).or_default() += 1;
            }
            there
        };
        if let Some(Some(code)) = there {
            return Ok(code);
        }
        let (sender, mut output) = tokio::sync::mpsc::channel(16);
        let (_input, receiver) = tokio::sync::mpsc::channel(1);
        let command = Command {
            arguments: arguments.to_vec(),
            terminal: None,
            input: receiver,
            output: sender,
        };
        let print = async {
            while let Some(Output::Stdout(bytes) | Output::Stderr(bytes)) = output.recv().await {
                for line in String::from_utf8_lossy(&bytes).lines() {
                    progress.job_output(line);
                }
            }
        };
        let (code, ()) = tokio::join!(fake_command::run(self, launch, None, command, cancel), print);
        let code = code?;
        self.world().jobs.insert(key, Some(code));
        Ok(code)
    }

    async fn remove_jobs(&self, service: &ServiceId, job: Option<Job>) -> Result<()> {
        let mut world = self.call(format!("remove_jobs {service} {job:?}"))?;
        world
            .jobs
            .retain(|(owner, _, what), _| owner != service || job.is_some_and(|job| job != *what));
        Ok(())
    }

    async fn exec(
        &self,
        service: &ServiceId,
        index: Option<u32>,
        command: Command,
        cancel: &CancellationToken,
    ) -> Result<i64> {
        let (launch, index) = {
            let world = self.call(format!("exec {service} {:?}", command.arguments))?;
            let found = world.replicas.iter().rev().find(|((owner, _, number), replica)| {
                owner == service && replica.state.is_running() && index.is_none_or(|index| index == *number)
            });
            let ((.., index), replica) =
                found.ok_or_else(|| Error::user(Code::NotFound, "No replica of this service runs."))?;
            (replica.launch.clone(), *index)
        };
        fake_command::run(self, &launch, Some(index), command, cancel).await
    }

    async fn logs(
        &self,
        service: &ServiceId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        let (follower, mut old) = {
            let world = self.call(format!("logs {service}"))?;
            let mut old = Vec::new();
            for ((owner, ..), replica) in &world.replicas {
                let lines = replica
                    .log
                    .iter()
                    .filter(|line| owner == service && fits(query, line));
                let lines: Vec<_> = lines.cloned().collect();
                let tail = query.tail.map_or(lines.len(), |tail| tail as usize);
                old.extend_from_slice(&lines[lines.len().saturating_sub(tail)..]);
            }
            (self.lines.subscribe(), old)
        };
        old.sort_by_key(|line| line.at);
        let old = stream::iter(old.into_iter().map(Ok));
        if !query.follow {
            return Ok(old.boxed());
        }
        let (service, query) = (service.clone(), query.clone());
        let new = stream::unfold(follower, |mut follower| async move {
            loop {
                match follower.recv().await {
                    Ok(line) => return Some((line, follower)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let new = new.filter_map(move |(owner, line)| {
            let wanted = owner == service && fits(&query, &line);
            std::future::ready(wanted.then_some(Ok(line)))
        });
        Ok(old.chain(new).boxed())
    }

    async fn output(
        &self,
        replica: &str,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Result<OutputLine>>> {
        drop(self.call(format!("output {replica}"))?);
        let start = (self.clone(), replica.to_owned(), 0_usize);
        Ok(stream::unfold(start, move |(fake, replica, next)| async move {
            loop {
                {
                    let world = fake.world();
                    let found = world.replicas.values().find(|found| found.id == replica)?;
                    let newer = |line: &&LogLine| after.is_none_or(|after| nanos(line) > after);
                    if let Some((at, line)) =
                        (next..).zip(found.log.iter().skip(next)).find(|(_, l)| newer(l))
                    {
                        let line = OutputLine {
                            nanos: nanos(line),
                            stderr: line.stderr,
                            line: line.line.clone().into_bytes(),
                        };
                        drop(world);
                        return Some((Ok(line), (fake, replica, at + 1)));
                    }
                    if !found.state.is_running() {
                        return None;
                    }
                }
                tokio::time::sleep(OUTPUT_EVERY).await;
            }
        })
        .boxed())
    }

    async fn stats(&self, service: &ServiceId) -> Result<Vec<ReplicaStats>> {
        let world = self.call(format!("stats {service}"))?;
        let running = world
            .replicas
            .iter()
            .filter(|((owner, ..), replica)| owner == service && replica.state.is_running());
        Ok(running
            .map(|((_, release, index), replica)| ReplicaStats {
                release: *release,
                index: *index,
                cpu_micros: 1000,
                memory: 1 << 20,
                memory_limit: replica.launch.spec.resources.memory.map(|bytes| bytes.0),
            })
            .collect())
    }

    async fn output_place(&self, replica: &str) -> Result<Option<OutputPlace>> {
        let world = self.call(format!("output_place {replica}"))?;
        let is_there = world.replicas.values().any(|known| known.id == replica);
        Ok(is_there.then(OutputPlace::default))
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        let events = self.events.subscribe();
        stream::unfold(events, |mut events| async move {
            match events.recv().await {
                Ok(event) => Some((event, events)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((RuntimeEvent::Resumed, events)),
                // The runtime is gone, but the stream never ends by itself.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        })
        .boxed()
    }
}

fn fits(query: &LogQuery, line: &LogLine) -> bool {
    query.release.is_none_or(|release| release == line.release)
        && query.index.is_none_or(|index| index == line.index)
        && query.since.is_none_or(|since| line.at >= since)
        && query.until.is_none_or(|until| line.at <= until)
}
