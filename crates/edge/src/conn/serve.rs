//! One client connection from its first byte to its last.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::io::{Io, Stream};
use super::watch::ticks;
use super::{Conn, Phase, Watch};
use crate::proxy::{forwarded, handle, pages};
use crate::worker::Worker;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const H2_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const H2_PING: Duration = Duration::from_secs(60);
/// How much, and how long, a client may go on sending to a request that was
/// refused, before the connection is closed in its face.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// Serves a connection that was accepted.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, tls: bool, port: u16) {
    let watch = Watch::new(Phase::Opening);
    worker.watch(&watch);
    watch.fixed(
        Phase::Opening,
        worker.deadlines.now(),
        ticks(worker.shared.timeouts.header),
    );
    let opening = async {
        if tls {
            // Boxed: a handshake's state is large, and soon gone.
            let tls = worker.shared.tls.as_ref()?;
            Box::pin(tls.accept(stream)).await
        } else {
            open_plain(stream).await
        }
    };
    let Some((stream, prefix, http2)) = in_time(worker, &watch, opening).await else {
        return;
    };
    let trusted = worker.shared.trusts(peer.ip());
    let mut conn = Conn {
        worker: Rc::clone(worker),
        peer,
        tls,
        http2: std::cell::Cell::new(http2),
        port,
        trusted,
        forwarded: Vec::new(),
        watch,
        streams: std::cell::Cell::new(0),
        next_stream: std::cell::RefCell::default(),
        tunnel: std::cell::RefCell::default(),
        linger: std::cell::Cell::new(false),
        saw_length: std::cell::Cell::new(false),
    };
    conn.forwarded = forwarded::of_connection(&conn);
    let conn = Rc::new(conn);
    let io = Io::new(stream, prefix, Rc::clone(&conn));
    if http2 {
        serve_h2(conn, io).await;
    } else {
        serve_h1(conn, io).await;
    }
}

/// Runs a future until the watch fires or the edge ends.
async fn in_time<T>(worker: &Worker, watch: &Watch, future: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::pin!(future);
    std::future::poll_fn(|cx| {
        watch.register(cx);
        if watch.fired() || worker.aborting() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx)
    })
    .await
}

/// Reads the first bytes, which tell HTTP/1 from HTTP/2.
async fn open_plain(mut stream: TcpStream) -> Option<(Stream, Bytes, bool)> {
    let mut first = [0; 2048];
    let mut length = 0;
    loop {
        let count = stream.read(first.get_mut(length..)?).await.ok()?;
        if count == 0 {
            return None;
        }
        length += count;
        let seen = &first[..length.min(H2_PREFACE.len())];
        if !H2_PREFACE.starts_with(seen) {
            return Some((
                Stream::Plain(stream),
                Bytes::copy_from_slice(&first[..length]),
                false,
            ));
        }
        if seen.len() == H2_PREFACE.len() {
            return Some((
                Stream::Plain(stream),
                Bytes::copy_from_slice(&first[..length]),
                true,
            ));
        }
    }
}

