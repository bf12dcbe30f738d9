//! Fluent's forward protocol over TCP and TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use nonna_engine::{Code, Error, Result};
use rustls::ServerConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt;

use super::connection::{Connection, Read, Socket, accept};
use super::{Door, Protocol, Tasks, bind};
use crate::protocol::Invalid;
use crate::protocol::fluent::{Handshake, message};
use crate::wire::msgpack::Scanner;

/// The service of records whose tag is empty.
const SERVICE: &str = "fluent";
/// The longest message of a client that was not let in yet.
const PING_BYTES: usize = 8 * 1024;

/// A listener of Fluent's forward protocol.
#[derive(Debug)]
pub struct Fluent {
    socket: tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    key: Option<Arc<SecretString>>,
    hostname: Arc<str>,
}

impl Fluent {
    /// Listens on an address. With a key only clients are let in that know it;
    /// `hostname` is what this server calls itself.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        key: Option<SecretString>,
        hostname: &str,
    ) -> Result<Self> {
        Ok(Self {
            socket: bind("Fluent", address)?,
            tls,
            key: key.map(Arc::new),
            hostname: hostname.into(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Serves until the tasks end.
    pub fn serve(self, door: Arc<Door>, tasks: &Tasks) {
        let (key, hostname) = (self.key, self.hostname);
        let socket = Socket::Tcp(self.socket, self.tls);
        accept(tasks, door, Protocol::Fluent, socket, move |door, connection| {
            stream(door, connection, key.clone(), Arc::clone(&hostname))
        });
    }
}

/// Messages of a connection, one after another.
struct Messages {
    buffer: Vec<u8>,
    scanner: Scanner,
    /// How long the message is that was given out last.
    given: usize,
}

impl Messages {
    /// The next message; `None` at the end of the connection.
    async fn next(&mut self, connection: &mut Connection, longest: usize) -> Result<Option<&[u8]>, Invalid> {
        self.buffer.drain(..self.given);
        self.given = 0;
        loop {
            if let Some(length) = self.scanner.scan(&self.buffer)? {
                connection.active();
                self.given = length;
                return Ok(self.buffer.get(..length));
            }
            if self.buffer.len() > longest {
                return Err(Invalid(format!("a message is longer than {longest} bytes")));
            }
            let partial = !self.buffer.is_empty();
            if !matches!(connection.read(&mut self.buffer, partial).await, Read::More) {
                return Ok(None);
            }
        }
    }
}

async fn stream(
    door: Arc<Door>,
    mut connection: Connection,
    key: Option<Arc<SecretString>>,
    hostname: Arc<str>,
) -> Result<()> {
    let mut messages = Messages {
        buffer: Vec::new(),
        scanner: Scanner::default(),
        given: 0,
    };
    if let Some(key) = key
        && !greet(&door, &mut connection, &mut messages, &key, &hostname).await?
    {
        return Ok(());
    }
    let mut collector = door.collector(SERVICE, &connection.peer);
    let longest = door.limits.body_bytes;
    loop {
        let read = match messages.next(&mut connection, longest).await {
            Ok(Some(bytes)) => {
                // Held only while it is read; whoever waits too long sends again.
                let Some(_turn) = door.turn().await else {
                    door.counters.refused(Protocol::Fluent);
                    return Ok(());
                };
                message(bytes, longest, &mut collector).map(Some)
            }
            Ok(None) => Ok(None),
            Err(invalid) => Err(invalid),
        };
        match read {
            // There is nothing to say to a client, and no telling where its
            // next message would begin.
            Err(invalid) => {
                door.counters.invalid(Protocol::Fluent);
                tracing::warn!(peer = %connection.peer, why = %invalid, "a Fluent client was cut off");
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Ok(Some(reply)) => {
                let pushed = door.pass(Protocol::Fluent, collector.take()).await?;
                match reply {
                    None => pushed.ignore(),
                    Some(reply) => {
                        // Without an acknowledgement the client sends it again.
                        pushed.kept().await?;
                        connection.wire.write_all(&reply).await.map_err(gone)?;
                    }
                }
            }
        }
    }
}

/// Shakes hands; false where the client does not know the key.
async fn greet(
    door: &Door,
    connection: &mut Connection,
    messages: &mut Messages,
    key: &SecretString,
    hostname: &str,
) -> Result<bool> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)
        .map_err(|error| Error::bug("The machine gives no random numbers.").said(error.to_string()))?;
    let handshake = Handshake::new(nonce, hostname);
    connection.wire.write_all(&handshake.helo()).await.map_err(gone)?;
    let answer = match messages.next(connection, PING_BYTES).await {
        Ok(None) => return Ok(false),
        Ok(Some(ping)) => handshake.pong(ping, key.expose_secret().as_bytes()),
        Err(invalid) => Err(invalid),
    };
    let (good, pong) = match answer {
        Ok(answer) => answer,
        Err(invalid) => {
            door.counters.unauthenticated(Protocol::Fluent);
            tracing::warn!(peer = %connection.peer, why = %invalid, "a Fluent client was not let in");
            return Ok(false);
        }
    };
    connection.wire.write_all(&pong).await.map_err(gone)?;
    if !good {
        door.counters.unauthenticated(Protocol::Fluent);
        tracing::warn!(peer = %connection.peer, "a Fluent client does not know the shared key");
        let _ = connection.wire.shutdown().await;
    }
    Ok(good)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn gone(error: std::io::Error) -> Error {
    Error::provider(Code::Timeout, "The client is gone.").said(error.to_string())
}
