//! What the cases share: an environment, services in it, and short ways to ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nonna_engine::event::{Event, EventKind, EventSink, Progress};
use nonna_engine::ports::Runtime;
use nonna_engine::ports::runtime::{Command, Endpoint, Input, Launch, Output};
use nonna_engine::{Error, Result};
use nonna_model::observed::{Observed, ObservedReplica};
use nonna_model::plan::Scope;
use nonna_model::service::Source;
use nonna_model::{
    DeploymentId, EnvironmentId, Name, OrganizationId, ProjectId, ReleaseNumber, ServiceId, ServiceSpec,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Fixture;

/// An environment of a runtime.
#[derive(Clone)]
pub struct Setting {
    pub runtime: Arc<dyn Runtime>,
    pub image: String,
    pub scope: Scope,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i64,
    pub stdout: String,
    pub stderr: String,
}

/// Keeps events for a test to look at.
#[derive(Default)]
struct Kept(Mutex<Vec<EventKind>>);

impl EventSink for Kept {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event.kind);
    }
}

impl Setting {
    pub(super) fn new(fixture: Fixture) -> Self {
        Self {
            runtime: fixture.runtime,
            image: fixture.image,
            scope: Scope {
                organization: OrganizationId::generate(),
                project: ProjectId::generate(),
                project_name: name("suite"),
                environment: EnvironmentId::generate(),
                environment_name: name("test"),
            },
        }
    }

    /// Another environment of the same project.
    pub fn another(&self) -> Self {
        let mut other = self.clone();
        other.scope.environment = EnvironmentId::generate();
        other
    }

    /// A release of a new service, with the test app's variables.
    pub fn launch(&self, service: &str, variables: &[(&str, &str)]) -> Launch {
        let mut spec = ServiceSpec::new(Source::Image {
            reference: self.image.clone(),
        });
        spec.health.start_period_ms = 20_000;
        spec.stop_timeout_ms = 1_000;
        spec.variables = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Launch {
            scope: self.scope.clone(),
            service: ServiceId::generate(),
            service_name: name(service),
            release: ReleaseNumber(1),
            image: self.image.clone(),
            origin: None,
            spec,
            secrets: BTreeMap::new(),
        }
    }

    pub async fn network(&self) {
        self.runtime.ensure_network(&self.scope).await.unwrap();
    }

    pub async fn start(&self, launch: &Launch, count: u32) -> Result<Vec<Endpoint>> {
        self.network().await;
        let cancel = CancellationToken::new();
        self.runtime
            .start_replicas(launch, count, &Progress::discard(), &cancel)
            .await
    }

    /// Starts, and returns the events too.
    pub async fn start_telling(
        &self,
        launch: &Launch,
        count: u32,
    ) -> (Result<Vec<Endpoint>>, Vec<EventKind>) {
        self.network().await;
        let kept = Arc::new(Kept::default());
        let progress = Progress::new(DeploymentId::generate(), 7, kept.clone());
        let cancel = CancellationToken::new();
        let result = self
            .runtime
            .start_replicas(launch, count, &progress, &cancel)
            .await;
        let events = kept.0.lock().unwrap().clone();
        (result, events)
    }

    /// Starts an app that must not become healthy.
    pub async fn failure(&self, launch: &Launch) -> Error {
        match self.start(launch, 1).await {
            Ok(endpoints) => panic!("it became healthy: {endpoints:?}"),
            Err(error) => error,
        }
    }

    pub async fn observe(&self) -> Observed {
        self.runtime.observe(&self.scope.environment).await.unwrap()
    }

    pub async fn replicas(&self, launch: &Launch) -> Vec<ObservedReplica> {
        let observed = self.observe().await;
        observed
            .replicas_of(&launch.service)
            .into_iter()
            .cloned()
            .collect()
    }

    /// Runs a command in a replica of the service.
    pub async fn exec(&self, launch: &Launch, arguments: &[&str]) -> Done {
        self.exec_with(launch, arguments, b"").await
    }

    pub async fn exec_with(&self, launch: &Launch, arguments: &[&str], input: &[u8]) -> Done {
        session(arguments, None, input, |command| async move {
            let cancel = CancellationToken::new();
            self.runtime.exec(&launch.service, None, command, &cancel).await
        })
        .await
        .unwrap()
    }

    /// A variable as the service's app has it.
    pub async fn variable(&self, launch: &Launch, name: &str) -> Option<String> {
        let given = self.exec(launch, &["env"]).await.stdout;
        let mut values = given
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.next().map(str::to_owned)
    }

    /// Runs a one-off command.
    pub async fn run(&self, launch: &Launch, arguments: &[&str]) -> Done {
        self.run_with(launch, arguments, b"").await
    }

    pub async fn run_with(&self, launch: &Launch, arguments: &[&str], input: &[u8]) -> Done {
        session(arguments, None, input, |command| async move {
            let cancel = CancellationToken::new();
            self.runtime.run(launch, command, &cancel).await
        })
        .await
        .unwrap()
    }

    /// Removes all there is of the installation.
    pub(super) async fn clean(&self) -> Result<()> {
        for observed in self.runtime.observe_all().await? {
            for replica in &observed.replicas {
                self.runtime.retire_replicas(&replica.service, None).await?;
            }
            for volume in &observed.volumes {
                self.runtime.remove_volume(&volume.service, &volume.name).await?;
            }
            self.runtime.remove_network(&observed.environment).await?;
        }
        Ok(())
    }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Feeds a command its input and gathers its output.
pub(super) async fn session<F>(
    arguments: &[&str],
    terminal: Option<(u16, u16)>,
    input: &[u8],
    start: impl FnOnce(Command) -> F,
) -> Result<Done>
where
    F: Future<Output = Result<i64>>,
{
    let (input_sender, input_receiver) = mpsc::channel(16);
    let (output_sender, mut output_receiver) = mpsc::channel(16);
    let command = Command {
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        terminal,
        input: input_receiver,
        output: output_sender,
    };
    let feed = async {
        if !input.is_empty() {
            let _ = input_sender.send(Input::Bytes(input.to_vec())).await;
        }
        let _ = input_sender.send(Input::End).await;
    };
    let gather = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(output) = output_receiver.recv().await {
            match output {
                Output::Stdout(bytes) => stdout.extend(bytes),
                Output::Stderr(bytes) => stderr.extend(bytes),
            }
        }
        (stdout, stderr)
    };
    let (code, (), (stdout, stderr)) = tokio::join!(start(command), feed, gather);
    Ok(Done {
        code: code?,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// The body of `GET path` at a replica's address, from this machine.
pub async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default())
}

/// Waits until something is so; fails the test when it takes too long.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "not within 30 s: {what}");
}
