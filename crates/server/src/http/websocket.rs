//! WebSockets that carry [`Frame`]s.
//!
//! No page of another site can open one: they need the bearer token, which
//! browsers never send by themselves.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use nonna_api::Frame;
use nonna_engine::{Code, Error};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::failure::Answer;

/// The largest message, in bytes.
const LARGEST: usize = 1024 * 1024;
/// How long a client may take to take a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the upgrade may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// An open WebSocket.
pub(super) struct Channel(Socket);

/// The half that sends.
pub(super) struct Sender(SplitSink<Socket, Message>);

/// The half that receives.
pub(super) struct Receiver(SplitStream<Socket>);

fn has(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    })
}

/// The answer that makes a WebSocket of the connection, and the WebSocket once
/// it is one.
pub(super) fn accept(
    mut request: Request,
) -> Answer<(Response, impl Future<Output = Option<Channel>> + Send + 'static)> {
    let headers = request.headers();
    let wrong = |message: &str| -> super::Refusal {
        super::Refusal::from(
            Error::user(Code::InvalidInput, message)
                .hint("Open it as a WebSocket, version 13, as `nonna exec` does."),
        )
        .status(StatusCode::UPGRADE_REQUIRED)
    };
    if !has(headers, header::UPGRADE, "websocket") || !has(headers, header::CONNECTION, "upgrade") {
        return Err(wrong("This path is a WebSocket."));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&HeaderValue::from_static("13")) {
        return Err(wrong("Only version 13 of WebSockets is spoken here."));
    }
    let accept = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()))
        .and_then(|accept| HeaderValue::from_str(&accept).ok())
        .ok_or_else(|| wrong("The header Sec-WebSocket-Key is missing."))?;
    let upgrade = hyper::upgrade::on(&mut request);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let channel = async move {
        let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await.ok()?.ok()?;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        Some(Channel(socket))
    };
    Ok((response, channel))
}

impl Channel {
    /// The two halves.
    pub(super) fn split(self) -> (Sender, Receiver) {
        let (sink, stream) = self.0.split();
        (Sender(sink), Receiver(stream))
    }
}

impl Sender {
    /// Sends a frame; false when the client is gone.
    pub(super) async fn send(&mut self, frame: Frame, payload: &[u8]) -> bool {
        let mut bytes = BytesMut::with_capacity(payload.len() + 1);
        bytes.put_u8(frame as u8);
        bytes.put_slice(payload);
        let sending = self.0.send(Message::Binary(bytes.freeze()));
        matches!(tokio::time::timeout(SEND_TIMEOUT, sending).await, Ok(Ok(())))
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        let _ = tokio::time::timeout(UPGRADE_TIMEOUT, self.0.close()).await;
    }
}

impl Receiver {
    /// The next frame; `None` when the client is gone. What is no frame is
    /// passed over.
    pub(super) async fn next(&mut self) -> Option<(Frame, Vec<u8>)> {
        loop {
            match self.0.next().await? {
                Ok(Message::Binary(bytes)) => {
                    let (first, rest) = bytes.split_first()?;
                    if let Some(frame) = Frame::from_byte(*first) {
                        return Some((frame, rest.to_vec()));
                    }
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
