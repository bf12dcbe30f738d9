//! One request: route it, limit it, send it on, bring the answer back.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::head::{self, Framing, Hop};
use super::pages::{self, Reason};
use super::{EdgeBody, Source, Ticket, forwarded};
use crate::conn::watch::ticks;
use crate::conn::{Conn, Phase, Watch};
use crate::observe::RequestId;
use crate::route::{Protocol, Service, host_of};
use crate::upstream::{self, Answer, Failure};

const CHALLENGE: &str = "/.well-known/acme-challenge/";

type Answered = Response<EdgeBody>;

/// Answers a request.
pub(crate) async fn handle(
    conn: Rc<Conn>,
    watch: Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Answered, Infallible> {
    let worker = &conn.worker;
    watch.fixed(
        Phase::Waiting,
        worker.deadlines.now(),
        ticks(worker.shared.timeouts.response),
    );
    let (mut parts, body) = request.into_parts();
    let id = match head::given_id(&parts.headers) {
        Some(id) => RequestId::Given(id.into()),
        None => RequestId::Made(worker.next_id()),
    };
    // Owned, because the answer's headers take the place of the request's.
    let authority = authority(&mut parts);
    let host = authority.as_ref().and_then(|text| {
        let text = text.to_str().ok()?;
        host_of(text).map(|host| (text, host))
    });
    let lower;
    let (authority, host) = match host {
        Some((authority, host)) if host.bytes().any(|b| b.is_ascii_uppercase()) => {
            lower = host.to_ascii_lowercase();
            (authority, Some(lower.as_str()))
        }
        Some((authority, host)) => (authority, Some(host)),
        None => ("", None),
    };
    let mut ticket = Ticket::new(&conn, &parts, host.unwrap_or_default(), id);
    if conn.trusted {
        ticket.client = forwarded::client(&conn, &parts.headers);
    }
    let refuse = |ticket, reason| Ok(refusal(&conn, &watch, ticket, &parts, reason));
    if conn.saw_length.get() && parts.headers.contains_key(header::TRANSFER_ENCODING) {
        conn.linger.set(true);
        return refuse(ticket, Reason::BadRequest);
    }
    let host = match host {
        Some(host) => host,
        // HTTP/1.0 knows no Host; a route for any host may want it.
        None if parts.version == Version::HTTP_10
            && authority.is_empty()
            && !parts.headers.contains_key(header::HOST) =>
        {
            ""
        }
        None => return refuse(ticket, Reason::BadHost),
    };
    if parts.method == Method::CONNECT {
        return refuse(ticket, Reason::MethodNotAllowed);
    }
    if !conn.tls
        && let Some(token) = parts.uri.path().strip_prefix(CHALLENGE)
        && let Some(proof) = worker.shared.challenge(token).await
    {
        return Ok(plain(&conn, &watch, ticket, proof));
    }
    let (service, redirect) = {
        let table = worker.table();
        match table.find(host, parts.uri.path()) {
            Some(target) => (Arc::clone(&target.service), target.redirect_https),
            None => return refuse(ticket, Reason::UnknownHost),
        }
    };
    ticket.routed(&service);
    if !conn.tls
        && redirect.unwrap_or(worker.shared.redirect_https)
        && let Some(to) = worker.shared.https_url(host, &parts)
    {
        return Ok(redirected(&conn, &watch, ticket, &to));
    }
    let backend = service.backend.load();
    if backend.paused {
        return refuse(ticket, Reason::Paused);
    }
    let limit = backend.body_bytes.or(worker.shared.limits.body_bytes);
    let protocol = backend.protocol;
    drop(backend);
    let exact = body.size_hint().exact();
    let empty = body.is_end_stream();
    if limit.is_some_and(|limit| exact.is_some_and(|length| length > limit)) {
        conn.linger.set(true);
        return refuse(ticket, Reason::BodyTooLarge);
    }
    let hop = Hop::of(&parts);
    let answer = match protocol {
        Protocol::Http1 => {
            let framing = head::framing(&parts.method, &parts.headers, exact, empty);
            let body = (!empty).then_some(body);
            http1(
                &conn,
                &watch,
                &mut ticket,
                &service,
                &mut parts,
                body,
                authority,
                &hop,
                framing,
                limit,
            )
            .await
        }
        Protocol::H2c => {
            // Boxed: rarer, and its state is large.
            let exchange = upstream::h2::exchange(
                &conn,
                &watch,
                &mut ticket,
                &service,
                &mut parts,
                body,
                authority,
                &hop,
                limit,
            );
            Box::pin(exchange).await
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            if !empty {
                conn.linger.set(true);
            }
            return Ok(refusal(&conn, &watch, ticket, &parts, failure.reason()));
        }
    };
    ticket.status = answer.status.as_u16();
    if let Some((stream, early)) = answer.tunnel {
        let tunnel = crate::conn::Tunnel {
            upstream: stream,
            early,
            ticket,
        };
        return Ok(upgraded(&conn, &watch, tunnel, answer.headers, &hop));
    }
    let mut response = Response::new(EdgeBody::new(
        answer.source,
        ticket,
        Rc::clone(&conn),
        Rc::clone(&watch),
    ));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

#[allow(clippy::too_many_arguments)] // One call; a struct would only name them twice.
async fn http1(
    conn: &Rc<Conn>,
    watch: &Rc<Watch>,
    ticket: &mut Ticket,
    service: &Service,
    parts: &mut Parts,
    body: Option<Incoming>,
    authority: &str,
    hop: &Hop,
    framing: Framing,
    limit: Option<u64>,
) -> Result<Answer, Failure> {
    let mut buffer = conn.worker.buffer();
    head::write(
        &mut buffer,
        conn,
        parts,
        authority,
        hop,
        framing,
        &ticket.request_id,
    );
    let mut send = upstream::h1::Send::new(buffer, body, framing == Framing::Chunked, limit);
    let result = upstream::h1::exchange(conn, watch, ticket, service, parts, hop, &mut send).await;
    ticket.received = send.received();
    match result {
        Ok(unfinished) => Ok(unfinished.finish(&conn.worker, send)),
        Err(failure) => {
            conn.worker.recycle(send.into_buffer());
            Err(failure)
        }
    }
}

/// The authority that is asked for: the target's where it has one, else the
/// `Host` header. Several are none.
fn authority(parts: &mut Parts) -> Option<HeaderValue> {
    if let Some(authority) = parts.uri.authority() {
        return HeaderValue::from_str(authority.as_str()).ok();
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next()?;
    hosts.next().is_none().then(|| host.clone())
}

/// An answer of the edge's own.
fn refusal(
    conn: &Rc<Conn>,
    watch: &Rc<Watch>,
    mut ticket: Box<Ticket>,
    parts: &Parts,
    reason: Reason,
) -> Answered {
    ticket.status = reason.status().as_u16();
    let page = pages::page(reason, &parts.headers, &ticket.request_id.to_string());
    let mut response = page.map(|body| {
        let source = if parts.method == Method::HEAD {
            Source::Empty
        } else {
            Source::Full(body)
        };
        EdgeBody::new(source, ticket, Rc::clone(conn), Rc::clone(watch))
    });
    if conn.linger.get() && !conn.http2.get() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn redirected(conn: &Rc<Conn>, watch: &Rc<Watch>, mut ticket: Box<Ticket>, to: &str) -> Answered {
    ticket.status = StatusCode::PERMANENT_REDIRECT.as_u16();
    let body = EdgeBody::new(Source::Empty, ticket, Rc::clone(conn), Rc::clone(watch));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn plain(conn: &Rc<Conn>, watch: &Rc<Watch>, mut ticket: Box<Ticket>, text: String) -> Answered {
    ticket.status = 200;
    let source = Source::Full(Bytes::from(text));
    let mut response = Response::new(EdgeBody::new(source, ticket, Rc::clone(conn), Rc::clone(watch)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The answer to a request that turns the connection into a tunnel. The body
/// needs a ticket of its own: the tunnel's lasts longer.
fn upgraded(
    conn: &Rc<Conn>,
    watch: &Rc<Watch>,
    tunnel: crate::conn::Tunnel,
    headers: header::HeaderMap,
    hop: &Hop,
) -> Answered {
    let mut response = Response::new(EdgeBody::silent(Rc::clone(conn), Rc::clone(watch)));
    conn.tunnel.replace(Some(Box::new(tunnel)));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if !out.contains_key(header::UPGRADE)
        && let Some(protocol) = &hop.upgrade
    {
        out.insert(header::UPGRADE, protocol.clone());
    }
    response
}
