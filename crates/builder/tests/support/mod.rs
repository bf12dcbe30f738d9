//! A builder with a folder of its own, what it said, and containers of what
//! it built. Images and containers are removed in the end.

#![allow(dead_code, reason = "each binary of tests uses some of it")]

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    ListImagesOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    StopContainerOptionsBuilder,
};
use data_encoding::HEXLOWER;
use futures_util::{StreamExt, TryStreamExt};
use nonna_builder::context::ContextStore;
use nonna_builder::{BuildKitBuilder, BuilderConfig};
use nonna_engine::event::{Event, EventKind, EventSink, Progress};
use nonna_engine::ports::Builder;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_model::context::{ContextEntry, ContextLimits, ContextManifest, EntryKind};
use nonna_model::plan::Scope;
use nonna_model::service::BuildSource;
use nonna_model::{DeploymentId, EnvironmentId, OrganizationId, ProjectId, ReleaseNumber, ServiceId, labels};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Paths and contents.
pub type Files<'a> = &'a [(&'a str, &'a str)];

/// The certificates that the machine itself trusts.
const MACHINE_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

static MARKERS: AtomicU32 = AtomicU32::new(0);

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl EventSink for Lines {
    fn emit(&self, event: Event) {
        if let EventKind::BuildOutput { line, .. } = event.kind {
            self.0.lock().unwrap().push(line);
        }
    }
}

pub struct Bench {
    _dir: tempfile::TempDir,
    contexts: ContextStore,
    pub builder: BuildKitBuilder,
    pub progress: Progress,
    lines: Arc<Lines>,
    pub service: ServiceId,
    scope: Scope,
}

impl Bench {
    pub fn new() -> Self {
        Self::open(None, "builder-tests")
    }

    /// Of an installation of its own.
    pub fn of(installation: &str) -> Self {
        Self::open(None, installation)
    }

    pub fn at(endpoint: &str) -> Self {
        Self::open(Some(endpoint.to_owned()), "builder-tests")
    }

    fn open(endpoint: Option<String>, installation: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let contexts = ContextStore::open(dir.path(), ContextLimits::default()).unwrap();
        let config = BuilderConfig {
            endpoint,
            installation: installation.into(),
            extra_ca: Some(MACHINE_CA.into()),
            ..BuilderConfig::default()
        };
        let lines = Arc::new(Lines::default());
        Self {
            builder: BuildKitBuilder::new(config, contexts.clone()).unwrap(),
            _dir: dir,
            contexts,
            progress: Progress::new(DeploymentId::generate(), 0, lines.clone()),
            lines,
            service: ServiceId::generate(),
            scope: Scope {
                organization: OrganizationId::generate(),
                project: ProjectId::generate(),
                project_name: "shop".parse().unwrap(),
                environment: EnvironmentId::generate(),
                environment_name: "test".parse().unwrap(),
            },
        }
    }

    /// A number that no other process of this machine has as an argument.
    pub fn marker(&self) -> String {
        let count = MARKERS.fetch_add(1, Ordering::Relaxed);
        format!(
            "{}",
            1_000_000 + u64::from(std::process::id()) * 100 + u64::from(count)
        )
    }

    pub fn request(&self, files: Files) -> BuildRequest {
        let mut entries = Vec::new();
        for (path, content) in files {
            let sha256 = HEXLOWER.encode(&Sha256::digest(content));
            let size = content.len() as u64;
            self.contexts
                .put_blob(&mut Cursor::new(content), &sha256, size)
                .unwrap();
            entries.push(ContextEntry {
                path: (*path).to_owned(),
                kind: EntryKind::File {
                    size,
                    sha256,
                    executable: false,
                },
            });
        }
        let context = self.contexts.commit(&ContextManifest::new(entries)).unwrap();
        BuildRequest {
            scope: self.scope.clone(),
            service: self.service.clone(),
            service_name: "web".parse().unwrap(),
            release: ReleaseNumber(1),
            cache: None,
            source: BuildSource {
                context,
                dockerfile: None,
                target: None,
                arguments: Default::default(),
                timeout_ms: None,
                overrides: Box::default(),
                secrets: Vec::new(),
            },
            port: Some(8080),
            timeout: Duration::from_secs(300),
            output_limit: 10_000_000,
            no_cache: false,
            secrets: std::collections::BTreeMap::new(),
        }
    }

    pub async fn build(&self, files: Files<'_>) -> nonna_engine::Result<BuiltImage> {
        self.go(&self.request(files)).await
    }

