//! A connection that must be accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Answer, words_of};

pub(super) async fn connect(address: SocketAddr, within: Duration) -> Answer {
    let begun = Instant::now();
    let what = format!("TCP connection to {address}");
    match timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Answer::healthy(format!("{what} → accepted in {}", words_of(begun.elapsed()))),
        Ok(Err(e)) => refusal(&what, address, &e),
        Err(_) => Answer::unhealthy(format!("{what} → no answer within {}", words_of(within))),
    }
}

/// The answer where there could not be a connection.
pub(super) fn refusal(what: &str, address: SocketAddr, error: &io::Error) -> Answer {
    let refused = error.kind() == io::ErrorKind::ConnectionRefused;
    let words = if refused {
        format!(
            "{what} → connection refused: nothing listens on port {}",
            address.port()
        )
    } else {
        format!("{what} → {error}")
    };
    Answer {
        healthy: false,
        words,
        refused,
    }
}
