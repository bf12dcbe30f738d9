//! Exchanges with replicas that speak HTTP/2 without TLS (gRPC): one
//! connection a worker and replica, for all requests.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderName, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;

use super::{Answer, Failure, Tried, connect};
use crate::conn::Conn;
use crate::conn::watch::{Watch, ticks};
use crate::proxy::head::{self, Hop, is_hop_of_answer};
use crate::proxy::{Source, Ticket};
use crate::route::{Service, Upstream};
use crate::worker::Worker;

const WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// A request's body on its way to a replica.
pub(crate) struct RequestBody {
    incoming: Incoming,
    shared: Rc<Sent>,
    limit: Option<u64>,
}

#[derive(Debug, Default)]
struct Sent {
    bytes: Cell<u64>,
    too_large: Cell<bool>,
    touched: Cell<bool>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.shared.touched.set(true);
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let bytes = self.shared.bytes.get() + data.len() as u64;
            self.shared.bytes.set(bytes);
            if self.limit.is_some_and(|limit| bytes > limit) {
                self.shared.too_large.set(true);
                return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into())));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// HTTP/2 connections to replicas, of one worker.
#[derive(Debug, Default)]
pub(crate) struct Links(RefCell<HashMap<u64, SendRequest<RequestBody>>>);

impl Links {
    fn get(&self, upstream: u64) -> Option<SendRequest<RequestBody>> {
        let mut links = self.0.borrow_mut();
        let link = links.get(&upstream)?;
        if link.is_closed() {
            links.remove(&upstream);
            return None;
        }
        Some(link.clone())
    }

    /// Closes what is not wanted. Returns how many are left.
    pub(crate) fn sweep(&self, wanted: impl Fn(u64) -> bool) -> usize {
        let mut links = self.0.borrow_mut();
        links.retain(|upstream, link| wanted(*upstream) && !link.is_closed());
        links.len()
    }
}

#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn link(conn: &Conn, upstream: &Upstream) -> Option<SendRequest<RequestBody>> {
    let worker: &Worker = &conn.worker;
    if let Some(link) = worker.h2_links.get(upstream.id) {
        return Some(link);
    }
    let stream = connect(conn, upstream).await?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP/2 connection to a replica ended");
        }
    });
    worker.h2_links.0.borrow_mut().insert(upstream.id, sender.clone());
    Some(sender)
}

/// Sends a request and awaits the head of its answer.
#[allow(clippy::too_many_arguments)] // One call; a struct would only name them twice.
pub(crate) async fn exchange(
    conn: &Rc<Conn>,
    watch: &Rc<Watch>,
    ticket: &mut Ticket,
    service: &Service,
    parts: &mut Parts,
    body: Incoming,
    host: &str,
    hop: &Hop,
    limit: Option<u64>,
) -> Result<Answer, Failure> {
    let mut outgoing = request_parts(conn, parts, host, hop, ticket)?;
    let shared = Rc::new(Sent::default());
    let mut body = RequestBody {
        incoming: body,
        shared: Rc::clone(&shared),
        limit,
    };
    let mut tried = Tried::default();
    let mut renewed = false;
    loop {
        let guard = tried.next(conn, service)?;
        let upstream = std::sync::Arc::clone(guard.upstream());
        ticket.in_flight = Some(guard);
        let Some(mut sender) = link(conn, &upstream).await else {
            tried.failed(&upstream, Failure::Unreachable);
            continue;
        };
        let request = Request::from_parts(outgoing, body);
        let result = {
            let mut answer = pin!(sender.try_send_request(request));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(result) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(result));
                }
                if watch.fired() {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            })
            .await
        };
        ticket.received = shared.bytes.get();
        match result {
            None => return Err(Failure::SlowAnswer),
            Some(Ok(response)) => return Ok(answer(response)),
            Some(Err(mut error)) => {
                if shared.too_large.get() {
                    return Err(Failure::BodyTooLarge);
                }
                worker_forget(conn, &upstream);
                let Some(request) = error.take_message().filter(|_| !shared.touched.get()) else {
                    return Err(Failure::BadAnswer);
                };
                // It was never sent: once more on a new connection, then
                // elsewhere.
                (outgoing, body) = request.into_parts();
                if renewed {
                    tried.failed(&upstream, Failure::BadAnswer);
                }
                renewed = true;
                watch.fixed(
                    crate::conn::Phase::Waiting,
                    conn.worker.deadlines.now(),
                    ticks(conn.worker.shared.timeouts.response),
                );
            }
        }
    }
}

fn worker_forget(conn: &Conn, upstream: &Upstream) {
    conn.worker.h2_links.0.borrow_mut().remove(&upstream.id);
}

fn request_parts(
    conn: &Conn,
    parts: &mut Parts,
    host: &str,
    hop: &Hop,
    ticket: &Ticket,
) -> Result<Parts, Failure> {
    // The page for a failure is chosen by what the client accepts.
    let accept = parts.headers.get(header::ACCEPT).cloned();
    head::edit(conn, parts, host, hop, &ticket.request_id);
    let mut outgoing = Request::new(()).into_parts().0;
    outgoing.method = parts.method.clone();
    outgoing.version = Version::HTTP_2;
    outgoing.headers = std::mem::take(&mut parts.headers);
    if let Some(accept) = accept {
        parts.headers.insert(header::ACCEPT, accept);
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(Authority::try_from(host).map_err(|_| Failure::BadRequest)?);
    uri.path_and_query = Some(
        parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
    );
    outgoing.uri = Uri::from_parts(uri).map_err(|_| Failure::BadRequest)?;
    Ok(outgoing)
}

fn answer(response: Response<Incoming>) -> Answer {
    let (mut parts, body) = response.into_parts();
    let hops: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| is_hop_of_answer(name.as_str()))
        .cloned()
        .collect();
    for name in hops {
        parts.headers.remove(name);
    }
    let source = if body.is_end_stream() {
        Source::Empty
    } else {
        Source::Http2(body)
    };
    Answer {
        status: parts.status,
        headers: parts.headers,
        source,
        tunnel: None,
    }
}