    pub async fn go(&self, request: &BuildRequest) -> nonna_engine::Result<BuiltImage> {
        self.lines.0.lock().unwrap().clear();
        self.builder
            .build(request, &self.progress, &CancellationToken::new())
            .await
    }

    /// What the last build printed.
    pub fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }

    pub async fn wait_for_line(&self, line: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.lines().iter().any(|l| l == line) {
            assert!(Instant::now() < deadline, "{line} never came: {:?}", self.lines());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a command of the image, or its own, and gives what it prints.
    pub async fn run(&self, image: &str, command: &[&str]) -> String {
        let docker = docker();
        let id = create(&docker, image, command).await;
        docker.start_container(&id, None).await.unwrap();
        let waited: Vec<_> = docker.wait_container(&id, None).collect().await;
        drop(waited);
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let output: Vec<LogOutput> = docker.logs(&id, Some(options)).try_collect().await.unwrap();
        remove(&docker, &id).await;
        output.iter().map(ToString::to_string).collect()
    }

    /// Starts a container of the image and waits until it answers.
    pub async fn start(&self, image: &str) -> App {
        let docker = docker();
        let id = create(&docker, image, &[]).await;
        docker.start_container(&id, None).await.unwrap();
        let shown = docker.inspect_container(&id, None).await.unwrap();
        let address = shown
            .network_settings
            .and_then(|settings| settings.networks)
            .and_then(|networks| networks.into_values().next())
            .and_then(|network| network.ip_address)
            .unwrap();
        let app = App { docker, id, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((app.address.as_str(), 8080)).await.is_err() {
            if Instant::now() > deadline {
                let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
                let output: Vec<LogOutput> = app
                    .docker
                    .logs(&app.id, Some(options))
                    .try_collect()
                    .await
                    .unwrap();
                remove(&app.docker, &app.id).await;
                panic!("it never listened: {output:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        app
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // On a thread of its own, because a test's runtime cannot be waited on.
        let service = self.service.to_string();
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let docker = docker();
                let label = format!("{}={service}", labels::IMAGE_SERVICE);
                let options = ListImagesOptionsBuilder::default()
                    .filters(&HashMap::from([("label".to_owned(), vec![label])]))
                    .build();
                for image in docker.list_images(Some(options)).await.unwrap_or_default() {
                    let force = RemoveImageOptionsBuilder::default().force(true).build();
                    let _ = docker.remove_image(&image.id, Some(force), None).await;
                }
            });
        });
        let _ = cleaned.join();
    }
}

pub struct App {
    docker: Docker,
    id: String,
    address: String,
}

impl App {
    /// The whole answer, head and body.
    pub async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect((self.address.as_str(), 8080)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The user id that its first process has.
    pub async fn user(&self) -> String {
        let shown = self.docker.inspect_container(&self.id, None).await.unwrap();
        let pid = shown.state.and_then(|state| state.pid).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Stops it and says how long that took.
    pub async fn stop(self) -> Duration {
        let begun = Instant::now();
        let options = StopContainerOptionsBuilder::default().t(10).build();
        self.docker.stop_container(&self.id, Some(options)).await.unwrap();
        let took = begun.elapsed();
        remove(&self.docker, &self.id).await;
        took
    }
}

fn docker() -> Docker {
    Docker::connect_with_defaults().unwrap()
}

/// Makes a container of an image that does not run, and gives its id.
pub async fn hold(image: &str) -> String {
    create(&docker(), image, &["true"]).await
}

/// Removes it again.
pub async fn let_go(container: &str) {
    remove(&docker(), container).await;
}

async fn create(docker: &Docker, image: &str, command: &[&str]) -> String {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: (!command.is_empty()).then(|| command.iter().map(|word| (*word).to_owned()).collect()),
        host_config: Some(HostConfig {
            init: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    docker
        .create_container(None::<bollard::query_parameters::CreateContainerOptions>, body)
        .await
        .unwrap()
        .id
}

async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(id, Some(options)).await.unwrap();
}

/// Waits until no process has this argument any more: what a build started is
/// gone in the engine too.
pub async fn gone(marker: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while running(marker) {
        assert!(Instant::now() < deadline, "the build's process is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn running(marker: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|process| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == marker.as_bytes())
        })
    })
}

/// A registry that has nothing: every question is answered with 404.
pub async fn empty_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
            });
        }
    });
    address
}

/// The files of one of the repository's examples.
pub fn example(name: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name);
    let mut files = Vec::new();
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

pub fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect()
}
