//! A `GET` over HTTP/1.1, no larger than a health check needs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Answer, tcp, words_of};
use crate::text::{printable, shorten};

/// As much of an answer is read.
const ANSWER_MAX: usize = 8 * 1024;
/// As many characters of a body are shown.
const BODY_SHOWN: usize = 200;
/// How long the body of an answer of failure is waited for, so that it can be
/// shown.
const BODY_WAIT: Duration = Duration::from_millis(200);

/// A status line and what followed.
struct Response {
    status: u16,
    reason: String,
    body: String,
}

pub(super) async fn get(address: SocketAddr, host: &str, path: &str, limit: u16, within: Duration) -> Answer {
    let begun = Instant::now();
    let what = format!("GET {path}");
    let stream = match timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return tcp::refusal(&what, address, &e),
        Err(_) => return Answer::unhealthy(format!("{what} → no connection within {}", words_of(within))),
    };
    let left = within.saturating_sub(begun.elapsed());
    let response = match timeout(left, exchange(stream, host, path, limit)).await {
        Ok(Ok(response)) => response,
        Ok(Err(words)) => return Answer::unhealthy(format!("{what} → {words}")),
        Err(_) => return Answer::unhealthy(format!("{what} → no answer within {}", words_of(within))),
    };
    let status = format!("{} {}", response.status, response.reason);
    let mut words = format!("{what} → {} in {}", status.trim_end(), words_of(begun.elapsed()));
    if (200..limit).contains(&response.status) {
        return Answer::healthy(words);
    }
    if !response.body.is_empty() {
        words = format!("{words}: {}", response.body);
    }
    Answer::unhealthy(words)
}

async fn exchange(mut stream: TcpStream, host: &str, path: &str, limit: u16) -> Result<Response, String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Nonna-Health/1\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let cut = |e: std::io::Error| format!("the connection was cut: {e}");
    stream.write_all(request.as_bytes()).await.map_err(cut)?;
    let mut seen = Vec::new();
    while !seen.contains(&b'\n') && seen.len() < ANSWER_MAX {
        if stream.read_buf(&mut seen).await.map_err(cut)? == 0 {
            break;
        }
    }
    let (status, reason) = status_line(&seen)?;
    let mut body = String::new();
    if !(200..limit).contains(&status) {
        // Whatever comes soon of the rest: it may say what is wrong.
        let _ = timeout(BODY_WAIT, async {
            while seen.len() < ANSWER_MAX && matches!(stream.read_buf(&mut seen).await, Ok(n) if n > 0) {}
        })
        .await;
        body = shown_body(&seen);
    }
    Ok(Response { status, reason, body })
}

fn status_line(seen: &[u8]) -> Result<(u16, String), String> {
    if seen.is_empty() {
        return Err("the connection was closed without an answer".into());
    }
    let line = String::from_utf8_lossy(seen.split(|b| *b == b'\n').next().unwrap_or_default()).into_owned();
    let no_http = || {
        format!(
            "the answer is not HTTP: {}",
            shorten(&printable(&line), BODY_SHOWN)
        )
    };
    let rest = line.strip_prefix("HTTP/1.").ok_or_else(no_http)?;
    let mut parts = rest.trim_end().splitn(3, ' ').skip(1);
    let status = parts
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(no_http)?;
    let reason = printable(parts.next().unwrap_or_default());
    Ok((status, shorten(&reason, BODY_SHOWN)))
}

fn shown_body(seen: &[u8]) -> String {
    let text = String::from_utf8_lossy(seen);
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .unwrap_or_default();
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&printable(&line), BODY_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        address
    }

    async fn ask(answer: &'static [u8], limit: u16) -> Answer {
        let address = serve(answer).await;
        get(address, "web", "/health", limit, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn an_answer_is_told_with_its_status_and_time() {
        let answer = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400).await;
        assert!(answer.healthy);
        assert!(answer.words.starts_with("GET /health → 200 OK in "), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failure_is_told_with_the_beginning_of_its_body() {
        let answer = ask(b"HTTP/1.1 503 Nope\r\n\r\nno\r\n \x1b[1mdatabase", 400).await;
        assert!(!answer.healthy);
        assert!(answer.words.ends_with(": no database"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_redirect_is_healthy_and_not_found_is_so_only_when_nobody_named_the_path() {
        assert!(ask(b"HTTP/1.0 302 Found\r\n\r\n", 400).await.healthy);
        assert!(!ask(b"HTTP/1.1 404 Not Found\r\n\r\n", 400).await.healthy);
        assert!(ask(b"HTTP/1.1 404 Not Found\r\n\r\n", 500).await.healthy);
    }

    #[tokio::test]
    async fn what_is_not_http_is_said_to_be_so() {
        let answer = ask(b"220 mail ready\r\n", 400).await;
        assert!(answer.words.contains("not HTTP: 220 mail ready"), "{answer:?}");
        let answer = ask(b"", 400).await;
        assert!(!answer.healthy && !answer.refused, "{answer:?}");
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let answer = get(free, "web", "/", 500, Duration::from_secs(5)).await;
        assert!(answer.refused, "{answer:?}");
    }
}
