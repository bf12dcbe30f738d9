//! One exchange with a replica over HTTP/1.1, driven by the task of the client
//! connection itself: no task, no channel and no wake-up in between.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::chunked::Step;
use super::parse::{self, Framing, Head};
pub(crate) use super::send::{Send, SendError};
use super::{Answer, Failure, Tried, connect};
use crate::conn::watch::{Watch, ticks};
use crate::conn::{Conn, Phase};
use crate::proxy::head::Hop;
use crate::proxy::{Source, Ticket};
use crate::route::Service;
use crate::worker::Worker;

/// A connection to a replica.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) io: TcpStream,
    /// What was read and not used yet.
    buf: Bytes,
    /// Which replica.
    pub(crate) upstream: u64,
    /// It was idle in the pool.
    reused: bool,
    pub(crate) idle_since: u32,
}

impl Link {
    /// Whether an idle connection is still good: nothing may come by itself.
    /// Costs no system call unless something did.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.io.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads more, behind what is there. Ready with 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<io::Result<usize>> {
        // One large buffer a worker, and an exact copy of what came: nothing is
        // held by connections that wait.
        let mut scratch = worker.scratch.borrow_mut();
        let mut read = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let new = read.filled();
        if self.buf.is_empty() {
            self.buf = Bytes::copy_from_slice(new);
        } else {
            let mut both = BytesMut::with_capacity(self.buf.len() + new.len());
            both.extend_from_slice(&self.buf);
            both.extend_from_slice(new);
            self.buf = both.freeze();
        }
        Poll::Ready(Ok(new.len()))
    }
}

/// Why one attempt failed.
enum Broken {
    /// The connection ended before any byte of an answer.
    Silent,
    Other(Failure),
}

/// An answer whose head is here.
pub(crate) struct Unfinished {
    link: Box<Link>,
    head: Head,
    headers: HeaderMap,
    upgrade: bool,
}

/// Sends a request and reads the head of its answer; tries other connections
/// and replicas where nothing can have been done twice by it.
pub(crate) async fn exchange(
    conn: &Conn,
    watch: &Watch,
    ticket: &mut Ticket,
    service: &Service,
    parts: &mut Parts,
    hop: &Hop,
    send: &mut Send,
) -> Result<Unfinished, Failure> {
    let worker = &*conn.worker;
    let safe = parts.method.is_idempotent();
    let mut tried = Tried::default();
    let mut headers = HeaderMap::new();
    loop {
        let guard = tried.next(conn, service)?;
        let upstream = Arc::clone(guard.upstream());
        // The last one is let go only when the next one is counted.
        ticket.in_flight = Some(guard);
        let mut pooled = worker.pool.take(upstream.id, worker.deadlines.now(), !safe);
        loop {
            let link = match pooled.take() {
                Some(link) => link,
                None => match connect(conn, &upstream).await {
                    Some(io) => Box::new(Link {
                        io,
                        buf: Bytes::new(),
                        upstream: upstream.id,
                        reused: false,
                        idle_since: 0,
                    }),
                    None => {
                        tried.failed(&upstream, Failure::Unreachable);
                        break;
                    }
                },
            };
            let reused = link.reused;
            let mut attempt = Attempt {
                conn,
                watch,
                send: &mut *send,
                link: Some(link),
                headers: &mut headers,
            };
            let broken = match attempt.run(&parts.method).await {
                Ok((link, head)) => {
                    let upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
                    if upgrade && hop.upgrade.is_none() {
                        return Err(Failure::BadAnswer);
                    }
                    return Ok(Unfinished {
                        link,
                        head,
                        headers,
                        upgrade,
                    });
                }
                Err(broken) => broken,
            };
            match broken {
                Broken::Silent => {
                    // Whatever was written may have been acted on, so only
                    // what may be done twice is sent twice.
                    if !(safe || send.is_untouched()) || !send.rewind() {
                        return Err(Failure::BadAnswer);
                    }
                    if !reused {
                        tried.failed(&upstream, Failure::BadAnswer);
                        break;
                    }
                    // An idle connection that was just closed: a new one.
                }
                Broken::Other(failure) => return Err(failure),
            }
        }
    }
}

