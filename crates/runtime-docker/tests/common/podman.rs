//! A Podman of the tests' own: its service on a socket and with a storage
//! nobody else uses.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::ImportImageOptions;
use futures_util::{StreamExt, TryStreamExt};
use nonna_testkit::runtime::suite::Fixture;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::TEST_APP;

/// Set it where Podman cannot run.
const SKIP: &str = "NONNA_TEST_SKIP_PODMAN";
/// The service ends by itself when nobody has asked it anything for so many
/// seconds.
const IDLE_SECONDS: &str = "60";

/// What lets Podman run as root in most places: no limits raised, the runtime
/// that Docker uses too, networks of its own.
fn configuration(folder: &Path) -> String {
    format!(
        "[containers]\n\
         default_ulimits = [\"nofile=20000:20000\", \"nproc=20000:20000\"]\n\
         [engine]\n\
         runtime = \"runc\"\n\
         [network]\n\
         network_backend = \"netavark\"\n\
         network_config_dir = \"{}\"\n",
        folder.join("networks").display()
    )
}

/// Podman as an installation of which nothing exists yet; `None` if it was
/// asked not to be tested.
pub async fn fixture() -> Option<Fixture> {
    static SOCKET: OnceCell<PathBuf> = OnceCell::const_new();
    if std::env::var_os(SKIP).is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let socket = SOCKET.get_or_init(start).await;
    Some(super::fixture(Some(format!("unix://{}", socket.display()))).await)
}

async fn start() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("podman");
    let socket = folder.join("podman.sock");
    if open(&socket).await.is_none() {
        serve(&folder, &socket).await;
    }
    load_image(&socket).await;
    socket
}

async fn serve(folder: &Path, socket: &Path) {
    std::fs::create_dir_all(folder.join("networks")).unwrap();
    let config = folder.join("containers.conf");
    std::fs::write(&config, configuration(folder)).unwrap();
    let log = std::fs::File::create(folder.join("service.log")).unwrap();
    let path = |name: &str| folder.join(name).into_os_string();
    Command::new("podman")
        .env("CONTAINERS_CONF", &config)
        .args(["--root".into(), path("root"), "--runroot".into(), path("run")])
        .args(["--tmpdir".into(), path("tmp")])
        .args(["system", "service", "--time", IDLE_SECONDS])
        .arg(format!("unix://{}", socket.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        // Not of our session: it serves the next test binary as well.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|e| panic!("podman does not start ({e}): run scripts/setup-podman, or set {SKIP}=1"));
    for _ in 0..200 {
        if open(socket).await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = std::fs::read_to_string(folder.join("service.log")).unwrap_or_default();
    panic!("podman does not answer: {said}\nSet {SKIP}=1 if it cannot run here.");
}

async fn open(socket: &Path) -> Option<Docker> {
    let docker = Docker::connect_with_unix(socket.to_str()?, 120, bollard::API_DEFAULT_VERSION).ok()?;
    docker.negotiate_version().await.ok()
}

/// Takes the test app out of the Docker engine.
async fn load_image(socket: &Path) {
    let podman = open(socket).await.expect("podman answered a moment ago");
    let docker = super::connect(None).await;
    let docker = docker.endpoint().to_owned();
    let docker = Docker::connect_with_host(&docker).unwrap();
    let docker = docker.negotiate_version().await.unwrap();
    let chunks: Vec<_> = docker
        .export_image(TEST_APP)
        .try_collect()
        .await
        .unwrap_or_else(|e| panic!("{TEST_APP} is missing ({e}): run scripts/setup-images"));
    let tar = bollard::body_full(chunks.concat().into());
    let mut loaded = std::pin::pin!(podman.import_image(ImportImageOptions::default(), tar, None));
    while let Some(said) = loaded.next().await {
        said.unwrap();
    }
}
