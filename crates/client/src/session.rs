//! Sessions of `exec` and `run`: a WebSocket that carries [`Frame`]s.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use nonna_api::{ExecQuery, Frame};
use nonna_engine::{Code, Error, Result};
use reqwest::{RequestBuilder, StatusCode, Upgraded, header};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::http::Client;

/// A command that runs in a replica.
pub struct Session {
    socket: WebSocketStream<Upgraded>,
}

/// What the command prints, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// It ended, with this code. Nothing follows.
    Exit(i64),
}

/// The half that sends.
pub struct SessionInput {
    sink: SplitSink<WebSocketStream<Upgraded>, Message>,
}

/// The half that receives.
pub struct SessionOutput {
    stream: SplitStream<WebSocketStream<Upgraded>>,
}

impl Session {
    pub(crate) async fn open(client: &Client, request: RequestBuilder, query: &ExecQuery) -> Result<Self> {
        let mut nonce = [0_u8; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::bug("The system gives no random numbers.").said(error.to_string()))?;
        let key = data_encoding::BASE64.encode(&nonce);
        let response = client
            .send_once(
                request
                    .query(query)
                    .header(header::CONNECTION, "Upgrade")
                    .header(header::UPGRADE, "websocket")
                    .header(header::SEC_WEBSOCKET_VERSION, "13")
                    .header(header::SEC_WEBSOCKET_KEY, &key),
            )
            .await?;
        let accepted = response
            .headers()
            .get(header::SEC_WEBSOCKET_ACCEPT)
            .is_some_and(|value| value.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS || !accepted {
            return Err(Error::provider(
                Code::ServerUnavailable,
                format!("{} does not open a WebSocket.", client.url()),
            )
            .hint("A proxy in front of it may not pass WebSockets on."));
        }
        let upgraded = response.upgrade().await.map_err(|error| {
            Error::provider(
                Code::ServerUnavailable,
                "The connection could not become a WebSocket.",
            )
            .said(crate::transport::chain(&error))
        })?;
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        Ok(Self { socket })
    }

    /// The two halves.
    #[must_use]
    pub fn split(self) -> (SessionInput, SessionOutput) {
        let (sink, stream) = self.socket.split();
        (SessionInput { sink }, SessionOutput { stream })
    }
}

impl SessionInput {
    async fn send(&mut self, frame: Frame, payload: &[u8]) -> Result<()> {
        let mut bytes = BytesMut::with_capacity(payload.len() + 1);
        bytes.put_u8(frame as u8);
        bytes.put_slice(payload);
        self.sink
            .send(Message::Binary(bytes.freeze()))
            .await
            .map_err(|error| broke_off(&error))
    }

    /// Bytes for the command's standard input.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(Frame::Stdin, bytes).await
    }

    /// Standard input ends.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn end(&mut self) -> Result<()> {
        self.send(Frame::StdinEnd, &[]).await
    }

    /// The terminal has another size now.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let [a, b] = columns.to_be_bytes();
        let [c, d] = rows.to_be_bytes();
        self.send(Frame::Resize, &[a, b, c, d]).await
    }
}

impl SessionOutput {
    /// What comes next. May be dropped and called again.
    ///
    /// # Errors
    /// What the server says went wrong, or that the connection broke off
    /// before the command ended.
    pub async fn next(&mut self) -> Result<Output> {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(broke_off(&error)),
                None => return Err(broke_off(&tungstenite::Error::ConnectionClosed)),
            };
            match message {
                Message::Binary(bytes) => {
                    if let Some(output) = read(&bytes)? {
                        return Ok(output);
                    }
                }
                Message::Close(_) => return Err(broke_off(&tungstenite::Error::ConnectionClosed)),
                // Pings are answered by the library.
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn read(message: &Bytes) -> Result<Option<Output>> {
    let Some((first, payload)) = message.split_first() else {
        return Ok(None);
    };
    let rest = message.slice(1..);
    match Frame::from_byte(*first) {
        Some(Frame::Stdout) => Ok(Some(Output::Stdout(rest))),
        Some(Frame::Stderr) => Ok(Some(Output::Stderr(rest))),
        Some(Frame::Exit) => match <[u8; 8]>::try_from(payload) {
            Ok(code) => Ok(Some(Output::Exit(i64::from_be_bytes(code)))),
            Err(_) => Err(Error::bug(
                "The server sent an exit code of another length than 8 bytes.",
            )),
        },
        Some(Frame::Error) => Err(serde_json::from_slice(payload)
            .unwrap_or_else(|_| Error::bug("The server ended the session with an unreadable error."))),
        // What a newer server may add is not for us.
        Some(Frame::Stdin | Frame::StdinEnd | Frame::Resize) | None => Ok(None),
    }
}

fn broke_off(error: &tungstenite::Error) -> Error {
    Error::provider(
        Code::ServerUnavailable,
        "The connection broke off before the command ended.",
    )
    .hint("The server or the replica may have been stopped: see `nonna status`.")
    .said(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_defined() {
        let frame = |bytes: &[u8]| read(&Bytes::copy_from_slice(bytes));
        assert_eq!(
            frame(b"\x01hi").unwrap(),
            Some(Output::Stdout(Bytes::from_static(b"hi")))
        );
        assert_eq!(frame(b"\x02").unwrap(), Some(Output::Stderr(Bytes::new())));
        assert_eq!(frame(b"\x05\0\0\0\0\0\0\0\x2a").unwrap(), Some(Output::Exit(42)));
        assert_eq!(
            frame(b"\x05\xff\xff\xff\xff\xff\xff\xff\xff").unwrap(),
            Some(Output::Exit(-1))
        );
        assert_eq!(frame(b"\xc8later").unwrap(), None);
        assert_eq!(frame(b"").unwrap(), None);
        assert!(frame(b"\x05\0").is_err());
        let error = Error::user(Code::NotFound, "no replica runs");
        let mut bytes = vec![6];
        bytes.extend(serde_json::to_vec(&error).unwrap());
        assert_eq!(frame(&bytes).unwrap_err(), error);
    }
}
