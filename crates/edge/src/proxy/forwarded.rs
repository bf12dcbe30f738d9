//! What a service is told of who asks: `X-Forwarded-*`, `X-Real-IP` and
//! `Forwarded`. Set here; what a client says is believed only where it is a
//! trusted proxy.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::conn::Conn;
use crate::route::host_of;

/// Whether a header (in lower case) says who asks, in any spelling that a
/// gateway interface (CGI, WSGI, PHP) would take for it.
pub(crate) fn is_forwarding(name: &str) -> bool {
    let bytes = name.as_bytes();
    match bytes.first() {
        Some(b'f') => name == "forwarded",
        Some(b'x') => {
            let is = |what: &[u8]| {
                bytes.len() >= what.len()
                    && bytes
                        .iter()
                        .zip(what)
                        .all(|(have, want)| have == want || (*have == b'_' && *want == b'-'))
            };
            is(b"x-forwarded-") || (is(b"x-real-ip") && bytes.len() == 9) || name == "x_request_id"
        }
        _ => false,
    }
}

/// The lines that are the same for every request of a connection whose peer is
/// not trusted, and the beginning of `forwarded:` up to its host.
pub(crate) fn of_connection(conn: &Conn) -> Vec<u8> {
    if conn.trusted {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(192);
    let ip = conn.client();
    let proto = scheme(conn);
    let _ = write!(
        out,
        "x-forwarded-for: {ip}\r\nx-real-ip: {ip}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-port: {}\r\n\
         forwarded: for={};proto={proto};host=",
        conn.port,
        node(ip)
    );
    out
}

fn scheme(conn: &Conn) -> &'static str {
    if conn.tls { "https" } else { "http" }
}

/// An address as `Forwarded` wants it.
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

/// Writes all forwarding headers of a request. `host` is a valid authority.
pub(crate) fn write(out: &mut Vec<u8>, conn: &Conn, headers: &HeaderMap, host: &str) {
    if conn.trusted {
        return write_trusted(out, conn, headers, host);
    }
    out.extend_from_slice(&conn.forwarded);
    // A colon or bracket is not allowed in a bare token.
    if host.bytes().any(|b| b == b':' || b == b'[') {
        out.push(b'"');
        out.extend_from_slice(host.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(host.as_bytes());
    }
    out.extend_from_slice(b"\r\nx-forwarded-host: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Behind a trusted proxy: what it says is kept and continued.
fn write_trusted(out: &mut Vec<u8>, conn: &Conn, headers: &HeaderMap, host: &str) {
    let peer = conn.client();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    out.extend_from_slice(b"x-forwarded-for: ");
    for value in headers.get_all("x-forwarded-for") {
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    let client = client(conn, headers);
    let proto = text("x-forwarded-proto")
        .filter(|p| matches!(*p, "http" | "https"))
        .unwrap_or(scheme(conn));
    let theirs = text("x-forwarded-host")
        .filter(|theirs| host_of(theirs).is_some())
        .unwrap_or(host);
    let _ = write!(
        out,
        "{peer}\r\nx-real-ip: {client}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-port: "
    );
    match text("x-forwarded-port").and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => drop(write!(out, "{port}")),
        None if proto == scheme(conn) => drop(write!(out, "{}", conn.port)),
        None => out.extend_from_slice(if proto == "https" { b"443" } else { b"80" }),
    }
    let _ = write!(out, "\r\nx-forwarded-host: {theirs}\r\nforwarded: ");
    let mut any = false;
    for value in headers.get_all("forwarded") {
        any = true;
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    if !any && client != peer {
        let _ = write!(out, "for={}, ", node(client));
    }
    let _ = write!(out, "for={};proto={proto};host=\"{theirs}\"\r\n", node(peer));
}

/// Who asks: the peer or, behind trusted proxies, the last address in
/// `X-Forwarded-For` that is not one of theirs.
pub(crate) fn client(conn: &Conn, headers: &HeaderMap) -> IpAddr {
    let peer = conn.client();
    if !conn.trusted {
        return peer;
    }
    let mut nearest = peer;
    let values: Vec<_> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    for part in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Some(ip) = address(part.trim()) else { break };
        nearest = ip;
        if !conn.worker.shared.trusts(ip) {
            break;
        }
    }
    nearest
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_known() {
        for name in [
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded_host",
            "x-real-ip",
            "x_real_ip",
            "forwarded",
            "x-forwarded-whatever",
        ] {
            assert!(is_forwarding(name), "{name}");
        }
        for name in ["x-real-ipx", "x-forward", "forwarded2", "x-request-id", "from"] {
            assert!(!is_forwarding(name), "{name}");
        }
    }
}
