//! A small HTTP/1.1 client for one request on one connection: what the tests
//! must see is what is on the wire, so nothing is retried or followed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

/// `GET http://host{path}` at this address.
///
/// # Errors
/// Where no whole answer comes within 30 seconds.
pub fn get(address: SocketAddr, host: &str, path: &str) -> anyhow::Result<Answer> {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends this text and reads until the other side closes.
///
/// # Errors
/// Where no whole answer comes within 30 seconds.
pub fn request(address: SocketAddr, text: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_nodelay(true)?;
    stream.write_all(text.as_bytes()).context("send")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).context("receive")?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the answer has no end of its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:")
            .and_then(|value| value.trim().parse::<usize>().ok())
    });
    if let Some(length) = length {
        anyhow::ensure!(
            body.len() >= length,
            "the answer was cut: {} of {length} bytes",
            body.len()
        );
    }
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Ok(Answer {
        status,
        head: head.to_owned(),
        body,
    })
}

fn unchunk(mut rest: &str) -> anyhow::Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(after.get(..size).context("a chunk was cut")?);
        rest = after.get(size + 2..).context("a chunk was cut")?;
    }
}
