//! What the tests against a real engine share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "these are tests, and not every one uses all of it"
)]

pub mod podman;

use std::sync::Arc;

use nonna_engine::ports::Runtime;
use nonna_model::EnvironmentId;
use nonna_runtime_docker::{DockerConfig, DockerRuntime};
use nonna_testkit::runtime::suite::Fixture;

/// Made by `scripts/setup-images`.
pub const TEST_APP: &str = "nonna-test/app:latest";

/// The engine at this endpoint (or this machine's own), as an installation of
/// which nothing exists yet.
pub async fn connect(endpoint: Option<String>) -> DockerRuntime {
    let mut config = DockerConfig::new(format!("test-{}", EnvironmentId::generate()));
    config.endpoint = endpoint;
    DockerRuntime::connect(&config)
        .await
        .unwrap_or_else(|e| panic!("no container engine for the tests ({:?}): {e}", e.provider))
}

/// The same for the suite, with the test app's image.
pub async fn fixture(endpoint: Option<String>) -> Fixture {
    let runtime = connect(endpoint).await;
    let image = runtime
        .image(TEST_APP)
        .await
        .unwrap()
        .unwrap_or_else(|| panic!("{TEST_APP} is missing: run scripts/setup-images"));
    Fixture {
        runtime: Arc::new(runtime),
        image: image.id,
    }
}
