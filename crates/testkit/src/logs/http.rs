//! A receiver over HTTP: it speaks as Loki, Elasticsearch, a collector, S3 or
//! whatever takes lines, and keeps what it takes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nonna_logs::protocol::{elastic, lines, loki, otlp};
use nonna_logs::wire::compress::Encoding;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::receiver::{collector, records};
use super::{Behaviour, Got, Receiver};

/// The largest body, decompressed.
const BODY_BYTES: usize = 64 * 1024 * 1024;

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Loki's push API.
    Loki,
    /// Elasticsearch's bulk API.
    Elasticsearch,
    /// OTLP.
    Otlp,
    /// Lines of JSON.
    Lines,
    /// S3.
    S3,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    /// By what names it: an id, an object's name; else by number.
    got: BTreeMap<String, Vec<Got>>,
    /// The names of objects, or ids, or numbers, in the order in which they
    /// came.
    order: Vec<String>,
    heads: Vec<http::request::Parts>,
}

/// A receiver on a free port of this machine; dropped, it is gone.
pub struct HttpReceiver {
    speaks: Speaks,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpReceiver {
    /// Starts one.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn start(speaks: Speaks) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(speaks, Arc::clone(&shared), request));
                    // Who sends sees how it ends.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self {
            speaks,
            address,
            state,
            task,
        })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The value of a header of the last request.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let state = lock(&self.state);
        let value = state.heads.last()?.headers.get(name)?;
        value.to_str().ok().map(ToOwned::to_owned)
    }

    /// The paths of all requests.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let state = lock(&self.state);
        state
            .heads
            .iter()
            .map(|head| head.uri.path().to_owned())
            .collect()
    }
}

type Answer = Response<Full<Bytes>>;

fn says(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

async fn answer(speaks: Speaks, state: Arc<Mutex<State>>, request: Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let behaviour = lock(&state).behaviour.clone();
    match behaviour {
        Behaviour::Cuts => return Err(io::ErrorKind::ConnectionReset.into()),
        Behaviour::Busy(after) => {
            let mut answer = says(StatusCode::SERVICE_UNAVAILABLE, "busy");
            if let Some(seconds) = after {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            return Ok(answer);
        }
        Behaviour::Forbids => return Ok(says(StatusCode::UNAUTHORIZED, "who are you?")),
        _ => {}
    }
    let encoding = head
        .headers
        .get(header::CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let encoding = match speaks {
        // An object is what it is.
        Speaks::S3 => Encoding::Gzip,
        _ => Encoding::from_header(encoding).unwrap_or(Encoding::Identity),
    };
    let path = head.uri.path().to_owned();
    let decoded = encoding.decode(&body, BODY_BYTES).map_err(io::Error::other)?;
    let mut state = lock(&state);
    state.heads.push(head);
    Ok(take(speaks, &mut state, &path, &decoded))
}

fn take(speaks: Speaks, state: &mut State, path: &str, body: &[u8]) -> Answer {
    if speaks == Speaks::Elasticsearch {
        return bulk(state, body);
    }
    let mut out = collector();
    let read = match speaks {
        Speaks::Loki => loki::protobuf(body, &mut out),
        Speaks::Otlp => otlp::protobuf(body, &mut out),
        _ => {
            lines::body(body, &mut out);
            Ok(())
        }
    };
    if let Err(invalid) = read {
        return says(StatusCode::BAD_REQUEST, invalid.to_string());
    }
    let got = records(&mut out);
    match state.behaviour {
        Behaviour::TakesAtMost(most) if got.len() > most => {
            return says(StatusCode::PAYLOAD_TOO_LARGE, "too much at once");
        }
        Behaviour::Refuses(text) if got.iter().any(|got| got.line.contains(text)) => {
            return says(StatusCode::BAD_REQUEST, "one of these is not wanted");
        }
        _ => {}
    }
    let name = match speaks {
        Speaks::S3 => path.to_owned(),
        _ => state.order.len().to_string(),
    };
    put(state, name, got);
    match speaks {
        Speaks::Loki => says(StatusCode::NO_CONTENT, ""),
        Speaks::Otlp => says(StatusCode::OK, otlp::answer(0, "")),
        _ => says(StatusCode::OK, ""),
    }
}

fn put(state: &mut State, name: String, got: Vec<Got>) {
    if state.got.insert(name.clone(), got).is_none() {
        state.order.push(name);
    }
}

fn bulk(state: &mut State, body: &[u8]) -> Answer {
    let lines: Vec<&[u8]> = body
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    if let Behaviour::TakesAtMost(most) = state.behaviour
        && lines.len() / 2 > most
    {
        return says(StatusCode::PAYLOAD_TOO_LARGE, "too much at once");
    }
    let (mut items, mut errors) = (Vec::new(), false);
    for pair in lines.chunks(2) {
        let [action, document] = pair else {
            return says(StatusCode::BAD_REQUEST, "an action without a document");
        };
        let action: Value = serde_json::from_slice(action).unwrap_or_default();
        let id = action["create"]["_id"].as_str().unwrap_or_default().to_owned();
        let mut out = collector();
        let read = elastic::document(document, "index", &mut out);
        let got = records(&mut out);
        let unwanted = match state.behaviour {
            Behaviour::Refuses(text) => got.iter().any(|got| got.line.contains(text)),
            _ => read.is_err(),
        };
        let status = if unwanted {
            400
        } else if state.got.contains_key(&id) {
            409
        } else {
            put(state, id.clone(), got);
            201
        };
        errors |= status != 201;
        let error = json!({ "type": "document_parsing_exception", "reason": "not wanted" });
        items.push(match status {
            201 => json!({ "create": { "_id": id, "status": status } }),
            _ => json!({ "create": { "_id": id, "status": status, "error": error } }),
        });
    }
    let body = json!({ "took": 1, "errors": errors, "items": items });
    says(StatusCode::OK, body.to_string())
}

impl Receiver for HttpReceiver {
    fn got(&self) -> Vec<Got> {
        let state = lock(&self.state);
        state
            .order
            .iter()
            .filter_map(|name| state.got.get(name))
            .flatten()
            .cloned()
            .collect()
    }

    fn behave(&self, behaviour: Behaviour) {
        lock(&self.state).behaviour = behaviour;
    }

    fn answers(&self) -> bool {
        true
    }

    fn knows_twice(&self) -> bool {
        matches!(self.speaks, Speaks::Elasticsearch | Speaks::S3)
    }

    fn can_refuse(&self) -> bool {
        self.speaks != Speaks::S3
    }
}
