//! The head of a request as the replica gets it.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use super::forwarded;
use crate::conn::Conn;
use crate::observe::RequestId;

/// How a request's body is delimited towards the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// What the hop-by-hop headers of a request ask for.
#[derive(Debug, Default)]
pub(crate) struct Hop {
    /// The protocol to upgrade to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Trailers are welcome.
    pub(crate) trailers: bool,
    /// Further headers that are for this hop only.
    named: Vec<HeaderName>,
}

impl Hop {
    pub(crate) fn of(parts: &Parts) -> Self {
        let mut hop = Self::default();
        let mut upgrade = false;
        for value in parts.headers.get_all(header::CONNECTION) {
            let value = value.as_bytes();
            if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
                continue;
            }
            for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"upgrade") {
                    upgrade = true;
                } else if let Ok(name) = HeaderName::from_bytes(token) {
                    hop.named.push(name);
                }
            }
        }
        if upgrade && parts.version == Version::HTTP_11 {
            hop.upgrade = parts.headers.get(header::UPGRADE).cloned();
        }
        hop.trailers = parts.headers.get_all(header::TE).iter().any(|value| {
            value
                .as_bytes()
                .split(|b| *b == b',')
                .any(|te| te.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        });
        hop
    }

    fn names(&self, name: &HeaderName) -> bool {
        !self.named.is_empty() && self.named.contains(name)
    }
}

/// Whether a header (in lower case) is for one hop only, or set by the edge
/// itself.
fn is_dropped(name: &str) -> bool {
    match name.len() {
        2 => name == "te",
        4 => name == "host",
        5 => name == "proxy",
        6 => name == "expect",
        7 => name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        12 => name == "x-request-id",
        14 => name == "content-length" || name == "http2-settings" || name == "content_length",
        16 if name == "proxy-connection" => true,
        17 if name == "transfer-encoding" || name == "transfer_encoding" => true,
        19 if name == "proxy-authorization" => true,
        _ => forwarded::is_forwarding(name),
    }
}

/// Whether a header (in lower case) of an answer is for one hop only.
pub(crate) fn is_hop_of_answer(name: &str) -> bool {
    match name.len() {
        2 => name == "te",
        7 => name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        _ => false,
    }
}

/// Whether a field may come in a trailer.
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    let name = name.as_str();
    !(is_dropped(name)
        || is_hop_of_answer(name)
        || matches!(name, "trailer" | "authorization" | "cookie" | "set-cookie"))
}

/// Writes an HTTP/1.1 request head for a replica.
pub(crate) fn write(
    out: &mut Vec<u8>,
    conn: &Conn,
    parts: &Parts,
    host: &str,
    hop: &Hop,
    framing: Framing,
    id: &RequestId,
) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') && path != "*" {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(b"\r\n");
    let join_cookies = parts.version == Version::HTTP_2;
    for (name, value) in &parts.headers {
        let text = name.as_str();
        if is_dropped(text) || hop.names(name) || (join_cookies && *name == header::COOKIE) {
            continue;
        }
        line(out, text.as_bytes(), value.as_bytes());
    }
    if join_cookies {
        // HTTP/2 may send cookies one by one; HTTP/1 has one line for all.
        let mut cookies = parts.headers.get_all(header::COOKIE).iter();
        if let Some(first) = cookies.next() {
            out.extend_from_slice(b"cookie: ");
            out.extend_from_slice(first.as_bytes());
            for cookie in cookies {
                out.extend_from_slice(b"; ");
                out.extend_from_slice(cookie.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    forwarded::write(out, conn, &parts.headers, host);
    out.extend_from_slice(b"x-request-id: ");
    write_id(out, id);
    out.extend_from_slice(b"\r\n");
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            line(
                out,
                b"content-length",
                itoa::Buffer::new().format(length).as_bytes(),
            );
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    match (&hop.upgrade, hop.trailers) {
        (Some(protocol), _) => {
            out.extend_from_slice(b"connection: upgrade\r\n");
            line(out, b"upgrade", protocol.as_bytes());
        }
        (None, true) => out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n"),
        (None, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_id(out: &mut Vec<u8>, id: &RequestId) {
    match id {
        RequestId::Given(id) => out.extend_from_slice(id.as_bytes()),
        RequestId::Made(id) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            for byte in id.to_be_bytes() {
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
        }
    }
}

/// Edits a request's headers in place, for a replica that speaks HTTP/2.
pub(crate) fn edit(conn: &Conn, parts: &mut Parts, host: &str, hop: &Hop, id: &RequestId) {
    let mut lines = Vec::with_capacity(384);
    forwarded::write(&mut lines, conn, &parts.headers, host);
    lines.extend_from_slice(b"x-request-id: ");
    write_id(&mut lines, id);
    lines.extend_from_slice(b"\r\n");
    let length = parts.headers.get(header::CONTENT_LENGTH).cloned();
    let dropped: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| is_dropped(name.as_str()) || hop.names(name))
        .cloned()
        .collect();
    for name in dropped {
        parts.headers.remove(name);
    }
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    if hop.trailers {
        parts
            .headers
            .insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let lines = Bytes::from(lines);
    for line in lines.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_maybe_shared(lines.slice_ref(value)),
        ) {
            parts.headers.insert(name, value);
        }
    }
}

/// How a request's body is to be delimited.
pub(crate) fn framing(method: &Method, headers: &HeaderMap, exact: Option<u64>, empty: bool) -> Framing {
    match exact {
        Some(0) | None if empty => {
            // Some servers insist on a length where a body could be.
            let expects = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
            if expects || headers.contains_key(header::CONTENT_LENGTH) {
                Framing::Length(0)
            } else {
                Framing::None
            }
        }
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// A request id that a client may give: short and harmless.
pub(crate) fn given_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&b);
    ((1..=128).contains(&id.len()) && id.bytes().all(fine)).then_some(id)
}
