//! Docker Engine when something goes wrong: it is away, it is restarted, a
//! registry is silent, Nonna died half-way, somebody else's things are there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, NetworkingConfig};
use bollard::query_parameters::{CreateContainerOptions, InspectContainerOptions, RemoveContainerOptions};
use futures_util::StreamExt;
use nonna_engine::Code;
use nonna_engine::event::Progress;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::runtime::{Launch, RuntimeEvent};
use nonna_model::{EnvironmentId, OrganizationId};
use nonna_runtime_docker::{DockerConfig, DockerRuntime};
use nonna_testkit::runtime::suite;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use common::{connect, fixture};

fn docker(endpoint: &str) -> Docker {
    Docker::connect_with_host(endpoint).unwrap()
}

fn container_name(launch: &Launch) -> String {
    format!("nonna-{}-{}-0", launch.service, launch.release)
}

/// A way to the engine that can be cut, as when the engine is restarted.
struct Bridge {
    socket: PathBuf,
    engine: PathBuf,
    task: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Bridge {
    fn new(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bridge = Self {
            socket: folder.path().join("engine.sock"),
            engine: endpoint.trim_start_matches("unix://").into(),
            task: None,
            _folder: folder,
        };
        bridge.open();
        bridge
    }

    fn open(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let engine = self.engine.clone();
        self.task = Some(tokio::spawn(async move {
            // With the task, all its connections are cut.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let engine = engine.clone();
                connections.spawn(async move {
                    let mut engine = UnixStream::connect(engine).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                });
            }
        }));
    }

    fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        std::fs::remove_file(&self.socket).unwrap();
    }

    async fn connect(&self) -> DockerRuntime {
        connect(Some(format!("unix://{}", self.socket.display()))).await
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_to_be_so() {
    let mut config = DockerConfig::new("test");
    config.endpoint = Some("/nonexistent/engine.sock".into());
    let error = DockerRuntime::connect(&config).await.unwrap_err();
    assert_eq!(error.code, Code::RuntimeUnavailable);
    assert!(error.message.contains("/nonexistent/engine.sock"));
    assert!(error.hint.unwrap().contains("systemctl start docker"));
}

#[tokio::test]
async fn a_call_waits_for_an_engine_that_is_being_restarted() {
    let mut bridge = Bridge::new(connect(None).await.endpoint());
    let runtime = bridge.connect().await;
    bridge.cut();
    let call = tokio::spawn(async move { runtime.observe_all().await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    bridge.open();
    assert_eq!(call.await.unwrap().unwrap(), []);
}

#[tokio::test]
async fn a_watcher_goes_on_after_the_engine_was_restarted_and_is_told() {
    let mut bridge = Bridge::new(connect(None).await.endpoint());
    let mut events = bridge.connect().await.watch();
    let resumed = tokio::spawn(async move {
        loop {
            if events.next().await == Some(RuntimeEvent::Resumed) {
                return;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    bridge.cut();
    tokio::time::sleep(Duration::from_millis(300)).await;
    bridge.open();
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, resumed)
        .await
        .expect("it is told")
        .unwrap();
}

#[tokio::test]
async fn a_start_survives_an_engine_that_is_away_for_a_moment() {
    let mut bridge = Bridge::new(connect(None).await.endpoint());
    let runtime = bridge.connect().await;
    let mut fixture = fixture(None).await;
    fixture.runtime = Arc::new(runtime);
    let bridge = tokio::sync::Mutex::new(&mut bridge);
    suite::check(fixture, async |setting| {
        let web = setting.launch("web", &[("START_DELAY_MS", "2000")]);
        let restart = async {
            tokio::time::sleep(Duration::from_millis(1000)).await;
            let mut bridge = bridge.lock().await;
            bridge.cut();
            tokio::time::sleep(Duration::from_millis(500)).await;
            bridge.open();
        };
        let (started, ()) = tokio::join!(setting.start(&web, 1), restart);
        assert_eq!(started.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_silent_registry_is_given_up() {
    let registry = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reference = format!("{}/team/app:v1", registry.local_addr().unwrap());
    let listening = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = registry.accept().await {
            held.push(connection);
        }
    });
    let mut config = DockerConfig::new("test");
    config.pull_stall = Duration::from_secs(2);
    let runtime = DockerRuntime::connect(&config).await.unwrap();
    let cancel = CancellationToken::new();
    let error = runtime
        .pull(
            &OrganizationId::generate(),
            &reference,
            &Progress::discard(),
            &cancel,
        )
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::RegistryUnavailable, "{error:?}");
    // Given up by us, long before the engine would.
    assert!(error.message.contains("has sent nothing for 2 s"), "{error:?}");
    assert!(error.retryable);
    listening.abort();
}

#[tokio::test]
async fn a_registry_that_is_down_and_a_bad_reference_are_told_apart() {
    let runtime = connect(None).await;
    let cancel = CancellationToken::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for (reference, code) in [
        (format!("{free}/team/app:v1"), Code::RegistryUnavailable),
        ("UPPER case".to_owned(), Code::InvalidInput),
    ] {
        let error = runtime
            .pull(
                &OrganizationId::generate(),
                &reference,
                &Progress::discard(),
                &cancel,
            )
            .await
            .unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
    }
}

#[tokio::test]
async fn a_replica_that_was_made_and_never_started_is_adopted() {
    suite::check(fixture(None).await, async |setting| {
        let web = setting.launch("web", &[]);
        setting.start(&web, 1).await.unwrap();
        // Make the very same one again and do not start it, as a Nonna would
        // have left it that was killed between the two calls.
        let docker = docker(connect(None).await.endpoint());
        let name = container_name(&web);
        let seen = docker
            .inspect_container(&name, None::<InspectContainerOptions>)
            .await
            .unwrap();
        let force = RemoveContainerOptions {
            force: true,
            ..RemoveContainerOptions::default()
        };
        docker.remove_container(&name, Some(force)).await.unwrap();
        let (config, networks) = (seen.config.unwrap(), seen.network_settings.unwrap().networks);
        let body = ContainerCreateBody {
            image: config.image,
            env: config.env,
            labels: config.labels,
            host_config: seen.host_config,
            networking_config: Some(NetworkingConfig {
                endpoints_config: networks,
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions {
            name: Some(name),
            ..CreateContainerOptions::default()
        };
        let made = docker.create_container(Some(options), body).await.unwrap();
        setting.start(&web, 1).await.unwrap();
        let replicas = setting.replicas(&web).await;
        assert_eq!(replicas.len(), 1);
        assert_eq!(replicas[0].id, made.id);
        assert!(replicas[0].state.is_running());
    })
    .await;
}

#[tokio::test]
async fn what_another_installation_made_is_not_touched() {
    let mine = fixture(None).await;
    let image = mine.image.clone();
    suite::check(mine, async |setting| {
        let web = setting.launch("web", &[]);
        let docker = docker(connect(None).await.endpoint());
        let options = CreateContainerOptions {
            name: Some(container_name(&web)),
            ..CreateContainerOptions::default()
        };
        let body = ContainerCreateBody {
            image: Some(image),
            labels: Some([("nonna.installation".to_owned(), "another".to_owned())].into()),
            ..ContainerCreateBody::default()
        };
        let theirs = docker.create_container(Some(options), body).await.unwrap().id;
        let error = setting.failure(&web).await;
        setting.runtime.retire_replicas(&web.service, None).await.unwrap();
        let force = RemoveContainerOptions::default();
        let removed = docker.remove_container(&theirs, Some(force)).await;
        assert_eq!(error.code, Code::Conflict, "{error:?}");
        removed.expect("it was still there");
    })
    .await;
}

#[tokio::test]
async fn two_installations_do_not_see_each_other() {
    suite::check(fixture(None).await, async |setting| {
        let web = setting.launch("web", &[]);
        setting.start(&web, 1).await.unwrap();
        let other = connect(None).await;
        assert_eq!(other.observe_all().await.unwrap(), []);
        other.retire_replicas(&web.service, None).await.unwrap();
        other.remove_network(&setting.scope.environment).await.unwrap();
        assert!(setting.replicas(&web).await[0].state.is_running());
        assert!(setting.observe().await.network);
        let nothing = other.observe(&EnvironmentId::generate()).await.unwrap();
        assert!(!nothing.network);
    })
    .await;
}

#[tokio::test]
async fn there_are_more_networks_than_the_engine_has_of_its_own() {
    suite::check(fixture(None).await, async |setting| {
        // Docker's own pool has 31.
        let all: Vec<_> = (0..36).map(|_| setting.another()).collect();
        for one in &all {
            one.runtime.ensure_network(&one.scope).await.unwrap();
        }
        let web = all[35].launch("web", &[]);
        all[35].start(&web, 1).await.unwrap();
    })
    .await;
}
