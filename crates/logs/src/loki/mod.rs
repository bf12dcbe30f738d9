//! Loki's query API, so that Grafana, logcli and whatever else reads Loki reads
//! these logs: `/loki/api/v1/query_range`, `query`, `labels`,
//! `label/NAME/values`, `series`, `index/stats` and `tail`.

mod answer;
mod logql;
mod metric;
mod tail;
mod time;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use nonna_engine::error::Fault;
use nonna_engine::{Code, Error, Result};
use serde_json::json;

use crate::query::{Expr, Label, Order, Query, Scope};
use crate::record::{Batch, Record};
use crate::store::{LogProxy, Present, now};

use answer::{Streams, success};
use logql::{Asked, Metric};
use metric::{Counter, Steps};

/// The lines of an answer where nothing is said.
const LIMIT: usize = 100;
/// The most lines of an answer, as Loki has it where nobody set another.
const MOST: usize = 5_000;
/// Where nothing is said of the time: from an hour ago on.
const HOUR: i64 = 3_600 * 1_000_000_000;
/// The labels of these many hours are told of where nothing is said.
const LABEL_HOURS: i64 = 6;
/// The largest form.
const FORM_BYTES: usize = 64 * 1024;

/// Says what somebody may read.
#[async_trait]
pub trait Authorize: Send + Sync {
    /// What whoever sends this request may read; or the answer that refuses.
    async fn scope(&self, request: &Parts) -> std::result::Result<Scope, Response>;
}

/// Lets everybody read everything: for where somebody else has seen to it who
/// may ask.
#[derive(Debug, Clone, Copy)]
pub struct Everything;

#[async_trait]
impl Authorize for Everything {
    async fn scope(&self, _request: &Parts) -> std::result::Result<Scope, Response> {
        Ok(Scope::Everything)
    }
}

#[derive(Clone)]
struct Shared {
    proxy: Arc<LogProxy>,
    authorize: Arc<dyn Authorize>,
}

/// The API, to be merged into a server's router.
pub fn router(proxy: Arc<LogProxy>, authorize: Arc<dyn Authorize>) -> Router {
    Router::new()
        .route("/loki/api/v1/query_range", get(query_range).post(query_range))
        .route("/loki/api/v1/query", get(query).post(query))
        .route("/loki/api/v1/labels", get(labels).post(labels))
        .route("/loki/api/v1/label", get(labels))
        .route("/loki/api/v1/label/{name}/values", get(values))
        .route("/loki/api/v1/series", get(series).post(series))
        .route("/loki/api/v1/index/stats", get(index_stats).post(index_stats))
        .route("/loki/api/v1/tail", get(tail::tail))
        .route("/loki/api/v1/status/buildinfo", get(build_info))
        .with_state(Shared { proxy, authorize })
}

/// A refusal, in words as Loki's clients show them.
struct Refused(Response);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(response)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.fault {
            Fault::User => StatusCode::BAD_REQUEST,
            Fault::Provider => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut text = error.message;
        for more in error.details.iter().chain(&error.hint) {
            text.push('\n');
            text.push_str(more);
        }
        let plain = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        )];
        Self((status, plain, text).into_response())
    }
}

type Answer = std::result::Result<Response, Refused>;

fn wrong(message: impl Into<String>) -> Error {
    Error::user(Code::InvalidInput, message)
}

fn json_answer(text: String) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=UTF-8");
    ([(header::CONTENT_TYPE, kind)], Body::from(text)).into_response()
}

/// What a request asks, and of what it may.
struct Params {
    scope: Scope,
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the query, and the form of a `POST`.
    async fn read(shared: &Shared, request: Request) -> std::result::Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let scope = shared.authorize.scope(&parts).await?;
        let mut pairs = pairs(parts.uri.query().unwrap_or_default())?;
        if parts.method == Method::POST {
            let form = Limited::new(body, FORM_BYTES).collect().await;
            let form = form.map_err(|_| {
                wrong(format!(
                    "The form has more than {FORM_BYTES} bytes, or broke off."
                ))
            })?;
            let form = form.to_bytes();
            let text = std::str::from_utf8(&form).map_err(|_| wrong("The form is not UTF-8."))?;
            pairs.extend(self::pairs(text)?);
        }
        Ok(Self { scope, pairs })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.pairs.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn moment(&self, name: &str) -> Result<Option<i64>> {
        let read = |text| time::moment(text).ok_or_else(|| wrong(format!("`{name}` is no time: {text:.40}")));
        self.get(name).map(read).transpose()
    }