/// One try on one connection.
struct Attempt<'a> {
    conn: &'a Conn,
    watch: &'a Watch,
    send: &'a mut Send,
    link: Option<Box<Link>>,
    headers: &'a mut HeaderMap,
}

impl Attempt<'_> {
    async fn run(&mut self, method: &Method) -> Result<(Box<Link>, Head), Broken> {
        let head = std::future::poll_fn(|cx| self.poll(cx, method)).await?;
        match self.link.take() {
            Some(link) => Ok((link, head)),
            None => Err(Broken::Other(Failure::BadAnswer)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, Broken>> {
        let worker = &*self.conn.worker;
        let Some(link) = self.link.as_mut() else {
            return Poll::Pending;
        };
        let mut broken = false;
        if !self.send.is_done() {
            let mut moved = false;
            match self.send.poll(cx, &mut link.io, &mut moved) {
                Poll::Ready(Err(SendError::Client(failure))) => {
                    return Poll::Ready(Err(Broken::Other(failure)));
                }
                // There may be an answer all the same: 413, say.
                Poll::Ready(Err(SendError::Replica)) => broken = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if moved {
                let limit = ticks(worker.shared.timeouts.response);
                self.watch.fixed(Phase::Waiting, worker.deadlines.now(), limit);
            }
        }
        loop {
            if !link.buf.is_empty() {
                match parse::head(&link.buf, method, self.headers) {
                    Ok(Some(head)) => {
                        let _ = link.buf.split_to(head.length);
                        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                            continue;
                        }
                        if broken {
                            self.send.give_up();
                        }
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a replica's answer is not valid");
                        return Poll::Ready(Err(Broken::Other(Failure::BadAnswer)));
                    }
                }
            }
            match link.poll_fill(cx, worker) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    let silent = link.buf.is_empty();
                    let what = if silent {
                        Broken::Silent
                    } else {
                        Broken::Other(Failure::BadAnswer)
                    };
                    return Poll::Ready(Err(what));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        if self.watch.fired() {
            let late = if self.send.is_starving() {
                Failure::SlowRequest
            } else {
                Failure::SlowAnswer
            };
            return Poll::Ready(Err(Broken::Other(late)));
        }
        Poll::Pending
    }
}

impl Unfinished {
    /// Makes an answer of it. Where the body is here already, the connection
    /// goes back to the pool at once.
    pub(crate) fn finish(self, worker: &Worker, send: Send) -> Answer {
        let Self {
            mut link,
            head,
            headers,
            upgrade,
        } = self;
        if upgrade {
            worker.recycle(send.into_buffer());
            let link = *link;
            return Answer {
                status: head.status,
                headers,
                source: Source::Empty,
                tunnel: Some((link.io, link.buf)),
            };
        }
        let status = head.status;
        let done = send.is_done();
        if let Framing::Length(length) = head.framing
            && done
            && length <= link.buf.len() as u64
        {
            // It is at most the buffer's length, so it fits.
            let data = link.buf.split_to(length as usize);
            if head.keep_alive && link.buf.is_empty() {
                worker.pool.put(link, worker.deadlines.now());
            }
            worker.recycle(send.into_buffer());
            let source = if data.is_empty() {
                Source::Empty
            } else {
                Source::Full(data)
            };
            return Answer {
                status,
                headers,
                source,
                tunnel: None,
            };
        }
        let send = if done {
            worker.recycle(send.into_buffer());
            None
        } else {
            Some(send)
        };
        let body = H1Body {
            link: Some(link),
            framing: head.framing,
            keep_alive: head.keep_alive,
            send,
        };
        Answer {
            status,
            headers,
            source: Source::Http1(Box::new(body)),
            tunnel: None,
        }
    }
}

/// The body of an answer that is still coming; the rest of the request goes
/// out beside it.
pub(crate) struct H1Body {
    link: Option<Box<Link>>,
    framing: Framing,
    keep_alive: bool,
    send: Option<Send>,
}

impl H1Body {
    pub(crate) fn is_end_stream(&self) -> bool {
        self.link.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match (&self.link, self.framing) {
            (None, _) => SizeHint::with_exact(0),
            (_, Framing::Length(left)) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Rc<Worker>,
        ticket: Option<&mut Ticket>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(link) = self.link.as_mut() else {
            return Poll::Ready(None);
        };
        if let Some(send) = &mut self.send {
            let mut moved = false;
            let sent = send.poll(cx, &mut link.io, &mut moved);
            if let Some(ticket) = ticket {
                ticket.received = send.received();
            }
            match sent {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.send = None,
                Poll::Ready(Err(_)) => {
                    // The replica wants no more of it; its answer still counts.
                    self.send = None;
                    self.keep_alive = false;
                }
            }
        }
        loop {
            match &mut self.framing {
                Framing::Length(0) => {
                    self.end(worker);
                    return Poll::Ready(None);
                }
                Framing::Length(left) if !link.buf.is_empty() => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(link.buf.len());
                    let data = link.buf.split_to(count);
                    *left -= count as u64;
                    if *left == 0 {
                        self.end(worker);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Framing::Close if !link.buf.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut link.buf)))));
                }
                Framing::Chunked(decoder) => match decoder.step(&mut link.buf) {
                    Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Step::More) => {}
                    Ok(Step::End(trailers)) => {
                        self.end(worker);
                        return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    Err(error) => {
                        self.link = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Framing::Length(_) | Framing::Close => {}
            }
            match ready!(link.poll_fill(cx, worker)) {
                Ok(0) if self.framing == Framing::Close => {
                    self.link = None;
                    return Poll::Ready(None);
                }
                Ok(0) => {
                    self.link = None;
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                Ok(_) => {}
                Err(error) => {
                    self.link = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// The body is complete: the connection can serve again, if nothing is
    /// left on it.
    fn end(&mut self, worker: &Worker) {
        if let Some(link) = self.link.take()
            && self.keep_alive
            && self.send.is_none()
            && link.buf.is_empty()
        {
            worker.pool.put(link, worker.deadlines.now());
        }
    }
}

/// Idle connections to replicas, of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "a link is large, and moves in and out with every request"
    )]
    idle: std::cell::RefCell<std::collections::HashMap<u64, Vec<Box<Link>>>>,
}

/// The most idle connections that are kept to one replica.
const IDLE: usize = 1024;
/// What must not be sent twice is not sent on a connection that idled longer
/// than this many ticks: the replica might be closing it at this moment.
const RECENT: u32 = 10;

impl Pool {
    /// The connection that was used last, if it is still good.
    fn take(&self, upstream: u64, now: u32, recent: bool) -> Option<Box<Link>> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(&upstream)?;
        while let Some(mut link) = links.pop() {
            if recent && link.idle_since + RECENT < now {
                links.push(link);
                return None;
            }
            if link.is_fresh() {
                link.reused = true;
                return Some(link);
            }
        }
        None
    }

    fn put(&self, link: Box<Link>, now: u32) {
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(link.upstream).or_default();
        if links.len() < IDLE {
            let mut link = link;
            link.idle_since = now;
            link.buf = Bytes::new();
            links.push(link);
        }
    }

    /// Closes what is too old, was closed by the replica, or belongs to a
    /// replica that is not `wanted` any more. Returns how many are left.
    pub(crate) fn sweep(&self, oldest: u32, wanted: impl Fn(u64) -> bool) -> usize {
        let mut left = 0;
        self.idle.borrow_mut().retain(|upstream, links| {
            if wanted(*upstream) {
                links.retain(|link| link.idle_since >= oldest && link.is_fresh());
            } else {
                links.clear();
            }
            left += links.len();
            !links.is_empty()
        });
        left
    }
}
