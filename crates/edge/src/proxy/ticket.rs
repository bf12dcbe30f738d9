//! What is kept of a request until it is answered to the end: then it is
//! counted and recorded.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Version, header, request::Parts};

use crate::conn::Conn;
use crate::observe::{AccessRecord, HttpVersion, RequestId};
use crate::route::{InFlight, Service};
use crate::worker::Worker;

/// The longest user agent that is kept, in bytes.
const USER_AGENT: usize = 256;
/// The longest path that is kept, in bytes.
const PATH: usize = 2048;

/// One request under way.
#[derive(Debug)]
pub(crate) struct Ticket {
    worker: Rc<Worker>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) in_flight: Option<InFlight>,
    start: Instant,
    pub(crate) client: IpAddr,
    pub(crate) request_id: RequestId,
    method: Method,
    version: HttpVersion,
    tls: bool,
    pub(crate) status: u16,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    text: Box<str>,
    host_end: u32,
    path_end: u32,
    complete: bool,
}

impl Ticket {
    pub(crate) fn new(conn: &Conn, parts: &Parts, host: &str, request_id: RequestId) -> Box<Self> {
        let worker = &conn.worker;
        let (text, host_end, path_end) = if worker.records() {
            text(parts, host)
        } else {
            Default::default()
        };
        Box::new(Self {
            worker: Rc::clone(worker),
            service: None,
            in_flight: None,
            start: Instant::now(),
            client: conn.client(),
            request_id,
            method: parts.method.clone(),
            version: match parts.version {
                Version::HTTP_2 => HttpVersion::Http2,
                Version::HTTP_10 => HttpVersion::Http10,
                _ => HttpVersion::Http11,
            },
            tls: conn.tls,
            status: 0,
            received: 0,
            sent: 0,
            text,
            host_end,
            path_end,
            complete: false,
        })
    }

    /// Notes where the request goes.
    pub(crate) fn routed(&mut self, service: &Arc<Service>) {
        service.metrics.started(self.worker.index);
        self.service = Some(Arc::clone(service));
    }

    /// The answer was sent to its end.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let duration = self.start.elapsed();
        let worker = &self.worker;
        // 499: the client went away before there was an answer.
        let status = if self.status == 0 { 499 } else { self.status };
        let metrics = self.service.as_ref().map_or_else(
            || {
                worker.shared.unrouted.started(worker.index);
                &worker.shared.unrouted
            },
            |service| &service.metrics,
        );
        metrics.ended(worker.index, status, duration, self.received, self.sent);
        if worker.records() {
            worker.record(AccessRecord {
                at: worker.wall_clock(self.start),
                duration,
                service: self.service.as_ref().map(|service| service.label()),
                upstream: self.in_flight.as_ref().map(|guard| guard.upstream().address),
                client: self.client,
                request_id: std::mem::replace(&mut self.request_id, RequestId::Made(0)),
                method: std::mem::take(&mut self.method),
                status,
                version: self.version,
                tls: self.tls,
                received: self.received,
                sent: self.sent,
                aborted: !self.complete,
                text: std::mem::take(&mut self.text),
                host_end: self.host_end,
                path_end: self.path_end,
            });
        }
    }
}

/// Host, path and user agent in one allocation.
fn text(parts: &Parts, host: &str) -> (Box<str>, u32, u32) {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let agent = parts
        .headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let path = cut(path, PATH);
    let agent = cut(agent, USER_AGENT);
    let mut text = String::with_capacity(host.len() + path.len() + agent.len());
    text.push_str(host);
    let host_end = text.len();
    text.push_str(path);
    let path_end = text.len();
    text.push_str(agent);
    // All parts are short: 260 + 2048 + 256 bytes at most.
    (text.into_boxed_str(), host_end as u32, path_end as u32)
}

fn cut(text: &str, length: usize) -> &str {
    if text.len() <= length {
        text
    } else {
        &text[..text.floor_char_boundary(length)]
    }
}
