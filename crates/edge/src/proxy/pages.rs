//! The edge's own answers: small pages for people, JSON and text for programs.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

/// Why the edge answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    BadRequest,
    BadHost,
    UnknownHost,
    MethodNotAllowed,
    SlowRequest,
    BodyTooLarge,
    NoReplica,
    Paused,
    Unreachable,
    BadAnswer,
    SlowAnswer,
}

impl Reason {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowRequest => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoReplica | Self::Paused => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::SlowAnswer => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::BadRequest => (
                "bad_request",
                "Bad request",
                "The request is not valid HTTP, or contradicts itself.",
            ),
            Self::BadHost => (
                "bad_host",
                "Bad request",
                "The request does not name a valid host.",
            ),
            Self::UnknownHost => (
                "unknown_host",
                "Nothing here",
                "No service is deployed at this address. Check the host and the path.",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                "Method not allowed",
                "This method is not served here.",
            ),
            Self::SlowRequest => (
                "slow_request",
                "Request timed out",
                "The request did not arrive in time. Please try again.",
            ),
            Self::BodyTooLarge => (
                "body_too_large",
                "Too large",
                "What was sent is larger than this service accepts.",
            ),
            Self::NoReplica => (
                "no_replica",
                "Not available",
                "This service has nothing running at the moment. Please try again soon.",
            ),
            Self::Paused => ("paused", "Paused", "This service was paused by its owner."),
            Self::Unreachable => (
                "unreachable",
                "Not reachable",
                "The service does not accept connections. Please try again soon.",
            ),
            Self::BadAnswer => (
                "bad_answer",
                "Bad answer",
                "The service closed the connection or sent an answer that is not valid.",
            ),
            Self::SlowAnswer => (
                "slow_answer",
                "No answer in time",
                "The service took too long to answer.",
            ),
        }
    }
}

/// How the asker wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Text,
}

fn form(headers: &HeaderMap) -> Form {
    let accept = headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
    let at = |what: &[u8]| memchr::memmem::find(accept, what);
    match (at(b"text/html"), at(b"json")) {
        (Some(html), Some(json)) if json < html => Form::Json,
        (Some(_), _) => Form::Html,
        (None, Some(_)) => Form::Json,
        (None, None) => Form::Text,
    }
}

/// Headers and body of an answer of the edge's own. `id` is shown, so that a
/// report can be matched with the access log.
pub(crate) fn page(reason: Reason, asked: &HeaderMap, id: &str) -> Response<Bytes> {
    let (code, title, text) = reason.words();
    let status = reason.status();
    let number = status.as_u16();
    let (kind, body) = match form(asked) {
        Form::Html => ("text/html; charset=utf-8", html(number, title, text, id)),
        Form::Json => (
            "application/json",
            format!(
                "{{\"status\":{number},\"code\":\"{code}\",\"message\":{},\"request_id\":{}}}\n",
                serde_json::Value::from(text),
                serde_json::Value::from(id)
            ),
        ),
        Form::Text => ("text/plain; charset=utf-8", format!("{number} {title}\n{text}\n")),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn html(number: u16, title: &str, text: &str, id: &str) -> String {
    let id = escaped(id);
    let id = if id.is_empty() {
        String::new()
    } else {
        format!("<p class=i>Request {id}</p>")
    };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{number} {title}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;\
         margin:15vh auto;padding:0 1em;color:#222;background:#fff}}h1{{font-size:1.6em}}h1 b{{color:#999}}\
         .i{{color:#777;font-size:.8em}}@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}}}\
         </style><h1><b>{number}</b> {title}</h1><p>{text}</p>{id}</html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole HTTP/1.1 message for requests whose head was never understood, so
/// that nobody knows what the asker would like: a page, and the end.
pub(crate) fn raw(status: StatusCode) -> Bytes {
    let (title, text) = match status {
        StatusCode::REQUEST_TIMEOUT => (
            "Request timed out",
            "The request did not arrive in time. Please try again.",
        ),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "Headers too large",
            "The request's headers are larger than is accepted here. Deleting cookies may help.",
        ),
        StatusCode::URI_TOO_LONG => ("Address too long", "The address is longer than is accepted here."),
        _ => ("Bad request", "The request is not valid HTTP."),
    };
    let body = html(status.as_u16(), title, text, "");
    let line = status.canonical_reason().unwrap_or("Error");
    Bytes::from(format!(
        "HTTP/1.1 {} {line}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn the_asker_gets_the_form_it_wants() {
        for (accept, kind) in [
            (
                "text/html,application/xhtml+xml,*/*;q=0.8",
                "text/html; charset=utf-8",
            ),
            ("application/json, text/html", "application/json"),
            ("application/problem+json", "application/json"),
            ("*/*", "text/plain; charset=utf-8"),
        ] {
            let page = page(Reason::Paused, &asked(accept), "x");
            assert_eq!(page.headers()[CONTENT_TYPE], kind, "{accept}");
            assert_eq!(page.status(), 503);
        }
    }

    #[test]
    fn nothing_is_unescaped() {
        let bad = "<script>\"'&";
        let html = page(Reason::UnknownHost, &asked("text/html"), bad);
        assert!(!String::from_utf8_lossy(html.body()).contains("<script>"));
        let json = page(Reason::UnknownHost, &asked("application/json"), bad);
        let value: serde_json::Value = serde_json::from_slice(json.body()).unwrap();
        assert_eq!(value["request_id"], bad);
    }
}
