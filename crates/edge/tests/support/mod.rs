//! What the edge's tests share: an edge on free ports, replicas that do as
//! they are told, and clients that send exactly what a test says.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nonna_edge::{Edge, EdgeConfig, EdgeHandle, Listen, Protocol, Route, ServiceConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const HOST: &str = "app.test";

/// A listener on a free port, as an edge takes it.
pub fn listen() -> Listen {
    Listen::Bound(std::net::TcpListener::bind("127.0.0.1:0").unwrap())
}

/// An edge with one plain listener.
pub fn edge(change: impl FnOnce(&mut EdgeConfig)) -> (EdgeHandle, SocketAddr) {
    let mut config = EdgeConfig {
        http: vec![listen()],
        threads: 2.try_into().ok(),
        ..EdgeConfig::default()
    };
    change(&mut config);
    let edge = Edge::start(config).unwrap();
    let address = edge.http_addresses()[0];
    (edge, address)
}

/// A service of all paths of [`HOST`].
pub fn service(upstreams: &[SocketAddr]) -> ServiceConfig {
    ServiceConfig {
        label: "shop/production/web".into(),
        routes: vec![Route::new(HOST, "/")],
        upstreams: upstreams.to_vec(),
        protocol: Protocol::Http1,
        ..ServiceConfig::default()
    }
}

/// An edge in front of these replicas.
pub fn edge_to(upstreams: &[SocketAddr]) -> (EdgeHandle, SocketAddr) {
    let (edge, address) = edge(|_| {});
    edge.set_service("web", &service(upstreams)).unwrap();
    (edge, address)
}

/// A request as a replica got it.
#[derive(Debug, Clone, Default)]
pub struct Got {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(have, _)| have == name);
        let first = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} came twice: {:?}", self.headers);
        first
    }
}

/// A replica that answers each request with what the function says; `None`:
/// it closes the connection.
pub async fn replica<F>(answer: F) -> Replica
where
    F: Fn(Got) -> Option<Vec<u8>> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let answer = Arc::new(answer);
    let counted = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            all.spawn(async move {
                let mut buffer = Vec::new();
                while let Some(got) = read_request(&mut stream, &mut buffer).await {
                    let Some(bytes) = answer(got) else { return };
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Replica {
        address,
        connections,
        task,
    }
}

/// A running replica; it ends when this is dropped.
pub struct Replica {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A replica that handles each connection itself.
pub async fn raw_replica<F, T>(serve: F) -> Replica
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            all.spawn(serve(stream));
        }
    });
    Replica {
        address,
        connections,
        task,
    }
}

/// An answer with a body.
pub fn ok(body: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let body = body.as_ref();
    let mut out = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    Some(out)
}

/// Reads a whole request, keeping what comes behind it.
pub async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<Got> {
    let head = read_head(stream, buffer).await?;
    let mut got = parse(&head);
    if got.header("transfer-encoding").is_some() {
        loop {
            let line = read_line(stream, buffer).await?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let chunk = read_exact(stream, buffer, size).await?;
            got.body.extend_from_slice(&chunk);
            if size == 0 {
                loop {
                    let line = read_line(stream, buffer).await?;
                    let Some((name, value)) = line.trim().split_once(':') else {
                        break;
                    };
                    got.headers
                        .push((format!("trailer {}", name.trim()), value.trim().to_owned()));
                }
                break;
            }
            read_line(stream, buffer).await?;
        }
    } else if let Some(length) = got.header("content-length") {
        let length = length.parse().ok()?;
        got.body = read_exact(stream, buffer, length).await?;
    }
    Some(got)
}

fn parse(head: &[u8]) -> Got {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Got {
        line,
        headers,
        body: Vec::new(),
    }
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(buffer).await.ok()? > 0).then_some(())
}

pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = buffer.split_off(end + 4);
            return Some(std::mem::replace(buffer, rest));
        }
        more(stream, buffer).await?;
    }
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let rest = buffer.split_off(end + 1);
            return String::from_utf8(std::mem::replace(buffer, rest)).ok();
        }
        more(stream, buffer).await?;
    }
}

async fn read_exact<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    let rest = buffer.split_off(length);
    Some(std::mem::replace(buffer, rest))
}

/// An answer as a client got it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub trailers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client connection that keeps what it read too much.
pub struct Client<S = TcpStream> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads an answer; `None` where the connection ends instead.
    pub async fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET").await
    }

    pub async fn answer_to(&mut self, method: &str) -> Option<Answer> {
        let got = parse(&read_head(&mut self.stream, &mut self.buffer).await?);
        let status: u16 = got.line.split(' ').nth(1)?.parse().ok()?;
        let headers: BTreeMap<_, _> = got.headers.iter().cloned().collect();
        let mut answer = Answer {
            status,
            headers,
            ..Answer::default()
        };
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Some(answer);
        }
        if answer.headers.contains_key("transfer-encoding") {
            loop {
                let line = read_line(&mut self.stream, &mut self.buffer).await?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                if size == 0 {
                    loop {
                        let line = read_line(&mut self.stream, &mut self.buffer).await?;
                        let Some((name, value)) = line.trim().split_once(':') else {
                            return Some(answer);
                        };
                        answer
                            .trailers
                            .insert(name.to_ascii_lowercase(), value.trim().to_owned());
                    }
                }
                answer
                    .body
                    .extend(read_exact(&mut self.stream, &mut self.buffer, size).await?);
                read_line(&mut self.stream, &mut self.buffer).await?;
            }
        } else if let Some(length) = answer.headers.get("content-length") {
            let length = length.parse().ok()?;
            answer.body = read_exact(&mut self.stream, &mut self.buffer, length).await?;
        } else {
            while more(&mut self.stream, &mut self.buffer).await.is_some() {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Some(answer)
    }

    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        soon(self.answer()).await.expect("an answer")
    }
}

/// Asks once, on a connection of its own.
pub async fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    Client::connect(address).await.ask(bytes).await
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await
}

/// Fails where something takes suspiciously long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("it took longer than 10 s")
}
