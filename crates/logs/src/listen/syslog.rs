//! Syslog over UDP, TCP and TLS.
//!
//! Syslog has no answers: over TCP and TLS a sender is held back while there is
//! no room, over UDP what does not fit is dropped, counted and told.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nonna_engine::Result;
use rustls::ServerConfig;
use socket2::{Domain, Protocol as Transport, Socket as Raw, Type};
use tokio::net::UdpSocket;

use super::connection::{Connection, Read, Socket, accept, plain};
use super::{Door, Protocol, Tasks, bind, cannot_listen};
use crate::protocol::syslog::{Clock, message};
use crate::protocol::syslog_frame::Framer;
use crate::record::MAX_RECORD_BYTES;

/// What the kernel is asked to keep while this process does something else.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// The longest datagram there is.
const DATAGRAM: usize = 65_536;
/// So many datagrams travel together, if they are there already.
const TOGETHER: usize = 512;
/// The service of messages that name none.
const SERVICE: &str = "syslog";

/// A syslog listener over UDP.
#[derive(Debug)]
pub struct SyslogUdp {
    socket: UdpSocket,
    zone: TimeZone,
}

impl SyslogUdp {
    /// Listens on an address. `zone` is the senders' where they write none.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(address: SocketAddr, zone: TimeZone) -> Result<Self> {
        let open = || {
            let socket = Raw::new(Domain::for_address(address), Type::DGRAM, Some(Transport::UDP))?;
            // As much as the kernel allows; less is no failure.
            let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            UdpSocket::from_std(socket.into())
        };
        let socket = open().map_err(|error| cannot_listen("syslog", address, &error))?;
        Ok(Self { socket, zone })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Serves until the tasks end.
    pub fn serve(self, door: Arc<Door>, tasks: &Tasks) {
        let closing = tasks.closing.clone();
        tasks.tracker.spawn(async move {
            let mut datagram = vec![0; DATAGRAM];
            loop {
                tokio::select! {
                    ready = self.socket.readable() => if let Err(error) = ready {
                        tracing::warn!(%error, "syslog datagrams cannot be received");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    },
                    () = closing.cancelled() => return,
                }
                self.receive(&door, &mut datagram);
                // Others have a turn too, however many datagrams come.
                tokio::task::yield_now().await;
            }
        });
    }

    fn receive(&self, door: &Door, datagram: &mut [u8]) {
        let mut collector = door.collector(SERVICE, "");
        let clock = Clock {
            now: Timestamp::now(),
            zone: self.zone.clone(),
        };
        let mut last = None;
        for _ in 0..TOGETHER {
            let Ok((length, peer)) = self.socket.try_recv_from(datagram) else {
                break;
            };
            if last != Some(peer.ip()) {
                last = Some(peer.ip());
                collector.set_replica(&plain(peer.ip()));
            }
            let bytes = datagram.get(..length).unwrap_or_default();
            message(bytes, &clock, 0, &mut collector);
        }
        door.offer(Protocol::Syslog, collector.take());
    }
}

/// A syslog listener over TCP, or over TLS.
#[derive(Debug)]
pub struct SyslogTcp {
    socket: tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    zone: TimeZone,
}

impl SyslogTcp {
    /// Listens on an address. `zone` is the senders' where they write none.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>, zone: TimeZone) -> Result<Self> {
        Ok(Self {
            socket: bind("syslog", address)?,
            tls,
            zone,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Serves until the tasks end.
    pub fn serve(self, door: Arc<Door>, tasks: &Tasks) {
        let zone = self.zone;
        let socket = Socket::Tcp(self.socket, self.tls);
        accept(tasks, door, Protocol::Syslog, socket, move |door, connection| {
            stream(door, connection, zone.clone())
        });
    }
}

async fn stream(door: Arc<Door>, mut connection: Connection, zone: TimeZone) -> Result<()> {
    let mut collector = door.collector(SERVICE, &connection.peer);
    let mut framer = Framer::new(MAX_RECORD_BYTES);
    let mut clock = Clock {
        now: Timestamp::now(),
        zone,
    };
    let mut buffer = Vec::new();
    loop {
        let read = connection.read(&mut buffer, framer.is_partial()).await;
        clock.now = Timestamp::now();
        framer.push(&buffer);
        buffer.clear();
        while let Some(frame) = framer.next() {
            message(&frame.bytes, &clock, frame.cut, &mut collector);
        }
        let ended = !matches!(read, Read::More);
        if ended && let Some(frame) = framer.finish() {
            message(&frame.bytes, &clock, frame.cut, &mut collector);
        }
        if !collector.is_empty() {
            connection.active();
            door.pass(Protocol::Syslog, collector.take()).await?.ignore();
        }
        if ended {
            return Ok(());
        }
    }
}
