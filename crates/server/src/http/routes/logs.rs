//! Log lines as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, header};
use nonna_api::{LogLineAnswer, LogOrder, LogsQuery, paths};
use nonna_engine::{Code, Error, Result};
use nonna_logs::{Entry, Expr, Found, LogProxy, Order, Query, Scope, Stream, query as language, rfc3339};
use nonna_model::Name;

use super::super::App;
use super::super::failure::Answer;
use super::super::input::{InEnvironment, OfService, Params};
use super::super::registry::{Registry, get};
use super::deployments::{error_event, last_event_id, respond};
use super::services;
use crate::auth::Permission;

/// The most lines that `tail` may ask for.
const LONGEST_TAIL: u32 = 1_000_000;
/// The lines where nothing else is asked for.
const TAIL: usize = 100;
/// The longest text to look for.
const LONGEST_GREP: usize = 1000;
/// The most lines around each.
const MOST_CONTEXT: u32 = 1000;
/// About so many bytes of an export travel together.
const PIECE: usize = 64 * 1024;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::LOGS,
                Permission::Read,
                "A service's log lines, as server-sent events.",
            )
            .query::<LogsQuery>()
            .answers_kind("text/event-stream"),
            of_service,
        )
        .add(
            get(
                paths::ENVIRONMENT_LOGS,
                Permission::Read,
                "The log lines of all services of the environment, as server-sent events.",
            )
            .query::<LogsQuery>()
            .answers_kind("text/event-stream"),
            of_environment,
        )
        .add(
            get(
                paths::ENVIRONMENT_LOGS_EXPORT,
                Permission::Read,
                "The log lines of the environment, oldest first, one JSON object a line.",
            )
            .query::<LogsQuery>()
            .answers_kind("application/x-ndjson"),
            export,
        )
}

async fn of_service(
    State(app): State<Arc<App>>,
    at: OfService,
    Params(query): Params<LogsQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    services::must(&snapshot, &at)?;
    let scope = Scope::Services([label(&at.project, &at.environment, at.service.as_str())].into());
    lines(&app, scope, &query, &headers)
}

async fn of_environment(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Params(query): Params<LogsQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    app.snapshot(&at.project, &at.environment).await?;
    lines(&app, environment(&at), &query, &headers)
}

fn label(project: &Name, environment: &Name, service: &str) -> Arc<str> {
    format!("{project}/{environment}/{service}").into()
}

fn environment(at: &InEnvironment) -> Scope {
    Scope::Environments([format!("{}/{}", at.project, at.environment).into()].into())
}

fn proxy(app: &App) -> Result<&Arc<LogProxy>> {
    let logs = app.logs.as_ref();
    logs.map(crate::logs::Logs::proxy)
        .ok_or_else(|| Error::provider(Code::NotFound, "This server keeps no logs."))
}

/// Which streams are wanted; `None`: the usual ones.
fn streams(query: &LogsQuery) -> Result<Option<Expr>> {
    if query.access {
        return Ok(Some(Expr::streams([Stream::Edge])));
    }
    let Some(text) = query.stream.as_deref() else {
        return Ok(None);
    };
    if text == "all" {
        return Ok(Some(Expr::All));
    }
    let mut wanted = Vec::new();
    for name in text.split(',') {
        wanted.push(Stream::from_name(name.trim()).ok_or_else(|| {
            Error::user(Code::InvalidInput, "`stream` names none that there is.").hint(format!(
                "There are {}, and `all`.",
                Stream::ALL.map(Stream::name).join(", ")
            ))
        })?);
    }
    Ok(Some(Expr::streams(wanted)))
}

/// What a path's query asks, within what the caller may read.
fn asked(scope: Scope, query: &LogsQuery) -> Result<Query> {
    let wrong = |message: String| Err(Error::user(Code::InvalidInput, message));
    if query.tail.is_some_and(|t| t > LONGEST_TAIL) {
        return wrong(format!("`tail` may be {LONGEST_TAIL} at most."));
    }
    if query.grep.as_ref().is_some_and(|g| g.len() > LONGEST_GREP) {
        return wrong(format!("`grep` may have {LONGEST_GREP} bytes at most."));
    }
    if query.context.is_some_and(|c| c > MOST_CONTEXT) {
        return wrong(format!("`context` may be {MOST_CONTEXT} at most."));
    }
    if query.follow && query.until.is_some() {
        return wrong("`follow` and `until` exclude each other.".to_owned());
    }
    if query.follow && query.order == LogOrder::Newest {
        return wrong("`follow` and `order=newest` exclude each other.".to_owned());
    }
    if let (Some(since), Some(until)) = (query.since, query.until)
        && since > until
    {
        return wrong("`since` is after `until`.".to_owned());
    }
    let mut expr = match query.query.as_deref() {
        Some(text) => language::parse(text)?,
        None => Expr::All,
    };
    let usual = || {
        Expr::streams(
            Stream::ALL
                .into_iter()
                .filter(|stream| !matches!(stream, Stream::Edge | Stream::Nonna)),
        )
    };
    match streams(query)? {
        Some(streams) => expr = streams.and(expr),
        None if expr.names_streams() => {}
        None => expr = usual().and(expr),
    }
    if let Some(text) = query.grep.as_deref().filter(|text| !text.is_empty()) {
        expr = expr.and(Expr::contains(text));
    }
    let narrow = query.since.is_some() || query.until.is_some();
    let tail = match query.tail {
        Some(LONGEST_TAIL) => None,
        Some(tail) => usize::try_from(tail).ok(),
        None if narrow => None,
        None => Some(TAIL),
    };
    let nanos = |millis: i64| millis.saturating_mul(1_000_000);
    let mut asked = Query::new(scope, expr);
    asked.since = query.since.map(nanos);
    // All of this millisecond.
    asked.until = query.until.map(|until| nanos(until).saturating_add(999_999));
    let around = query.context.and_then(|c| usize::try_from(c).ok()).unwrap_or(0);
    asked.context = (around, around);
    match query.order {
        LogOrder::Oldest => {
            asked.order = Order::OldestFirst;
            asked.last = tail;
        }
        LogOrder::Newest => asked.limit = tail.unwrap_or(usize::MAX),
    }
    Ok(asked)
}