async fn serve_h1(conn: Rc<Conn>, io: Io) {
    let worker = Rc::clone(&conn.worker);
    conn.watch.fixed(
        Phase::Idle,
        worker.deadlines.now(),
        ticks(worker.shared.timeouts.header),
    );
    let service = {
        let conn = Rc::clone(&conn);
        service_fn(move |request| {
            let watch = Rc::clone(&conn.watch);
            handle(Rc::clone(&conn), watch, request)
        })
    };
    let mut http = worker.http1.serve_connection(TokioIo::new(io), service);
    let mut told = false;
    let ended = std::future::poll_fn(|cx| {
        let watch = &conn.watch;
        watch.register(cx);
        if watch.fired() {
            match watch.phase.get() {
                Phase::Waiting => {}
                Phase::Head => return Poll::Ready(End::SlowHead),
                _ => return Poll::Ready(End::Cut),
            }
        }
        if worker.is_ending() {
            if worker.aborting() {
                return Poll::Ready(End::Cut);
            }
            if !told {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
        }
        Pin::new(&mut http).poll(cx).map(|result| match result {
            Ok(()) => End::Done,
            Err(_) => End::Failed,
        })
    })
    .await;
    if matches!(ended, End::Cut) {
        return;
    }
    let tunnel = conn.tunnel.take();
    let parts = http.into_parts();
    let mut io = parts.io.into_inner();
    drop(parts.service);
    match (ended, tunnel) {
        (End::Done, Some(tunnel)) => Box::pin(tunnel.run(&conn, io, parts.read_buf)).await,
        (End::SlowHead, _) => {
            let page = pages::raw(StatusCode::REQUEST_TIMEOUT);
            conn.watch
                .fixed(Phase::Opening, worker.deadlines.now(), ticks(LINGER));
            let farewell = async {
                let _ = io.write_all(&page).await;
                let _ = io.shutdown().await;
                Some(())
            };
            in_time(&worker, &conn.watch, farewell).await;
        }
        _ if conn.linger.get() => linger(&conn, io).await,
        _ => {}
    }
}

enum End {
    Done,
    Failed,
    SlowHead,
    Cut,
}

/// Reads away what the client still sends, so that it gets to read the answer
/// instead of a reset.
async fn linger(conn: &Conn, mut io: Io) {
    conn.watch
        .fixed(Phase::Opening, conn.worker.deadlines.now(), ticks(LINGER));
    let reading = Box::pin(async {
        let mut left = LINGER_BYTES;
        let mut sink = [0; 4096];
        let _ = io.shutdown().await;
        while let Ok(count) = io.read(&mut sink).await {
            if count == 0 || left < count {
                break;
            }
            left -= count;
        }
        Some(())
    });
    in_time(&conn.worker, &conn.watch, reading).await;
}

async fn serve_h2(conn: Rc<Conn>, io: Io) {
    let worker = Rc::clone(&conn.worker);
    let idle = ticks(worker.shared.timeouts.idle);
    conn.watch.rolling(Phase::Many, worker.deadlines.now(), idle);
    let service = {
        let conn = Rc::clone(&conn);
        service_fn(move |request| {
            let watch = Watch::new(Phase::Waiting);
            conn.worker.watch(&watch);
            *conn.next_stream.borrow_mut() = Some(Rc::clone(&watch));
            handle(Rc::clone(&conn), watch, request)
        })
    };
    let limits = &worker.shared.limits;
    let http = hyper::server::conn::http2::Builder::new(StreamExecutor(Rc::clone(&conn)))
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .keep_alive_interval(H2_PING)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(http);
    let mut told = false;
    std::future::poll_fn(|cx| {
        conn.watch.register(cx);
        if worker.aborting() {
            return Poll::Ready(());
        }
        let late = conn.watch.fired();
        if late && conn.streams.get() > 0 {
            // Requests under way have watches of their own.
            conn.watch.rolling(Phase::Many, worker.deadlines.now(), idle);
        } else if late && told {
            return Poll::Ready(());
        }
        if (late || worker.is_ending()) && !told && conn.streams.get() == 0 || (worker.is_ending() && !told) {
            told = true;
            http.as_mut().graceful_shutdown();
            conn.watch.rolling(Phase::Many, worker.deadlines.now(), idle);
        }
        http.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// Spawns the tasks of a connection's streams on this worker.
#[derive(Clone)]
struct StreamExecutor(Rc<Conn>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let conn = Rc::clone(&self.0);
        let Some(watch) = conn.next_stream.borrow_mut().take() else {
            tokio::task::spawn_local(future);
            return;
        };
        conn.streams.set(conn.streams.get() + 1);
        tokio::task::spawn_local(StreamTask {
            future: Box::pin(future),
            watch,
            conn,
        });
    }
}

/// A stream that is reset when its body stalls: dropping its future does it.
struct StreamTask<F> {
    future: Pin<Box<F>>,
    watch: Rc<Watch>,
    conn: Rc<Conn>,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.register(cx);
        if self.watch.fired() && self.watch.phase.get() == Phase::Body {
            return Poll::Ready(());
        }
        self.future.as_mut().poll(cx)
    }
}

impl<F> Drop for StreamTask<F> {
    fn drop(&mut self) {
        let conn = &self.conn;
        conn.streams.set(conn.streams.get().saturating_sub(1));
        conn.watch.active(conn.worker.deadlines.now());
    }
}
