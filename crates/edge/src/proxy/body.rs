//! The body of an answer, from wherever it comes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Ticket;
use crate::conn::watch::ticks;
use crate::conn::{Conn, Phase, Watch};
use crate::upstream::h1::H1Body;

/// Where a body comes from.
pub(crate) enum Source {
    /// Nothing, or nothing more.
    Empty,
    /// All of it is here.
    Full(Bytes),
    /// A replica sends it over HTTP/1.
    Http1(Box<H1Body>),
    /// A replica sends it over HTTP/2.
    Http2(Incoming),
}

/// The body of an answer. When it is dropped, the request is over.
pub(crate) struct EdgeBody {
    source: Source,
    /// `None`: somebody else has it (a tunnel).
    ticket: Option<Box<Ticket>>,
    conn: Rc<Conn>,
    watch: Rc<Watch>,
}

impl EdgeBody {
    pub(crate) fn new(source: Source, ticket: Box<Ticket>, conn: Rc<Conn>, watch: Rc<Watch>) -> Self {
        let limit = ticks(conn.worker.shared.timeouts.body);
        watch.rolling(Phase::Body, conn.worker.deadlines.now(), limit);
        let mut body = Self {
            source,
            ticket: Some(ticket),
            conn,
            watch,
        };
        if body.is_end_stream() {
            // The HTTP library does not ask for what is not there.
            body.complete();
        }
        body
    }

    /// No body, and nothing to record when it is dropped.
    pub(crate) fn silent(conn: Rc<Conn>, watch: Rc<Watch>) -> Self {
        Self {
            source: Source::Empty,
            ticket: None,
            conn,
            watch,
        }
    }

    fn complete(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            ticket.complete();
        }
    }

    fn sent(&mut self, bytes: usize) {
        if let Some(ticket) = &mut self.ticket {
            ticket.sent += bytes as u64;
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Source::Full(_) = this.source {
            let Source::Full(data) = std::mem::replace(&mut this.source, Source::Empty) else {
                return Poll::Ready(None);
            };
            this.sent(data.len());
            this.complete();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if this.watch.fired() {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        let frame = match &mut this.source {
            Source::Empty | Source::Full(_) => None,
            Source::Http1(body) => ready!(body.poll_frame(cx, &this.conn.worker, this.ticket.as_deref_mut())),
            Source::Http2(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(io::Error::other))
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                this.watch.active(this.conn.worker.deadlines.now());
                if let Some(data) = frame.data_ref() {
                    this.sent(data.len());
                }
                if this.is_end_stream() {
                    this.complete();
                }
            }
            Some(Err(_)) => {}
            None => {
                this.complete();
                this.source = Source::Empty;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Full(data) => data.is_empty(),
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(data) => SizeHint::with_exact(data.len() as u64),
            Source::Http1(body) => body.size_hint(),
            Source::Http2(body) => body.size_hint(),
        }
    }
}

impl Drop for EdgeBody {
    fn drop(&mut self) {
        if self.conn.http2.get() {
            return;
        }
        let limit = ticks(self.conn.worker.shared.timeouts.body);
        self.watch
            .rolling(Phase::Flushing, self.conn.worker.deadlines.now(), limit);
    }
}
