//! Upgraded connections: bytes both ways until both sides are done.

use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Conn;
use super::io::Io;
use super::watch::ticks;
use crate::conn::Phase;
use crate::proxy::Ticket;

const BUFFER: usize = 8 * 1024;

/// The replica's side of an upgraded connection.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) upstream: TcpStream,
    /// What the replica sent after its answer's head.
    pub(crate) early: Bytes,
    pub(crate) ticket: Box<Ticket>,
}

impl Tunnel {
    /// Copies until both sides have ended, one failed, or nothing moved for
    /// too long.
    pub(crate) async fn run(self, conn: &Rc<Conn>, mut client: Io, read_ahead: Bytes) {
        let Self {
            mut upstream,
            early,
            mut ticket,
        } = self;
        let limit = ticks(conn.worker.shared.timeouts.tunnel);
        conn.watch
            .rolling(Phase::Tunnel, conn.worker.deadlines.now(), limit);
        let before = (early.len() as u64, read_ahead.len() as u64);
        // Reads and writes of the client's side keep the watch going.
        let copied = {
            let copy = async {
                if !read_ahead.is_empty() {
                    upstream.write_all(&read_ahead).await?;
                }
                if !early.is_empty() {
                    client.write_all(&early).await?;
                    client.flush().await?;
                }
                tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await
            };
            tokio::pin!(copy);
            std::future::poll_fn(|cx| {
                conn.watch.register(cx);
                if conn.watch.fired() || conn.worker.aborting() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                copy.as_mut().poll(cx)
            })
            .await
        };
        if let Ok((received, sent)) = copied {
            ticket.received += received + before.1;
            ticket.sent += sent + before.0;
            ticket.complete();
        }
    }
}
