//! Log lines as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event as SseEvent;
use futures_util::stream::{self, BoxStream, StreamExt};
use nonna_api::{LogLineAnswer, LogsQuery, paths};
use nonna_engine::ports::runtime::{LogLine, LogQuery};
use nonna_engine::{Code, Error, Result};
use nonna_model::Name;
use nonna_store::records::{EnvironmentSnapshot, Service};

use super::super::App;
use super::super::failure::Answer;
use super::super::input::{InEnvironment, OfService, Params};
use super::super::registry::{Registry, get};
use super::deployments::{error_event, respond};
use super::services;
use crate::auth::Permission;

/// The most lines of each replica that `tail` may ask for.
const LONGEST_TAIL: u32 = 100_000;
/// The lines of each replica where nothing else is asked for.
const TAIL: u32 = 100;
/// How many lines of several services are put in the order of their times.
const SORTED: usize = 50_000;
/// The longest text to look for.
const LONGEST_GREP: usize = 1000;

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
}

type Lines = BoxStream<'static, Result<LogLineAnswer>>;

async fn of_service(
    State(app): State<Arc<App>>,
    at: OfService,
    Params(query): Params<LogsQuery>,
) -> Answer<Response> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let service = services::must(&snapshot, &at)?.clone();
    lines(&app, &snapshot, vec![service], &query).await
}

async fn of_environment(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Params(query): Params<LogsQuery>,
) -> Answer<Response> {
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let services = snapshot.services.clone();
    lines(&app, &snapshot, services, &query).await
}

fn checked(query: &LogsQuery) -> Answer<LogQuery> {
    let wrong = |message: String| Err(Error::user(Code::InvalidInput, message).into());
    if query.tail.is_some_and(|t| t > LONGEST_TAIL) {
        return wrong(format!("`tail` may be {LONGEST_TAIL} at most."));
    }
    if query.grep.as_ref().is_some_and(|g| g.len() > LONGEST_GREP) {
        return wrong(format!("`grep` may have {LONGEST_GREP} bytes at most."));
    }
    if query.follow && query.until.is_some() {
        return wrong("`follow` and `until` exclude each other.".to_owned());
    }
    if let (Some(since), Some(until)) = (query.since, query.until)
        && since > until
    {
        return wrong("`since` is after `until`.".to_owned());
    }
    let tail = match (query.tail, query.since) {
        (Some(tail), _) => Some(tail),
        (None, Some(_)) => None,
        (None, None) => Some(TAIL),
    };
    Ok(LogQuery {
        release: None,
        index: None,
        since: query.since,
        until: query.until,
        tail,
        follow: query.follow,
    })
}

fn answer(name: &Name, line: LogLine) -> LogLineAnswer {
    LogLineAnswer {
        at: line.at,
        service: name.to_string(),
        release: Some(line.release.to_string()),
        replica: Some(line.index),
        stream: if line.stderr { "stderr" } else { "stdout" }.to_owned(),
        line: line.line,
    }
}

async fn open(
    app: &App,
    snapshot: &EnvironmentSnapshot,
    service: &Service,
    query: &LogsQuery,
) -> Answer<Lines> {
    let wanted = checked(query)?;
    if query.access {
        let label = format!(
            "{}/{}/{}",
            snapshot.scope.project_name, snapshot.scope.environment_name, service.name
        );
        return Ok(app.logs.access(&label, service.name.as_str(), &wanted).await?);
    }
    let name = service.name.clone();
    let lines = app.runtime.logs(&service.id, &wanted).await?;
    Ok(lines.map(move |line| line.map(|l| answer(&name, l))).boxed())
}

async fn lines(
    app: &Arc<App>,
    snapshot: &EnvironmentSnapshot,
    services: Vec<Service>,
    query: &LogsQuery,
) -> Answer<Response> {
    let mut opened = Vec::with_capacity(services.len());
    for service in &services {
        opened.push(open(app, snapshot, service, query).await?);
    }
    let grep = query.grep.clone();
    let matching = move |line: &Result<LogLineAnswer>| {
        let found = match (line, &grep) {
            (Ok(line), Some(text)) => line.line.contains(text.as_str()),
            _ => true,
        };
        std::future::ready(found)
    };
    let all: Lines = if opened.len() > 1 && !query.follow {
        sorted(opened).await.boxed()
    } else {
        stream::select_all(opened).boxed()
    };
    let closing = app.closing.clone();
    let events = all
        .filter(matching)
        .map(|line| {
            Ok::<_, Infallible>(match line {
                Ok(line) => SseEvent::default().json_data(&line).unwrap_or_default(),
                Err(error) => error_event(error),
            })
        })
        .take_until(closing.cancelled_owned());
    Ok(respond(events))
}

/// Several services' lines in the order of their times.
async fn sorted(opened: Vec<Lines>) -> impl futures_util::Stream<Item = Result<LogLineAnswer>> {
    let mut lines = Vec::new();
    let mut error = None;
    let mut all = stream::select_all(opened);
    while let Some(line) = all.next().await {
        match line {
            Ok(line) => lines.push(line),
            Err(e) => error = Some(e),
        }
        if lines.len() >= SORTED {
            break;
        }
    }
    lines.sort_by_key(|l| l.at);
    stream::iter(lines.into_iter().map(Ok).chain(error.map(Err)))
}
