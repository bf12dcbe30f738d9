//! What the benchmark runs of its own, each as its own process: the edge, the
//! minimal proxy, and the service behind all of them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nonna_edge::observe::{AccessSink, ChannelSink};
use nonna_edge::tls::{MemoryStore, TlsConfig};
use nonna_edge::{Edge, EdgeConfig, Listen, Route, ServiceConfig};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Runs one of them until it is killed.
pub(crate) fn run(role: &str, arguments: &[String]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match (role, arguments) {
        ("service", [port]) => runtime.block_on(service(port.parse()?)),
        ("edge", [plain, tls, up, cert, key]) => {
            runtime.block_on(edge(plain.parse()?, tls.parse()?, up.parse()?, cert, key))
        }
        ("floor", [plain, tls, up, cert, key]) => {
            runtime.block_on(floor(plain.parse()?, tls.parse()?, up.parse()?, cert, key))
        }
        _ => anyhow::bail!("usage: bench-edge"),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Answers every request with 1 KB, as cheaply as can be.
async fn service(port: u16) -> anyhow::Result<()> {
    let body = "x".repeat(1024);
    let answer: Arc<[u8]> =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n{body}")
            .into_bytes()
            .into();
    // Thousands of connections come at once. Where they overflow the queue, the
    // kernel tries again after a second, and that second would be measured.
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(local(port))?;
    let listener = socket.listen(4096)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let answer = Arc::clone(&answer);
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            let mut length = 0;
            // Requests have no body, so each ends with an empty line.
            while let Ok(count @ 1..) = stream.read(buffer.get_mut(length..).unwrap_or_default()).await {
                length += count;
                if buffer
                    .get(..length)
                    .is_some_and(|head| head.ends_with(b"\r\n\r\n"))
                {
                    length = 0;
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// The edge as it is by default, access records and all, with one worker.
async fn edge(plain: u16, tls: u16, up: u16, cert: &str, key: &str) -> anyhow::Result<()> {
    let (sink, mut records) = ChannelSink::new(64);
    let edge = Edge::start(EdgeConfig {
        http: vec![Listen::Address(local(plain))],
        https: vec![Listen::Address(local(tls))],
        tls: Some(TlsConfig {
            store: Arc::new(MemoryStore::default()),
            local: None,
        }),
        threads: 1.try_into().ok(),
        redirect_https: false,
        access: Some(sink as Arc<dyn AccessSink>),
        ..EdgeConfig::default()
    })?;
    let certificates = edge.certificates().context("no TLS")?;
    certificates.set("localhost", &std::fs::read(cert)?, &std::fs::read(key)?)?;
    let config = ServiceConfig {
        routes: vec![Route::new("*", "/")],
        upstreams: vec![local(up)],
        ..ServiceConfig::default()
    };
    edge.set_service("bench", &config)?;
    // The log's side is not the edge's, but its time counts here all the same.
    while let Some(batch) = records.recv().await {
        std::hint::black_box(batch);
    }
    Ok(())
}

type Upstream = Client<HttpConnector, Incoming>;

/// The least that can be called a proxy on this foundation: hyper's server,
/// hyper-util's pooling client, nothing else.
async fn floor(plain: u16, tls: u16, up: u16, cert: &str, key: &str) -> anyhow::Result<()> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build::<_, Incoming>(connector);
    let secure = {
        let client = client.clone();
        async move {
            let listener = TcpListener::bind(local(tls)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (acceptor, client) = (acceptor.clone(), client.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, client, up).await;
                    }
                });
            }
        }
    };
    let open = async move {
        let listener = TcpListener::bind(local(plain)).await?;
        loop {
            let (stream, _): (TcpStream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, client.clone(), up));
        }
    };
    let secure: Pin<Box<dyn Future<Output = std::io::Result<Infallible>> + Send>> = Box::pin(secure);
    let open: Pin<Box<dyn Future<Output = std::io::Result<Infallible>> + Send>> = Box::pin(open);
    tokio::try_join!(secure, open)?;
    Ok(())
}

async fn serve<S>(stream: S, client: Upstream, up: u16)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Result<Uri, _> = format!("http://127.0.0.1:{up}{path}").parse();
        let client = client.clone();
        async move {
            if let Ok(uri) = uri {
                *request.uri_mut() = uri;
            }
            let response: Result<Response<Incoming>, _> = client.request(request).await;
            response
        }
    });
    // A connection that breaks is the client's affair.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
