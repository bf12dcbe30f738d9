//! Sending a request to a replica over HTTP/1, so that it can be sent again as
//! long as little of it was sent.

use std::io::{IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::Failure;
use crate::proxy::head::may_trail;

/// How much of a body is kept so that it can be sent again.
const REPLAY: usize = 64 * 1024;

/// A request on its way out.
pub(crate) struct Send {
    /// The head; small pieces between chunks come behind it.
    small: Vec<u8>,
    head: usize,
    written: usize,
    data: Bytes,
    /// What follows `data`.
    tail: &'static [u8],
    body: Option<Incoming>,
    chunked: bool,
    limit: Option<u64>,
    received: u64,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// How many of `kept` were sent on this connection.
    again: usize,
    lost: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// The client is behind, not the replica.
    starving: bool,
}

/// Why sending stopped.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The replica's connection broke.
    Replica,
    /// It is the client's doing.
    Client(Failure),
}

impl Send {
    pub(crate) fn new(head: Vec<u8>, body: Option<Incoming>, chunked: bool, limit: Option<u64>) -> Self {
        Self {
            head: head.len(),
            small: head,
            written: 0,
            data: Bytes::new(),
            tail: b"",
            ended: body.is_none(),
            body,
            chunked,
            limit,
            received: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            again: 0,
            lost: false,
            trailers: None,
            starving: false,
        }
    }

    /// All was sent.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.written == self.small.len() && self.data.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn is_starving(&self) -> bool {
        self.starving && !self.is_done()
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.small
    }

    /// Nothing was written on this connection yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Begins again from the start, if that is possible.
    pub(crate) fn rewind(&mut self) -> bool {
        if self.lost {
            return false;
        }
        self.small.truncate(self.head);
        self.written = 0;
        self.data = Bytes::new();
        self.tail = b"";
        self.again = 0;
        self.ended = self.body.is_none();
        true
    }

    /// No more can be sent on this connection: the replica answered already.
    pub(crate) fn give_up(&mut self) {
        self.ended = true;
        self.written = self.small.len();
        self.data = Bytes::new();
        self.tail = b"";
        self.lost = true;
    }

    /// Sends as much as can be sent now. Ready when all was.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut TcpStream,
        moved: &mut bool,
    ) -> Poll<Result<(), SendError>> {
        loop {
            if self.data.is_empty() && self.tail.is_empty() && !self.ended {
                self.fetch(cx).map_err(SendError::Client)?;
            }
            if self.written == self.small.len() && self.data.is_empty() && self.tail.is_empty() {
                if self.ended {
                    return Poll::Ready(Ok(()));
                }
                self.starving = true;
                return Poll::Pending;
            }
            self.starving = false;
            let written = if self.data.is_empty() && self.tail.is_empty() {
                Pin::new(&mut *io).poll_write(cx, &self.small[self.written..])
            } else {
                let parts = [
                    IoSlice::new(&self.small[self.written..]),
                    IoSlice::new(&self.data),
                    IoSlice::new(self.tail),
                ];
                Pin::new(&mut *io).poll_write_vectored(cx, &parts)
            };
            match written {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(Err(SendError::Replica)),
                Poll::Ready(Ok(count)) => {
                    *moved = true;
                    self.advance(count);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn advance(&mut self, mut count: usize) {
        let small = count.min(self.small.len() - self.written);
        self.written += small;
        count -= small;
        let data = count.min(self.data.len());
        self.data.advance(data);
        count -= data;
        self.tail = self.tail.get(count..).unwrap_or_default();
    }

    /// Gets the next piece of the body, if it is there.
    fn fetch(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let data = if let Some(kept) = self.kept.get(self.again) {
            self.again += 1;
            kept.clone()
        } else {
            let Some(body) = self.body.as_mut() else {
                return Ok(());
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    self.end();
                    return Ok(());
                }
                Poll::Ready(Some(Err(_))) => return Err(Failure::BadRequest),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.received += data.len() as u64;
                        if self.limit.is_some_and(|limit| self.received > limit) {
                            return Err(Failure::BodyTooLarge);
                        }
                        self.keep(&data);
                        data
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.end();
                        return Ok(());
                    }
                },
            }
        };
        if data.is_empty() {
            // Look again: an empty chunk would end the body.
            cx.waker().wake_by_ref();
            return Ok(());
        }
        if self.chunked {
            self.small_begin();
            let _ = write!(self.small, "{:x}\r\n", data.len());
            self.tail = b"\r\n";
        }
        self.data = data;
        Ok(())
    }

    fn keep(&mut self, data: &Bytes) {
        if self.lost {
            return;
        }
        self.kept_bytes += data.len();
        if self.kept_bytes > REPLAY {
            self.lost = true;
            self.kept = Vec::new();
            self.again = 0;
        } else {
            self.kept.push(data.clone());
            self.again += 1;
        }
    }

    /// Forgets small pieces that were sent, but never the head.
    fn small_begin(&mut self) {
        if self.written > self.head && self.written == self.small.len() {
            self.small.truncate(self.head);
            self.written = self.head;
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if !self.chunked {
            return;
        }
        self.small_begin();
        self.small.extend_from_slice(b"0\r\n");
        if let Some(trailers) = &self.trailers {
            for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
                self.small.extend_from_slice(name.as_str().as_bytes());
                self.small.extend_from_slice(b": ");
                self.small.extend_from_slice(value.as_bytes());
                self.small.extend_from_slice(b"\r\n");
            }
        }
        self.small.extend_from_slice(b"\r\n");
    }
}