    fn duration(&self, name: &str) -> Result<Option<i64>> {
        let read = |text| {
            time::duration(text)
                .and_then(|duration| i64::try_from(duration.as_nanos()).ok())
                .ok_or_else(|| wrong(format!("`{name}` is no duration: {text:.40}")))
        };
        self.get(name).map(read).transpose()
    }

    /// From when (inclusive) to when (exclusive).
    fn range(&self, hours: i64) -> Result<(i64, i64)> {
        let end = self.moment("end")?.unwrap_or_else(now);
        let since = self.duration("since")?.unwrap_or(hours * HOUR);
        let start = self.moment("start")?.unwrap_or(end.saturating_sub(since));
        if start > end {
            return Err(wrong("end timestamp must not be before or equal to start time"));
        }
        Ok((start, end))
    }

    fn limit(&self) -> Result<usize> {
        let Some(text) = self.get("limit") else {
            return Ok(LIMIT);
        };
        let limit: usize = text
            .parse()
            .ok()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| wrong("limit must be a positive value"))?;
        if limit > MOST {
            return Err(wrong(format!(
                "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MOST})"
            )));
        }
        Ok(limit)
    }

    fn newest_first(&self) -> Result<bool> {
        match self.get("direction").map(str::to_ascii_lowercase).as_deref() {
            None | Some("backward") => Ok(true),
            Some("forward") => Ok(false),
            Some(_) => Err(wrong("direction must be `forward` or `backward`")),
        }
    }

    fn asked(&self) -> Result<Asked> {
        logql::parse(self.get("query").ok_or_else(|| wrong("`query` is missing"))?)
    }
}

fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    serde_urlencoded::from_str(text).map_err(|error| wrong(format!("The query is not readable: {error}")))
}

/// The lines that a condition finds.
async fn lines(
    shared: &Shared,
    params: Params,
    expr: Expr,
    (start, end): (i64, i64),
) -> std::result::Result<String, Refused> {
    let newest_first = params.newest_first()?;
    let limit = params.limit()?;
    let mut query = Query::new(params.scope, expr);
    query.since = Some(start);
    query.until = Some(end.saturating_sub(1));
    query.limit = limit;
    query.order = match newest_first {
        true => Order::NewestFirst,
        false => Order::OldestFirst,
    };
    let mut found = shared.proxy.search(query);
    let mut streams = Streams::default();
    while let Some(entry) = found.recv().await {
        streams.add(entry?);
        if streams.is_full() {
            break;
        }
    }
    Ok(streams.answer(newest_first))
}

async fn counts(
    shared: &Shared,
    scope: Scope,
    metric: &Metric,
    steps: Steps,
    instant: bool,
) -> std::result::Result<String, Refused> {
    let mut counter = Counter::new(metric, steps);
    let mut query = Query::new(scope, metric.of.clone());
    query.since = Some(counter.since());
    query.until = Some(steps.end);
    let mut found = shared.proxy.search(query);
    while let Some(entry) = found.recv().await {
        counter.add(&entry?)?;
    }
    Ok(success(&counter.answer(instant)))
}

/// A number, as a vector or as a matrix.
fn number(number: f64, at: i64, instant: bool) -> String {
    let point = json!([at.div_euclid(1_000_000_000), format!("{number}")]);
    let (kind, result) = match instant {
        true => ("vector", json!([{ "metric": {}, "value": point }])),
        false => ("matrix", json!([{ "metric": {}, "values": [point] }])),
    };
    success(&json!({ "resultType": kind, "result": result, "stats": answer::stats(0, 0) }))
}

async fn query_range(State(shared): State<Shared>, request: Request) -> Answer {
    let params = Params::read(&shared, request).await?;
    let (start, end) = params.range(1)?;
    let text = match params.asked()? {
        Asked::Lines(expr) => lines(&shared, params, expr, (start, end)).await?,
        Asked::Number(value) => number(value, end, false),
        Asked::Metric(metric) => {
            // Where nothing is said: as many as fill a screen.
            let usual = ((end - start) / 250).max(1_000_000_000);
            let step = params.duration("step")?.unwrap_or(usual);
            let steps = Steps::new(start, end, step)?;
            counts(&shared, params.scope, &metric, steps, false).await?
        }
    };
    Ok(json_answer(text))
}

