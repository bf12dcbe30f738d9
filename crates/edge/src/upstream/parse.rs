//! Heads of answers.

use std::io;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::chunked::Chunked;
use crate::proxy::head::is_hop_of_answer;

const HEADERS: usize = 128;
/// The longest head of an answer.
pub(crate) const HEAD: usize = 128 * 1024;

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked(Chunked),
    /// With the connection.
    Close,
}

/// The head of an answer; its headers went into a given map.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its length in bytes.
    pub(crate) length: usize,
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Parses the head of an answer to a request of this method. `None`: it is not
/// complete yet. Hop-by-hop headers are left out (but `upgrade` with a 101).
pub(crate) fn head(buf: &Bytes, method: &Method, headers: &mut HeaderMap) -> io::Result<Option<Head>> {
    let mut parsed = [const { MaybeUninit::uninit() }; HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, buf, &mut parsed) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buf.len() < HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(invalid("the head is too long")),
        Err(_) => return Err(invalid("the head is not valid")),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| invalid("the status is not valid"))?;
    let old = response.version == Some(0);
    let mut keep_alive = !old;
    let mut content_length = None;
    let mut chunked = None;
    let mut named: Vec<HeaderName> = Vec::new();
    headers.clear();
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| invalid("a header's name is not valid"))?;
        let value = HeaderValue::from_maybe_shared(buf.slice_ref(field.value))
            .map_err(|_| invalid("a header's value is not valid"))?;
        let text = name.as_str();
        if is_hop_of_answer(text) {
            match name {
                header::CONNECTION => {
                    for token in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                        if token.eq_ignore_ascii_case(b"close") {
                            keep_alive = false;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            keep_alive |= old;
                        } else if let Ok(name) = HeaderName::from_bytes(token) {
                            named.push(name);
                        }
                    }
                    continue;
                }
                header::TRANSFER_ENCODING => {
                    let last = value.as_bytes().rsplit(|b| *b == b',').next().unwrap_or_default();
                    chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
                    continue;
                }
                header::UPGRADE if status == StatusCode::SWITCHING_PROTOCOLS => {}
                _ => continue,
            }
        } else if name == header::CONTENT_LENGTH {
            let length = decimal(value.as_bytes()).ok_or_else(|| invalid("the length is not valid"))?;
            if content_length.is_some_and(|before| before != length) {
                return Err(invalid("two lengths contradict each other"));
            }
            if content_length.replace(length).is_some() {
                continue;
            }
        }
        headers.append(name, value);
    }
    for name in named {
        // Framing is not a header's to take away.
        if name != header::CONTENT_LENGTH && name != header::UPGRADE {
            headers.remove(name);
        }
    }
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD;
    let framing = match (chunked, content_length) {
        _ if bodiless => Framing::Length(0),
        (Some(true), _) if !old => Framing::Chunked(Chunked::Size),
        (Some(_), _) | (None, None) => Framing::Close,
        (None, Some(length)) => Framing::Length(length),
    };
    if chunked.is_some() || status.is_informational() || status == StatusCode::NO_CONTENT {
        // An encoding overrides a length (RFC 9112, 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    if framing == Framing::Close {
        keep_alive = false;
    }
    Ok(Some(Head {
        length,
        status,
        framing,
        keep_alive,
    }))
}

/// Parses a trailer block, and keeps the fields that may be there.
pub(crate) fn trailers(block: &Bytes, may: fn(&HeaderName) -> bool) -> io::Result<HeaderMap> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(block, &mut fields) else {
        return Err(invalid("the trailers are not valid"));
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(block.slice_ref(field.value));
        if let (Ok(name), Ok(value)) = (name, value)
            && may(&name)
        {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, b| {
        b.is_ascii_digit()
            .then(|| sum.checked_mul(10)?.checked_add(u64::from(b - b'0')))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str, method: &Method) -> io::Result<(Head, HeaderMap)> {
        let mut headers = HeaderMap::new();
        let head = head(&Bytes::from_static(text.as_bytes()), method, &mut headers)?;
        Ok((head.ok_or(io::ErrorKind::UnexpectedEof)?, headers))
    }

    #[test]
    fn bodies_end_as_the_head_says() {
        for (text, framing, keep) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(3),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(3),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::Chunked(Chunked::Size),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\n",
                Framing::Chunked(Chunked::Size),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                Framing::Close,
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::Close, false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(3),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(3),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(3),
                false,
            ),
            (
                "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(0),
                true,
            ),
            (
                "HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(0),
                true,
            ),
        ] {
            let (head, headers) = parse(text, &Method::GET).unwrap();
            assert_eq!((head.framing, head.keep_alive), (framing, keep), "{text}");
            assert!(headers.get_all("content-length").iter().count() <= 1);
            assert!(!headers.contains_key("transfer-encoding") && !headers.contains_key("connection"));
        }
        let (head, headers) = parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", &Method::HEAD).unwrap();
        assert_eq!(head.framing, Framing::Length(0));
        assert_eq!(headers["content-length"], "3");
    }

    #[test]
    fn headers_for_one_hop_go() {
        let (_, headers) = parse(
            "HTTP/1.1 200 OK\r\nConnection: x-a, close\r\nX-A: 1\r\nX-B: 2\r\nKeep-Alive: timeout=5\r\n\r\n",
            &Method::GET,
        )
        .unwrap();
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-b"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad name: 3\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(parse(text, &Method::GET).is_err(), "{text}");
        }
    }
}
