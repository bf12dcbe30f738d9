//! One build at the engine: the request, the stream of what it says, and
//! stopping it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bollard::models::BuildInfo;
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use futures_util::{Stream, StreamExt};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use nonna_engine::{Error, Result};

use super::session::{Offer, Session};
use super::wire::{API, Connection, Owned, empty, request};
use super::{Engine, Kind};

/// The longest line the engine may answer: a trace of many steps at once.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// The argument by which BuildKit is told the namespace of cache mounts.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";
/// How long the engine may take to stop a build before its connection is cut.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the engine is asked to build.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// The Dockerfile's path in the context.
    pub(crate) dockerfile: String,
    pub(crate) tag: String,
    pub(crate) target: Option<String>,
    pub(crate) arguments: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// In thousandths of a core.
    pub(crate) cpu_millis: Option<u32>,
    /// In bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) cgroup_parent: Option<String>,
    /// Use no layer of before.
    pub(crate) no_cache: bool,
    /// Whose cache mounts are used, also those of people's own Dockerfiles:
    /// BuildKit keeps those of other namespaces apart.
    pub(crate) cache_namespace: String,
    /// An image whose layers may be taken for steps.
    pub(crate) cache: Option<String>,
}

/// One thing that the engine said.
pub(crate) type Line = BuildInfo;

/// A build under way. Dropped, its connections are closed, which stops it.
pub(crate) struct Running {
    engine: Engine,
    id: Option<String>,
    body: Incoming,
    buffer: BytesMut,
    _session: Option<Session>,
    _connection: Owned,
}

impl Running {
    /// Starts a build of this context, a tar.
    pub(crate) async fn start(
        engine: &Engine,
        kind: Kind,
        query: &Query,
        offer: Offer,
        context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Self> {
        let id = random_id()?;
        let session = match kind {
            Kind::BuildKit => Some(Session::open(engine, id.clone(), offer).await?),
            Kind::Classic => None,
        };
        let path = query.path(session.as_ref().map(|session| (session.id.as_str(), id.as_str())));
        let body = StreamBody::new(context.map(|piece| piece.map(Frame::data)));
        let mut request = request(Method::POST, &path, BodyExt::boxed_unsync(body))?;
        request.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/x-tar"),
        );
        let connection = Connection::open(engine).await?;
        let (response, connection) = connection.send(engine, request).await?;
        let status = response.status();
        let body = response.into_body();
        if !status.is_success() {
            let words = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            return Err(engine.said_no("build", status.as_u16(), &message(&words)));
        }
        Ok(Self {
            engine: engine.clone(),
            id: matches!(kind, Kind::BuildKit).then_some(id),
            body,
            buffer: BytesMut::new(),
            _session: session,
            _connection: connection,
        })
    }

    /// The next thing the engine says; `None` at the end. Nothing is lost
    /// when this is dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                return self.parse(line).map(Some);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self
                    .engine
                    .said_no("build", 200, "its answer has an endless line"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.engine.unavailable(&error)),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let rest = self.buffer.split();
                    return self.parse(rest.trim_ascii()).map(Some);
                }
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Line> {
        serde_json::from_slice(line).map_err(|error| {
            self.engine
                .said_no("build", 200, &format!("its answer cannot be read: {error}"))
        })
    }

    /// Stops the build: asks for it, then closes the connections.
    pub(crate) async fn cancel(self) {
        let Some(id) = &self.id else { return };
        let ask = async {
            let request = request(Method::POST, &format!("{API}/build/cancel?id={id}"), empty())?;
            Connection::open(&self.engine)
                .await?
                .send(&self.engine, request)
                .await
        };
        match tokio::time::timeout(CANCEL_TIMEOUT, ask).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the engine did not take a build's cancellation"),
            Err(_) => tracing::warn!("the engine did not answer a build's cancellation in time"),
        }
    }
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::bug(format!("no random numbers: {error}")))?;
    Ok(HEXLOWER.encode(&bytes))
}

pub(super) fn message(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

impl Query {
    fn path(&self, session: Option<(&str, &str)>) -> String {
        let mut path = format!("{API}/build?rm=1&forcerm=1");
        let mut add = |name: &str, value: &str| {
            let _ = write!(path, "&{name}=");
            escape(&mut path, value);
        };
        add("dockerfile", &self.dockerfile);
        add("t", &self.tag);
        // Sorted maps of texts: this cannot fail.
        add("labels", &serde_json::to_string(&self.labels).unwrap_or_default());
        let mut arguments = self.arguments.clone();
        if session.is_some() && !self.cache_namespace.is_empty() {
            arguments.insert(CACHE_NAMESPACE.to_owned(), self.cache_namespace.clone());
        }
        add(
            "buildargs",
            &serde_json::to_string(&arguments).unwrap_or_default(),
        );
        if self.no_cache {
            add("nocache", "1");
        }
        if let Some(target) = &self.target {
            add("target", target);
        }
        if let Some(millis) = self.cpu_millis {
            add("cpuperiod", "100000");
            add("cpuquota", &(u64::from(millis) * 100).to_string());
        }
        if let Some(memory) = self.memory {
            add("memory", &memory.to_string());
            add("memswap", &memory.to_string());
        }
        if let Some(parent) = &self.cgroup_parent {
            add("cgroupparent", parent);
        }
        if let (Some(cache), Some(_)) = (&self.cache, session) {
            add("cachefrom", &serde_json::json!([cache]).to_string());
        }
        if let Some((session, build)) = session {
            add("version", "2");
            add("session", session);
            add("buildid", build);
        }
        path
    }
}

/// Percent-encoding of everything that is not plainly harmless.
pub(super) fn escape(to: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_can_become_another_parameter() {
        let query = Query {
            dockerfile: "a&t=b c%\"é".into(),
            arguments: [("X".into(), "1&pull=1".into())].into(),
            cpu_millis: Some(500),
            ..Query::default()
        };
        let path = query.path(Some(("s", "b")));
        assert_eq!(
            path,
            "/v1.41/build?rm=1&forcerm=1&dockerfile=a%26t%3Db%20c%25%22%C3%A9&t=&labels=%7B%7D\
             &buildargs=%7B%22X%22%3A%221%26pull%3D1%22%7D&cpuperiod=100000&cpuquota=50000\
             &version=2&session=s&buildid=b"
        );
    }
}
