//! Client connections: accepting them, TLS, HTTP/1 or HTTP/2, their deadlines,
//! and tunnels.

mod io;
mod listen;
mod serve;
mod tunnel;
pub(crate) mod watch;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

pub(crate) use io::Stream;
pub(crate) use listen::{accept, bind};
pub(crate) use tunnel::Tunnel;
pub(crate) use watch::{Deadlines, Watch};

use crate::worker::Worker;

/// What a connection is at. Its deadline means something else in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// TLS handshake, or no byte yet.
    Opening,
    /// Between two requests.
    Idle,
    /// Some bytes of a request's head were read.
    Head,
    /// A request was sent on, its answer's head is awaited.
    Waiting,
    /// The answer's body is under way.
    Body,
    /// The answer is complete, but perhaps not flushed.
    Flushing,
    /// Several requests at once, each with its own watch (HTTP/2).
    Many,
    /// An upgraded connection.
    Tunnel,
}

/// One client connection: what its parts share.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) http2: Cell<bool>,
    /// The port that clients know this listener by.
    pub(crate) port: u16,
    /// The peer is a proxy whose forwarding headers are believed.
    pub(crate) trusted: bool,
    /// The forwarding headers that are the same for every request: complete
    /// lines, then the beginning of `forwarded:`.
    pub(crate) forwarded: Vec<u8>,
    pub(crate) watch: Rc<Watch>,
    /// HTTP/2: streams under way.
    pub(crate) streams: Cell<u32>,
    /// HTTP/2: the watch of the stream whose task is about to be spawned.
    pub(crate) next_stream: RefCell<Option<Rc<Watch>>>,
    /// What to do when the HTTP/1 connection ends with an upgrade.
    pub(crate) tunnel: RefCell<Option<Box<Tunnel>>>,
    /// Read what the client still sends before closing, so that it can read
    /// the answer.
    pub(crate) linger: Cell<bool>,
    /// The request's head names both a length and an encoding.
    pub(crate) saw_length: Cell<bool>,
}

impl Conn {
    pub(crate) fn client(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }
}
