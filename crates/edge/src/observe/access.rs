//! Access records: one for every request, typed, given away in batches.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

/// What a client spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// As in an access log: `HTTP/1.1`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What a request is known by: given by the client, or made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    /// Made here; shown as 32 hexadecimal digits.
    Made(u128),
    /// Given by the client (or a proxy in front).
    Given(Box<str>),
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Made(id) => write!(f, "{id:032x}"),
            Self::Given(id) => f.write_str(id),
        }
    }
}

/// One request that was answered.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// When the request came: milliseconds since 1970, UTC.
    pub at: i64,
    /// From its head to the last byte of the answer.
    pub duration: Duration,
    /// The service's label; `None` where no route matched.
    pub service: Option<Arc<str>>,
    /// The replica that answered.
    pub upstream: Option<SocketAddr>,
    /// Who asked, as far as trusted.
    pub client: IpAddr,
    /// The request's id, as passed on in `X-Request-Id`.
    pub request_id: RequestId,
    /// The method.
    pub method: http::Method,
    /// The answer's status.
    pub status: u16,
    /// What the client spoke.
    pub version: HttpVersion,
    /// Over TLS.
    pub tls: bool,
    /// Bytes of the request's body that were passed on.
    pub received: u64,
    /// Bytes of the answer's body that were sent.
    pub sent: u64,
    /// The answer was cut before its end.
    pub aborted: bool,
    pub(crate) text: Box<str>,
    pub(crate) host_end: u32,
    pub(crate) path_end: u32,
}

impl AccessRecord {
    /// The host that was asked for.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.get(..self.host_end as usize).unwrap_or_default()
    }

    /// The path and query that were asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text
            .get(self.host_end as usize..self.path_end as usize)
            .unwrap_or_default()
    }

    /// What the client calls itself; empty where it does not say.
    #[must_use]
    pub fn user_agent(&self) -> &str {
        self.text.get(self.path_end as usize..).unwrap_or_default()
    }
}

/// Takes access records. Called on the edge's own threads: it must return at
/// once and never block; what it cannot take it drops and counts.
pub trait AccessSink: Send + Sync + std::fmt::Debug {
    /// Takes a batch of records, in the order in which the requests ended on
    /// one worker.
    fn accept(&self, batch: Vec<AccessRecord>);

    /// How many records were dropped so far.
    fn dropped(&self) -> u64;
}

/// A sink that passes batches on through a bounded channel.
#[derive(Debug)]
pub struct ChannelSink {
    sender: mpsc::Sender<Vec<AccessRecord>>,
    dropped: AtomicU64,
}

impl ChannelSink {
    /// A sink and the end to read from; at most `batches` (of up to 128
    /// records each) wait in between.
    #[must_use]
    pub fn new(batches: usize) -> (Arc<Self>, mpsc::Receiver<Vec<AccessRecord>>) {
        let (sender, receiver) = mpsc::channel(batches.max(1));
        (
            Arc::new(Self {
                sender,
                dropped: AtomicU64::new(0),
            }),
            receiver,
        )
    }
}

impl AccessSink for ChannelSink {
    fn accept(&self, batch: Vec<AccessRecord>) {
        let count = batch.len() as u64;
        if self.sender.try_send(batch).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
