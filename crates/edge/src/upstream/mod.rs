//! Towards the replicas: connections, pools, retries.

pub(crate) mod chunked;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod parse;
pub(crate) mod send;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpStream;

use crate::conn::Conn;
use crate::proxy::Source;
use crate::proxy::pages::Reason;
use crate::route::{InFlight, Service, Upstream};

/// What a replica answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) source: Source,
    /// The connection and what was read of it, where it became a tunnel.
    pub(crate) tunnel: Option<(TcpStream, Bytes)>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The service has no replica.
    NoReplica,
    /// No replica accepts connections.
    Unreachable,
    /// The replica closed the connection, or sent nonsense.
    BadAnswer,
    /// The replica took too long.
    SlowAnswer,
    /// The client took too long to send its request.
    SlowRequest,
    /// The client sent a larger body than it may.
    BodyTooLarge,
    /// The client's body broke off.
    BadRequest,
}

impl Failure {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::NoReplica => Reason::NoReplica,
            Self::Unreachable => Reason::Unreachable,
            Self::BadAnswer => Reason::BadAnswer,
            Self::SlowAnswer => Reason::SlowAnswer,
            Self::SlowRequest => Reason::SlowRequest,
            Self::BodyTooLarge => Reason::BodyTooLarge,
            Self::BadRequest => Reason::BadRequest,
        }
    }
}

/// The replicas that were tried for one request.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    ids: Vec<u64>,
    last: Option<Failure>,
}

impl Tried {
    /// The next replica to try.
    pub(crate) fn next(&self, conn: &Conn, service: &Service) -> Result<InFlight, Failure> {
        let worker = &conn.worker;
        service
            .pick(worker.turn(), worker.deadlines.now(), &self.ids)
            .ok_or(self.last.unwrap_or(Failure::NoReplica))
    }

    pub(crate) fn failed(&mut self, upstream: &Upstream, failure: Failure) {
        self.ids.push(upstream.id);
        self.last = Some(failure);
    }
}

/// Connects to a replica. One that refuses is left out for a while.
pub(crate) async fn connect(conn: &Conn, upstream: &Upstream) -> Option<TcpStream> {
    let worker = &conn.worker;
    let connecting = TcpStream::connect(upstream.address);
    match tokio::time::timeout(worker.shared.timeouts.connect, connecting).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            upstream.accepted();
            Some(stream)
        }
        Ok(Err(_)) | Err(_) => {
            worker.deadlines.update();
            upstream.refused(worker.deadlines.now());
            None
        }
    }
}
