//! Connections to the engine of our own. A build needs what a pool of
//! connections cannot give: closing this one stops that build, and the
//! session's connection changes its direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nonna_engine::Result;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::Engine;

/// The API's version of Docker 20.10, which is the oldest that is supported.
pub(super) const API: &str = "/v1.41";

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Owned(JoinHandle<()>);

impl Owned {
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection for one request. Dropped, it is closed.
pub(super) struct Connection {
    sender: http1::SendRequest<Body>,
    task: Owned,
}

impl Connection {
    pub(super) async fn open(engine: &Engine) -> Result<Self> {
        let url = engine.url();
        let stream = match url.strip_prefix("unix://") {
            Some(path) => UnixStream::connect(path).await.map(Stream::Unix),
            None => {
                let address = url
                    .trim_start_matches("tcp://")
                    .trim_start_matches("http://")
                    .trim_end_matches('/');
                TcpStream::connect(address).await.map(Stream::Tcp)
            }
        };
        let stream = stream.map_err(|error| engine.unavailable(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| engine.unavailable(&error))?;
        let task = Owned::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the container engine ended");
            }
        });
        Ok(Self { sender, task })
    }

    /// Sends the request; the connection lives as long as the second part.
    pub(super) async fn send(
        mut self,
        engine: &Engine,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Owned)> {
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|error| engine.unavailable(&error))?;
        Ok((response, self.task))
    }
}

/// A request to a path of the API.
pub(super) fn request(method: http::Method, path_and_query: &str, body: Body) -> Result<Request<Body>> {
    Request::builder()
        .method(method)
        .uri(path_and_query)
        .header(http::header::HOST, "localhost")
        .body(body)
        .map_err(|error| nonna_engine::Error::bug(format!("a request to the engine cannot be made: {error}")))
}

/// What the engine says of itself.
pub(super) async fn ping(engine: &Engine) -> Result<HeaderMap> {
    let connection = Connection::open(engine).await?;
    let request = request(http::Method::GET, "/_ping", empty())?;
    let (response, _connection) = connection.send(engine, request).await?;
    Ok(response.headers().clone())
}
