//! Listeners.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use socket2::{Domain, Protocol, Socket, Type};

use super::serve::serve;
use crate::config::Listen;
use crate::error::EdgeError;
use crate::worker::Worker;

const BACKLOG: i32 = 4096;

/// The sockets of one listening address, one a worker.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

/// Binds an address for so many workers.
pub(crate) fn bind(listen: Listen, workers: usize) -> Result<Bound, EdgeError> {
    let wanted = match &listen {
        Listen::Address(address) => *address,
        Listen::Bound(listener) => listener
            .local_addr()
            .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
    };
    let bound = match listen {
        Listen::Bound(listener) => share(listener, workers),
        Listen::Address(address) => bind_group(address, workers),
    };
    bound.map_err(|source| EdgeError::Bind {
        address: wanted,
        source,
    })
}

/// A given listener is shared: the workers take turns at its queue.
fn share(listener: TcpListener, workers: usize) -> io::Result<Bound> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(listener.try_clone()?);
    }
    sockets.push(listener);
    Ok(Bound { address, sockets })
}

/// Every worker gets a socket of its own on one address, so that the kernel
/// spreads the connections.
fn bind_group(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    // A group may be joined by any process of the same user. Binding alone
    // first shows whether somebody else is there.
    let alone = socket(address, false)?;
    alone.bind(&address.into())?;
    let address = alone
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    drop(alone);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = socket(address, true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok(Bound { address, sockets })
}

fn socket(address: SocketAddr, group: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` serves IPv4 too, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if group {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Accepts until the edge ends. Connections over the limit wait in the
/// system's queue.
pub(crate) async fn accept(worker: Rc<Worker>, listener: TcpListener, tls: bool, port: u16) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener of the edge is not usable");
            return;
        }
    };
    let mut ending = worker.ending();
    loop {
        if worker.is_full() {
            tokio::select! {
                () = worker.room.notified() => continue,
                _ = ending.wait_for(|ending| *ending) => return,
            }
        }
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let guard = worker.enter();
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    serve(&worker, stream, peer, tls, port).await;
                    drop(guard);
                });
            }
            // The client went away before we looked.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors, most likely: give others time to close.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(super::watch::TICK).await;
            }
        }
    }
}
