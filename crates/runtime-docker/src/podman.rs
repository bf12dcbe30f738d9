//! Where Podman's Docker-compatible API cannot be used, its own.
//!
//! Podman (seen in 4.3) forgets a network's options, `isolate` among them, as
//! soon as networks are listed in Docker's way: replicas started after that
//! would reach other environments. So its networks are listed in its own way.

use std::io;

use bollard::errors::Error as Refusal;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::labels::Labels;
use crate::network::Network;

/// Of HTTP/1.0, so that the answer comes in one piece and ends with the
/// connection.
const LIST: &[u8] = b"GET /v4.0.0/libpod/networks/json HTTP/1.0\r\nHost: podman\r\n\r\n";

#[derive(Deserialize)]
struct Listed {
    id: String,
    labels: Option<Labels>,
    subnets: Option<Vec<Subnet>>,
}

#[derive(Deserialize)]
struct Subnet {
    subnet: String,
}

/// Every network there is.
pub(crate) fn networks(endpoint: &str) -> impl Future<Output = Result<Vec<Network>, Refusal>> + use<> {
    let endpoint = endpoint.to_owned();
    async move {
        let answer = match endpoint.strip_prefix("unix://") {
            Some(path) => ask(UnixStream::connect(path).await?).await?,
            None => {
                let host = endpoint
                    .trim_start_matches("tcp://")
                    .trim_start_matches("http://");
                ask(TcpStream::connect(host.trim_end_matches('/')).await?).await?
            }
        };
        let listed: Vec<Listed> = serde_json::from_slice(body(&answer)?)?;
        Ok(listed.into_iter().map(converted).collect())
    }
}

fn converted(listed: Listed) -> Network {
    let subnets = listed.subnets.unwrap_or_default();
    Network {
        id: listed.id,
        labels: listed.labels.unwrap_or_default(),
        subnets: subnets.into_iter().map(|subnet| subnet.subnet).collect(),
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.write_all(LIST).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn body(answer: &[u8]) -> Result<&[u8], Refusal> {
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "Podman's answer was cut");
    let status = answer.get(9..12).ok_or_else(cut)?;
    let at = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(cut)?;
    let body = &answer[at + 4..];
    if status == b"200" {
        return Ok(body);
    }
    Err(Refusal::DockerResponseServerError {
        status_code: String::from_utf8_lossy(status).parse().unwrap_or(500),
        message: String::from_utf8_lossy(body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_body_or_is_a_refusal() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n[]").unwrap(), b"[]");
        let refusal = body(b"HTTP/1.0 404 Not Found\r\n\r\nno").unwrap_err();
        assert_eq!(crate::error::status(&refusal), Some(404));
        assert!(body(b"HTTP/1.0 200").is_err());
    }
}
