//! `/loki/api/v1/tail`: a live tail over a WebSocket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use nonna_engine::Result;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::answer::{Labels, Streams};
use super::logql::Asked;
use super::{HOUR, Params, Refused, Shared, wrong};
use crate::query::Query;
use crate::store::{Found, now};

/// How long a client may take to take a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the upgrade may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether it is there.
const PING: Duration = Duration::from_secs(15);
/// How long lines are gathered into one message.
const GATHER: Duration = Duration::from_millis(50);
/// The most lines of one message.
const LINES: usize = 500;
/// The largest message that a client may send: it has nothing to say.
const LARGEST: usize = 64 * 1024;

fn has(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    })
}

pub(super) async fn tail(
    State(shared): State<Shared>,
    mut request: Request,
) -> std::result::Result<Response, Refused> {
    let headers = request.headers();
    if !has(headers, header::UPGRADE, "websocket") || !has(headers, header::CONNECTION, "upgrade") {
        return Err(wrong("This path is a WebSocket.").into());
    }
    let accept = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()))
        .and_then(|accept| HeaderValue::from_str(&accept).ok())
        .ok_or_else(|| wrong("The header Sec-WebSocket-Key is missing."))?;
    let upgrade = hyper::upgrade::on(&mut request);
    let params = Params::read(&shared, request).await?;
    let Asked::Lines(expr) = params.asked()? else {
        return Err(wrong("Lines can be tailed, not counts.").into());
    };
    let start = params
        .moment("start")?
        .unwrap_or_else(|| now().saturating_sub(HOUR));
    let last = params.limit()?;
    let mut query = Query::new(params.scope, expr);
    query.since = Some(start);
    query.last = Some(last);
    let found = shared.proxy.watch(query);
    tokio::spawn(async move {
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await else {
            return;
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let _ = pass(socket, found).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Passes on what is found until the client goes; `None` then.
async fn pass<S>(mut socket: WebSocketStream<S>, mut found: mpsc::Receiver<Result<Found>>) -> Option<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        let first = tokio::select! {
            first = found.recv() => first,
            said = socket.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                // Pings are answered by the WebSocket itself.
                Some(Ok(_)) => continue,
            },
            () = tokio::time::sleep(PING) => {
                send(&mut socket, Message::Ping(Vec::new().into())).await?;
                continue;
            }
        };
        let (mut streams, mut missed) = (Streams::default(), 0);
        let mut next = first;
        let until = tokio::time::Instant::now() + GATHER;
        let mut lines = 0;
        loop {
            match next {
                Some(Ok(Found::Entry(entry))) => streams.add(entry),
                Some(Ok(Found::Missed(records))) => missed += records,
                Some(Err(_)) | None => {
                    let _ = tokio::time::timeout(SEND_TIMEOUT, socket.close(None)).await;
                    return None;
                }
            }
            lines += 1;
            if lines >= LINES || streams.is_full() {
                break;
            }
            match tokio::time::timeout_at(until, found.recv()).await {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        if streams.is_empty() && missed == 0 {
            continue;
        }
        let dropped = match missed {
            0 => json!(null),
            _ => {
                let labels = Labels::from([("missed".to_owned(), missed.to_string())]);
                json!([{ "labels": labels, "timestamp": now().to_string() }])
            }
        };
        let text = format!(
            "{{\"streams\":{},\"dropped_entries\":{dropped}}}",
            streams.json(false)
        );
        send(&mut socket, Message::Text(text.into())).await?;
    }
}

async fn send<S>(socket: &mut WebSocketStream<S>, message: Message) -> Option<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    tokio::time::timeout(SEND_TIMEOUT, socket.send(message))
        .await
        .ok()?
        .ok()
}
