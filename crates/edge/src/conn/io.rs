//! The byte stream of a client connection: plain or TLS, with what the edge
//! wants to know of it on the way.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::watch::ticks;
use super::{Conn, Phase};
use crate::proxy::pages;

/// A socket, plain or TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Stream::Plain($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, data))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, data))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// Looks for a `Content-Length` line in request heads as they come in. The
/// HTTP library drops it beside a `Transfer-Encoding` and goes on; the edge
/// wants to refuse such a request, so it must know.
#[derive(Debug, Default)]
struct LengthScan {
    /// How much of the name matched in this line; `MISMATCH`: wait for the
    /// line's end.
    matched: u8,
    done: bool,
}

const LENGTH_NAME: &[u8; 15] = b"content-length:";
const MISMATCH: u8 = u8::MAX;

impl LengthScan {
    /// Scans bytes of a head. Returns whether the line was found.
    fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !self.done {
            if self.matched == MISMATCH {
                match memchr::memchr(b'\n', bytes) {
                    Some(at) => {
                        bytes = &bytes[at + 1..];
                        self.matched = 0;
                    }
                    None => return found,
                }
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                return found;
            };
            if byte == b'\n' {
                // An empty line (a lone CR counts for nothing): the end.
                self.done = true;
                return found;
            }
            bytes = rest;
            if byte == b'\r' && self.matched == 0 {
                continue;
            }
            if byte.to_ascii_lowercase() == LENGTH_NAME[usize::from(self.matched)] {
                self.matched += 1;
                if usize::from(self.matched) == LENGTH_NAME.len() {
                    found = true;
                    self.matched = MISMATCH;
                }
            } else {
                self.matched = MISMATCH;
            }
        }
        found
    }
}

/// The stream that the HTTP library reads and writes.
pub(crate) struct Io {
    stream: Stream,
    /// What was read before the protocol was known.
    prefix: Bytes,
    scan: LengthScan,
    conn: Rc<Conn>,
    /// How much of a page stands in for the library's own bare answer.
    substitute: Option<(Bytes, usize)>,
}

impl Io {
    pub(crate) fn new(stream: Stream, prefix: Bytes, conn: Rc<Conn>) -> Self {
        // The first line is the request's, not a header's.
        let scan = LengthScan {
            matched: MISMATCH,
            done: false,
        };
        Self {
            stream,
            prefix,
            scan,
            conn,
            substitute: None,
        }
    }

    fn saw(&mut self, bytes: &[u8]) {
        let conn = &*self.conn;
        let now = conn.worker.deadlines.now();
        match conn.watch.phase.get() {
            Phase::Idle => {
                conn.watch
                    .fixed(Phase::Head, now, ticks(conn.worker.shared.timeouts.header));
                self.scan = LengthScan {
                    matched: MISMATCH,
                    done: false,
                };
                conn.saw_length.set(self.scan.scan(bytes));
            }
            Phase::Head => {
                if self.scan.scan(bytes) {
                    conn.saw_length.set(true);
                }
            }
            _ => conn.watch.active(now),
        }
    }

    /// The library answers a malformed head by itself, with an empty body.
    /// People get a page instead.
    fn page_instead(&self, data: &[u8]) -> Option<Bytes> {
        if self.conn.watch.phase.get() != Phase::Head || !data.starts_with(b"HTTP/1.") {
            return None;
        }
        let code = std::str::from_utf8(data.get(9..12)?).ok()?.parse::<u16>().ok()?;
        let status = StatusCode::from_u16(code).ok()?;
        status.is_client_error().then(|| pages::raw(status))
    }

    fn poll_substitute(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        while let Some((page, sent)) = &mut self.substitute {
            if *sent >= page.len() {
                break;
            }
            match self.stream.poll_write(cx, &page[*sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => *sent += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(length))
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(_)) = result {
            self.conn.watch.active(self.conn.worker.deadlines.now());
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if !this.prefix.is_empty() {
            let count = this.prefix.len().min(buf.remaining());
            let part = this.prefix.split_to(count);
            buf.put_slice(&part);
            this.saw(&part);
            return Poll::Ready(Ok(()));
        }
        let result = this.stream.poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            let new = &buf.filled()[before..];
            if !new.is_empty() {
                this.saw(new);
            }
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.substitute.is_none()
            && let Some(page) = this.page_instead(data)
        {
            this.conn.linger.set(true);
            this.substitute = Some((page, 0));
        }
        if this.substitute.is_some() {
            return this.poll_substitute(cx, data.len());
        }
        let result = this.stream.poll_write(cx, data);
        this.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.substitute.is_none()
            && let Some(first) = data.iter().find(|part| !part.is_empty())
            && let Some(page) = this.page_instead(first)
        {
            this.conn.linger.set(true);
            this.substitute = Some((page, 0));
        }
        if this.substitute.is_some() {
            return this.poll_substitute(cx, data.iter().map(|part| part.len()).sum());
        }
        let result = this.stream.poll_write_vectored(cx, data);
        this.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream.poll_flush(cx);
        let conn = &*self.conn;
        if let Poll::Ready(Ok(())) = result
            && conn.watch.phase.get() == Phase::Flushing
        {
            let idle = ticks(conn.worker.shared.timeouts.idle);
            conn.watch.fixed(Phase::Idle, conn.worker.deadlines.now(), idle);
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(parts: &[&[u8]]) -> bool {
        let mut scan = LengthScan {
            matched: MISMATCH,
            done: false,
        };
        let mut found = false;
        for part in parts {
            // Every part must be looked at, whatever the ones before held.
            found |= scan.scan(part);
        }
        found
    }

    #[test]
    fn a_length_is_found_in_the_head_only() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nCONTENT-length: 3\r\n\r\nabc";
        assert!(found(&[head]));
        for cut in 0..head.len() {
            assert!(found(&[&head[..cut], &head[cut..]]), "cut at {cut}");
        }
        let body = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n\r\nContent-Length: 3\r\n";
        for cut in 0..body.len() {
            assert!(!found(&[&body[..cut], &body[cut..]]), "cut at {cut}");
        }
        assert!(!found(&[
            b"POST /\ncontent-lengthy: 1\nx-content-length: 2\n\ncontent-length: 4\n"
        ]));
        assert!(found(&[b"POST / HTTP/1.1\nContent-Length: 3\n\n"]));
    }
}