async fn query(State(shared): State<Shared>, request: Request) -> Answer {
    let params = Params::read(&shared, request).await?;
    let at = params.moment("time")?.unwrap_or_else(now);
    let text = match params.asked()? {
        // The last hour's, as of then.
        Asked::Lines(expr) => {
            lines(
                &shared,
                params,
                expr,
                (at.saturating_sub(HOUR), at.saturating_add(1)),
            )
            .await?
        }
        Asked::Number(value) => number(value, at, true),
        Asked::Metric(metric) => {
            let steps = Steps::new(at, at, 1)?;
            counts(&shared, params.scope, &metric, steps, true).await?
        }
    };
    Ok(json_answer(text))
}

/// What there is in the time that is asked for.
async fn present(shared: &Shared, params: &Params) -> Result<Present> {
    let (start, end) = params.range(LABEL_HOURS)?;
    let (proxy, scope) = (Arc::clone(&shared.proxy), params.scope.clone());
    tokio::task::spawn_blocking(move || proxy.present_blocking(&scope, start, end))
        .await
        .map_err(|error| Error::bug("Reading which logs there are broke off.").said(error.to_string()))?
}

async fn labels(State(shared): State<Shared>, request: Request) -> Answer {
    let params = Params::read(&shared, request).await?;
    let present = present(&shared, &params).await?;
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for source in &present.sources {
        let has = |label: &Label| !label.of_source(source).is_empty();
        names.extend(Label::ALL.into_iter().filter(has).map(Label::name));
    }
    if !present.levels.is_empty() && !present.sources.is_empty() {
        names.insert(Label::Level.name());
    }
    Ok(json_answer(success(&json!(names))))
}

async fn values(State(shared): State<Shared>, Path(name): Path<String>, request: Request) -> Answer {
    let params = Params::read(&shared, request).await?;
    let selector = params.get("query").map(logql::parse_selector).transpose()?;
    let Some(label) = Label::from_name(&name) else {
        // A field's values are in the lines.
        return Ok(json_answer(success(&json!([]))));
    };
    let present = present(&shared, &params).await?;
    let mut values: BTreeSet<String> = BTreeSet::new();
    if label == Label::Level {
        if !present.sources.is_empty() {
            values.extend(present.levels.iter().map(|level| level.name().to_owned()));
        }
    } else {
        let wanted = present
            .sources
            .iter()
            .filter(|source| selector.as_ref().is_none_or(|expr| selects(expr, source)));
        values.extend(wanted.map(|source| label.of_source(source).to_owned()));
        values.remove("");
    }
    Ok(json_answer(success(&json!(values))))
}

/// Whether a selector fits a source, as far as a source alone shows.
fn selects(expr: &Expr, source: &Arc<crate::record::Source>) -> bool {
    let mut batch = Batch::new();
    let index = batch.source(source);
    batch.push(index, &Record::default());
    batch.get(0).is_some_and(|record| expr.matches(&record))
}

async fn series(State(shared): State<Shared>, request: Request) -> Answer {
    let params = Params::read(&shared, request).await?;
    let mut selectors = Vec::new();
    for text in params.all("match[]").chain(params.all("match")) {
        selectors.push(logql::parse_selector(text)?);
    }
    let present = present(&shared, &params).await?;
    let wanted = present
        .sources
        .iter()
        .filter(|source| selectors.is_empty() || selectors.iter().any(|expr| selects(expr, source)));
    let found: Vec<answer::Labels> = wanted.map(|source| answer::of_source(source)).collect();
    Ok(json_answer(success(&json!(found))))
}

async fn index_stats(State(shared): State<Shared>, request: Request) -> Answer {
    let params = Params::read(&shared, request).await?;
    let selector = params.get("query").map(logql::parse_selector).transpose()?;
    let present = present(&shared, &params).await?;
    let wanted = present
        .sources
        .iter()
        .filter(|source| selector.as_ref().is_none_or(|expr| selects(expr, source)));
    // Blocks are shared by all: how many records are whose is not known
    // without reading them.
    let (streams, everything) = (wanted.count(), params.scope == Scope::Everything);
    let (records, blocks, bytes) = match streams > 0 && everything {
        true => (present.records, present.blocks, present.bytes),
        false => (0, 0, 0),
    };
    let stats = json!({ "streams": streams, "chunks": blocks, "entries": records, "bytes": bytes });
    Ok(json_answer(stats.to_string()))
}

async fn build_info(State(shared): State<Shared>, request: Request) -> Answer {
    Params::read(&shared, request).await?;
    // Clients look for what this version of Loki can.
    let info = json!({
        "version": "2.9.0",
        "revision": concat!("nonna-", env!("CARGO_PKG_VERSION")),
        "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    });
    Ok(json_answer(info.to_string()))
}
