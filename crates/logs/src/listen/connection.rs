//! Connections of any transport: accepted, counted, read with a bound of time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nonna_engine::Result;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::slots::Held;
use super::{Door, Protocol, Tasks};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A byte stream in both directions.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener, Option<Arc<ServerConfig>>),
    Unix(UnixListener),
}

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) wire: Box<dyn Wire>,
    /// Where it comes from, as a replica's name: an address, or nothing.
    pub(super) peer: String,
    held: Held,
    closing: CancellationToken,
    idle: Duration,
    message: Duration,
    /// When the message began that is not complete yet.
    begun: Option<Instant>,
}

/// Accepts until the tasks end; each connection is served as a task.
pub(super) fn accept<F, S>(tasks: &Tasks, door: Arc<Door>, protocol: Protocol, socket: Socket, serve: F)
where
    F: Fn(Arc<Door>, Connection) -> S + Send + Sync + 'static,
    S: Future<Output = Result<()>> + Send + 'static,
{
    let (closing, tracker) = (tasks.closing.clone(), tasks.tracker.clone());
    let serve = Arc::new(serve);
    tasks.tracker.spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = closing.cancelled() => return,
            };
            let (pending, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No more descriptors, most likely: some will be closed.
                    tracing::warn!(%error, protocol = protocol.name(), "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(held) = door.slots.take() else {
                door.counters.turned_away(protocol);
                tracing::warn!(%peer, protocol = protocol.name(), "too many connections: one was refused");
                continue;
            };
            door.counters.opened(protocol);
            let (door, closing, serve) = (Arc::clone(&door), closing.clone(), Arc::clone(&serve));
            tracker.spawn(async move {
                let Some(wire) = pending.open().await else {
                    door.counters.invalid(protocol);
                    tracing::debug!(%peer, protocol = protocol.name(), "a TLS handshake failed");
                    return;
                };
                let connection = Connection {
                    wire,
                    peer: peer.clone(),
                    held,
                    closing,
                    idle: door.limits.idle,
                    message: door.limits.message,
                    begun: None,
                };
                if let Err(error) = serve(door, connection).await {
                    tracing::debug!(%error, %peer, protocol = protocol.name(), "a connection was ended");
                }
            });
        }
    });
}

/// A connection whose handshake is still to come.
enum Pending {
    Plain(Box<dyn Wire>),
    Tls(TlsAcceptor, tokio::net::TcpStream),
}

impl Pending {
    async fn open(self) -> Option<Box<dyn Wire>> {
        match self {
            Self::Plain(wire) => Some(wire),
            Self::Tls(acceptor, stream) => {
                let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
                Some(Box::new(stream.ok()?.ok()?))
            }
        }
    }
}

impl Socket {
    async fn accept(&self) -> std::io::Result<(Pending, String)> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                let pending = match tls {
                    Some(config) => Pending::Tls(TlsAcceptor::from(Arc::clone(config)), stream),
                    None => Pending::Plain(Box::new(stream)),
                };
                Ok((pending, plain(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Pending::Plain(Box::new(stream)), String::new()))
            }
        }
    }
}

/// An address as people write it.
pub(super) fn plain(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// What reading found.
pub(super) enum Read {
    /// Bytes were added.
    More,
    /// The other side has sent all it will.
    End,
    /// The connection is to be closed: the process ends, it was silent for too
    /// long, its place was given away, or it broke.
    Close,
}

impl Connection {
    /// Reads some bytes to the end of the buffer. `partial`: a message has
    /// begun; it must not take longer than a message may.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>, partial: bool) -> Read {
        let deadline = if partial {
            *self.begun.get_or_insert_with(Instant::now) + self.message
        } else {
            self.begun = None;
            Instant::now() + self.idle
        };
        let room = buffer.len() + READ_BYTES;
        buffer.reserve(READ_BYTES.min(room));
        let read = tokio::select! {
            read = self.wire.read_buf(buffer) => read,
            () = self.closing.cancelled() => return Read::Close,
            () = self.held.gone() => return Read::Close,
            () = tokio::time::sleep_until(deadline) => return Read::Close,
        };
        match read {
            Ok(0) => Read::End,
            Ok(_) => Read::More,
            Err(_) => Read::Close,
        }
    }

    /// A whole message came.
    pub(super) fn active(&mut self) {
        self.begun = None;
        self.held.active();
    }

    /// Its parts, for a protocol that reads by itself.
    pub(super) fn into_parts(self) -> (Box<dyn Wire>, String, Held, CancellationToken) {
        (self.wire, self.peer, self.held, self.closing)
    }
}
