//! One question to a replica that was healthy: is it still?
//!
//! Spoken by hand over a fresh connection: it costs a few hundred bytes, and
//! no client with its pools stays in memory for it.

use std::net::SocketAddr;
use std::time::Duration;

use nonna_model::service::{HealthCheck, Probe, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much of an answer is read.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// How long it is read.
const DRAIN: Duration = Duration::from_millis(250);

/// What a health check asks, where it can be asked from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// `GET` of this path; the least status that is unhealthy.
    Http { path: String, below: u16 },
    /// A connection.
    Tcp,
    /// A command inside the replica.
    Command(Vec<String>),
}

/// What to ask of a replica at this address, and where; `None`: nothing, that
/// its process runs is all there is to know.
pub(super) fn question(
    check: &HealthCheck,
    protocol: Protocol,
    address: Option<SocketAddr>,
) -> Option<(Question, Option<SocketAddr>)> {
    let at = |port: Option<u16>| address.map(|a| SocketAddr::new(a.ip(), port.unwrap_or(a.port())));
    match &check.probe {
        // An answer below 500 is healthy; what speaks only HTTP/2 is asked for
        // a connection.
        Probe::Auto => address.map(|a| match protocol {
            Protocol::Http1 => (
                Question::Http {
                    path: "/".to_owned(),
                    below: 500,
                },
                Some(a),
            ),
            Protocol::H2c => (Question::Tcp, Some(a)),
        }),
        Probe::Http { path, port } => at(*port).map(|a| {
            (
                Question::Http {
                    path: path.clone(),
                    below: 400,
                },
                Some(a),
            )
        }),
        Probe::Tcp { port } => at(*port).map(|a| (Question::Tcp, Some(a))),
        Probe::Command { command } => Some((Question::Command(command.clone()), None)),
        Probe::Process => None,
    }
}

/// Asks over the network; answers whether it is healthy.
pub(super) async fn ask(question: &Question, address: SocketAddr, timeout: Duration) -> bool {
    tokio::time::timeout(timeout, ask_now(question, address))
        .await
        .unwrap_or(Ok(false))
        .unwrap_or(false)
}

async fn ask_now(question: &Question, address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let Question::Http { path, below } = question else {
        return Ok(true);
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: nonna-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`: the status is all that counts.
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).await?;
    let status = std::str::from_utf8(&head)
        .ok()
        .filter(|text| text.starts_with("HTTP/1."))
        .and_then(|text| text.get(9..12))
        .and_then(|status| status.parse::<u16>().ok());
    // The rest is read too: an app that is cut off in the middle of its answer
    // writes an error into its log.
    let drain = async {
        let mut rest = [0_u8; 4096];
        let mut left = LONGEST_ANSWER;
        while left > 0 {
            match stream.read(&mut rest).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    // An answer that streams for ever is no worse for it.
    let _ = tokio::time::timeout(DRAIN, drain).await;
    Ok(status.is_some_and(|status| (100..*below).contains(&status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answering(with: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0_u8; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(with.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn the_status_decides() {
        let ok = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
        let broken = answering("HTTP/1.1 500 Oh\r\n\r\n").await;
        let missing = answering("HTTP/1.1 404 Not Found\r\n\r\n").await;
        let noise = answering("SSH-2.0-OpenSSH").await;
        let auto = Question::Http {
            path: "/".into(),
            below: 500,
        };
        let strict = Question::Http {
            path: "/up".into(),
            below: 400,
        };
        let second = Duration::from_secs(5);
        assert!(ask(&auto, ok, second).await);
        assert!(!ask(&auto, broken, second).await);
        assert!(ask(&auto, missing, second).await);
        assert!(!ask(&strict, missing, second).await);
        assert!(!ask(&auto, noise, second).await);
        assert!(ask(&Question::Tcp, noise, second).await);
    }

    #[tokio::test]
    async fn nobody_there_is_unhealthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(!ask(&Question::Tcp, address, Duration::from_secs(5)).await);
    }
}
