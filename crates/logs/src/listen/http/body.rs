//! Bodies of requests: received within bounds, decompressed within bounds,
//! read, and kept before anything is answered.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use nonna_engine::Code;
use tokio::sync::OwnedSemaphorePermit;

use super::{Peer, Shared};
use crate::listen::Protocol;
use crate::protocol::{Collector, Invalid};
use crate::wire::compress::{Encoding, Undecodable};

/// Bodies up to so many bytes are read where they are; larger or compressed
/// ones on a thread of their own, so that nobody else waits.
const SMALL: usize = 128 * 1024;
/// What a sender that is sent back is told to wait, in seconds.
const AGAIN: u64 = 2;

/// Why a request is not answered with success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// Seconds after which it can be tried again.
    pub(super) again: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            again: None,
        }
    }

    fn again(mut self) -> Self {
        self.again = Some(AGAIN);
        self
    }

    /// The sender's mistake.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Headers that go with it.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = self.again {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers
    }
}

impl From<nonna_engine::Error> for Refusal {
    fn from(error: nonna_engine::Error) -> Self {
        let status = match error.code {
            Code::LimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.message).again()
    }
}

/// A body as it came.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Vec<u8>,
    encoding: Encoding,
    peer: String,
    _room: OwnedSemaphorePermit,
}

impl Received {
    /// Its compression is another than the header says.
    pub(super) fn encoded(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Whether its header says that it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.encoding != Encoding::Identity
    }
}

/// A header's text; empty where it is not there.
pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

/// Receives the body of a request.
pub(super) async fn receive(shared: &Shared, request: Request) -> Result<Received, Refusal> {
    let door = &shared.door;
    let limit = door.limits.body_bytes;
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("A request may have {limit} bytes at most: send smaller ones."),
        )
    };
    let (head, body) = request.into_parts();
    let name = header_text(&head.headers, header::CONTENT_ENCODING);
    let Some(encoding) = Encoding::from_header(&name) else {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Bodies may be compressed with gzip, deflate, snappy or zstd.",
        ));
    };
    let length = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let Some(room) = door.room_for(length.unwrap_or(limit)).await else {
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many bytes are being received: send this again a little later.",
        )
        .again());
    };
    let bytes = tokio::time::timeout(
        time_for(length.unwrap_or(limit), door.limits.message),
        whole(body, limit),
    )
    .await
    .map_err(|_| {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body of the request took too long to come.",
        )
    })??
    .ok_or_else(too_large)?;
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0.to_string());
    Ok(Received {
        bytes,
        encoding,
        peer: peer.unwrap_or_default(),
        _room: room,
    })
}

/// How long a body may take: a little for any, and more for a large one on a
/// slow line.
fn time_for(bytes: usize, least: Duration) -> Duration {
    const SLOWEST: usize = 64 * 1024;
    least + Duration::from_secs(u64::try_from(bytes / SLOWEST).unwrap_or(u64::MAX).min(600))
}

async fn whole(mut body: Body, limit: usize) -> Result<Option<Vec<u8>>, Refusal> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refusal::bad(format!("The body of the request was cut off: {error}.")))?;
        let data: Bytes = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}

/// What reads a body.
pub(super) trait Parse<T>:
    FnOnce(&[u8], &mut Collector) -> Result<T, Invalid> + Send + 'static
{
}

impl<T, F> Parse<T> for F where F: FnOnce(&[u8], &mut Collector) -> Result<T, Invalid> + Send + 'static {}

/// Who a sender is where its records do not say.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    pub(super) service: Option<String>,
    pub(super) replica: Option<String>,
}

/// Decompresses and reads a body, and keeps what is in it. When this answers,
/// the journal holds the records.
pub(super) async fn keep<T: Send + 'static>(
    shared: &Shared,
    protocol: Protocol,
    body: Received,
    defaults: Defaults,
    parse: impl Parse<T>,
) -> Result<T, Refusal> {
    let door = &shared.door;
    let limit = door.limits.body_bytes;
    let service = defaults.service.unwrap_or_else(|| protocol.name().to_owned());
    let replica = defaults.replica.unwrap_or_else(|| body.peer.clone());
    let mut collector = door.collector(&service, &replica);
    let Some(turn) = door.turn().await else {
        door.counters.refused(protocol);
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests are being read: send this again a little later.",
        )
        .again());
    };
    let small = !body.is_compressed() && body.bytes.len() <= SMALL;
    let work = move || {
        let decoded;
        let bytes = match body.encoding {
            Encoding::Identity => &body.bytes[..],
            encoding => {
                decoded = encoding.decode(&body.bytes, limit).map_err(|error| {
                    let status = match error {
                        Undecodable::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                        Undecodable::Broken(..) => StatusCode::BAD_REQUEST,
                    };
                    Refusal::new(status, format!("The request cannot be read: {error}."))
                })?;
                &decoded[..]
            }
        };
        let read = parse(bytes, &mut collector).map_err(|invalid| Refusal::bad(invalid.to_string()))?;
        Ok((read, collector.take()))
    };
    let read = if small {
        work()
    } else {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Reading this request failed; it is a mistake of the log proxy.",
            ))
        })
    };
    let (read, batches) = read.inspect_err(|_| door.counters.invalid(protocol))?;
    let pushed = door.take(protocol, batches).await;
    drop(turn);
    pushed?.kept().await?;
    Ok(read)
}
