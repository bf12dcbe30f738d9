//! A server of fakes, and the smallest HTTP client that can talk to it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: each binary uses some, and a failure is a failed test"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nonna_engine::standalone::NoBuilder;
use nonna_server::{Config, Server, ServerHandle, ServerParts};
use nonna_store::Store;
use nonna_testkit::router::FakeRouter;
use nonna_testkit::runtime::{Behaviour, FakeRuntime};
use nonna_testkit::store::MemoryStore;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Api {
    pub server: ServerHandle,
    pub runtime: FakeRuntime,
    pub router: FakeRouter,
    pub store: Arc<dyn Store>,
    pub address: SocketAddr,
    pub token: String,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| {
            panic!("{}: {e}: {}", self.status, String::from_utf8_lossy(&self.body));
        })
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Api {
    pub async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new()), FakeRuntime::new()).await
    }

    pub async fn over(store: Arc<dyn Store>, runtime: FakeRuntime) -> Self {
        runtime.add_local_image("app:1", Behaviour::Healthy);
        runtime.add_local_image("app:2", Behaviour::Healthy);
        runtime.add_local_image("slow:1", Behaviour::Slow(Duration::from_millis(400)));
        runtime.add_local_image("stuck:1", Behaviour::Slow(Duration::from_secs(3600)));
        let router = FakeRouter::default();
        let parts = ServerParts::new(
            Arc::new(runtime.clone()),
            Arc::new(NoBuilder),
            Arc::new(router.clone()),
            Arc::clone(&store),
        );
        let config = Config {
            shutdown_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start(config, parts, listener).await.unwrap();
        let token = server.token("test").await.unwrap();
        Self {
            address: server.address(),
            server,
            runtime,
            router,
            store,
            token,
        }
    }

    pub async fn raw(&self, request: Vec<u8>) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses early closes before all is written.
        let _ = stream.write_all(&request).await;
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
        let at = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let mut body = bytes[at + 4..].to_vec();
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            body = unchunk(&body);
        }
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body,
        }
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: nonna\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut request = text.into_bytes();
        request.extend_from_slice(body);
        self.raw(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.send("GET", path, &[("Authorization", &bearer)], b"").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.send("POST", path, &headers, body.as_bytes()).await
    }

    /// Deploys an image and answers what the server said.
    pub async fn deploy(&self, place: &str, image: &str) -> Answer {
        let body = serde_json::json!({ "image": image });
        self.post(&format!("{}/deployments", path(place)), &body).await
    }

    /// Waits for a deployment's end and answers its state.
    pub async fn end_of(&self, id: &str) -> Value {
        for _ in 0..500 {
            let found = self.get(&format!("/v1/deployments/{id}")).await.json();
            if !found["finished_at"].is_null() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} does not end");
    }

    /// Deploys an image and waits until it runs.
    pub async fn deployed(&self, place: &str, image: &str) {
        let begun = self.deploy(place, image).await;
        assert!(begun.status < 300, "{}", String::from_utf8_lossy(&begun.body));
        let id = begun.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(self.end_of(&id).await["state"], "succeeded");
    }
}

/// The path of an environment: `shop/production`.
pub fn path(place: &str) -> String {
    let (project, environment) = place.split_once('/').unwrap();
    format!("/v1/projects/{project}/environments/{environment}")
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap_or("0"), 16).unwrap_or(0);
        if size == 0 || bytes.len() < end + 2 + size {
            break;
        }
        out.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    out
}