pub(super) fn answer(entry: &Entry) -> LogLineAnswer {
    let source = &entry.source;
    let service = source.service.rsplit('/').next().unwrap_or_default();
    // `v3.0`: a replica of a release; `v3`: what was done for the release.
    let (release, replica) = match source.replica.split_once('.') {
        Some((release, index)) => (release, index.parse().ok()),
        None => (&*source.replica, None),
    };
    let mut time = String::new();
    rfc3339(&mut time, entry.time);
    LogLineAnswer {
        at: entry.time.div_euclid(1_000_000),
        time,
        number: entry.number,
        service: service.to_owned(),
        release: (!release.is_empty()).then(|| release.to_owned()),
        replica,
        stream: source.stream.name().to_owned(),
        level: (!entry.level.name().is_empty()).then(|| entry.level.name().to_owned()),
        trace: entry.trace.clone(),
        fields: entry.fields.iter().cloned().collect(),
        context: entry.context,
        missed: None,
        line: String::from_utf8_lossy(&entry.line).into_owned(),
    }
}

fn missed(records: u64) -> LogLineAnswer {
    LogLineAnswer {
        at: jiff::Timestamp::now().as_millisecond(),
        stream: Stream::Proxy.name().to_owned(),
        missed: Some(records),
        ..LogLineAnswer::default()
    }
}

fn event(found: Result<Found>) -> SseEvent {
    match found {
        Ok(Found::Entry(entry)) => SseEvent::default()
            .id(entry.number.to_string())
            .json_data(answer(&entry))
            .unwrap_or_default(),
        Ok(Found::Missed(records)) => SseEvent::default().json_data(missed(records)).unwrap_or_default(),
        Err(error) => error_event(error),
    }
}

fn lines(app: &Arc<App>, scope: Scope, query: &LogsQuery, headers: &HeaderMap) -> Answer<Response> {
    let proxy = proxy(app)?;
    let mut wanted = asked(scope, query)?;
    // A client that was cut off goes on where it was.
    if headers.contains_key("last-event-id") {
        let last = last_event_id(headers)?;
        match wanted.order {
            Order::OldestFirst => (wanted.from, wanted.last) = (last.saturating_add(1), None),
            Order::NewestFirst => wanted.before = last,
        }
    }
    let found: BoxStream<'static, Result<Found>> = if query.follow {
        receiver(proxy.watch(wanted)).boxed()
    } else {
        receiver(proxy.search(wanted))
            .map(|entry| entry.map(Found::Entry))
            .boxed()
    };
    let events = found
        .map(|found| Ok::<_, Infallible>(event(found)))
        .take_until(app.closing.clone().cancelled_owned());
    Ok(respond(events))
}

fn receiver<T: Send + 'static>(
    from: tokio::sync::mpsc::Receiver<T>,
) -> impl futures_util::Stream<Item = T> + Send {
    stream::unfold(from, async |mut from| from.recv().await.map(|item| (item, from)))
}

async fn export(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Params(query): Params<LogsQuery>,
) -> Answer<Response> {
    app.snapshot(&at.project, &at.environment).await?;
    let mut wanted = asked(environment(&at), &query)?;
    wanted.order = Order::OldestFirst;
    if query.tail.is_none() {
        wanted.last = None;
    }
    let found = proxy(&app)?.search(wanted);
    let pieces = stream::unfold(Some((found, app.closing.clone())), async |state| {
        let (mut found, closing) = state?;
        let mut text = String::new();
        while text.len() < PIECE {
            let entry = tokio::select! {
                entry = found.recv() => entry,
                () = closing.cancelled() => return Some((Err(cut_off("The server is stopping.")), None)),
            };
            match entry {
                Some(Ok(entry)) => {
                    entry.json_into(&mut text);
                    text.push('\n');
                }
                // A body that breaks off is no whole export.
                Some(Err(error)) => return Some((Err(cut_off(&error.message)), None)),
                None if text.is_empty() => return None,
                None => return Some((Ok(Bytes::from(text)), None)),
            }
        }
        Some((Ok(Bytes::from(text)), Some((found, closing))))
    });
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

fn cut_off(why: &str) -> std::io::Error {
    std::io::Error::other(why.to_owned())
}
