//! Loki's query API, as its documentation says, for those who may read
//! something and not everything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use nonna_logs::loki::{Authorize, router};
use nonna_logs::{Batch, LogProxy, Options, Record, Scope, Source, Stream};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tower::ServiceExt;

const BASE: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// `Authorization: reads PROJECT/ENVIRONMENT`.
struct Readers;

#[async_trait]
impl Authorize for Readers {
    async fn scope(&self, request: &Parts) -> Result<Scope, Response> {
        let value = request
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        match value.and_then(|value| value.strip_prefix("reads ")) {
            Some("everything") => Ok(Scope::Everything),
            Some(environment) => Ok(Scope::Environments([environment.into()].into())),
            None => Err(StatusCode::UNAUTHORIZED.into_response()),
        }
    }
}

async fn push(proxy: &LogProxy, service: &str, stream: Stream, at: i64, lines: &[&str]) {
    let mut batch = Batch::new();
    let index = batch.source(&Source::new(service, "v1.0", stream));
    for (second, line) in (0..).zip(lines) {
        batch.push(
            index,
            &Record {
                time: Some(at + second * SECOND),
                line: line.as_bytes(),
                fields: &[("trace-id", "abc")],
                ..Record::default()
            },
        );
    }
    proxy.intake().try_push(batch).unwrap().wait().await.unwrap();
}

struct Api {
    _folder: tempfile::TempDir,
    proxy: Arc<LogProxy>,
    router: axum::Router,
}

impl Api {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Arc::new(LogProxy::open(folder.path(), Options::default()).unwrap());
        let router = router(Arc::clone(&proxy), Arc::new(Readers));
        Self {
            _folder: folder,
            proxy,
            router,
        }
    }

    async fn ask(&self, reads: &str, request: http::request::Builder, body: &str) -> (StatusCode, String) {
        let request = request
            .header("authorization", format!("reads {reads}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn get(&self, reads: &str, path: &str) -> Value {
        let (status, body) = self
            .ask(reads, Request::get(format!("/loki/api/v1/{path}")), "")
            .await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn two_environments() -> Api {
    let api = Api::new();
    let lines = ["level=info one", "level=error two", "level=info three"];
    push(&api.proxy, "shop/production/web", Stream::Stdout, BASE, &lines).await;
    push(
        &api.proxy,
        "shop/staging/web",
        Stream::Stderr,
        BASE,
        &["level=warn secret of staging"],
    )
    .await;
    api
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_its_environment_and_nothing_of_another() {
    let api = two_environments().await;
    let range = format!("start={}&end={}", BASE - SECOND, BASE + 60 * SECOND);
    for path in [
        format!("query_range?{range}&query={}", encoded("{}")),
        format!(
            "query?time={}&query={}",
            BASE + 60 * SECOND,
            encoded("{project=\"shop\"}")
        ),
        format!(
            "query_range?{range}&query={}",
            encoded("sum by (environment) (count_over_time({}[1m]))")
        ),
        format!("labels?{range}"),
        format!("label/environment/values?{range}"),
        format!("label/service_name/values?{range}"),
        format!("series?{range}&match[]={}", encoded("{environment=~\".+\"}")),
    ] {
        let text = api.get("shop/production", &path).await.to_string();
        assert!(!text.contains("staging"), "{path}: {text}");
        let text = api.get("nobody/at-all", &path).await.to_string();
        assert!(!text.contains("shop"), "{path}: {text}");
        let request = Request::get(format!("/loki/api/v1/{path}"))
            .body(Body::empty())
            .unwrap();
        let answer = api.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let values = api
        .get("everything", &format!("label/environment/values?{range}"))
        .await;
    assert_eq!(
        values,
        json!({ "status": "success", "data": ["production", "staging"] })
    );
    let stats = api
        .get(
            "shop/production",
            &format!("index/stats?{range}&query={}", encoded("{}")),
        )
        .await;
    assert_eq!(
        stats,
        json!({ "streams": 1, "chunks": 0, "entries": 0, "bytes": 0 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_documented_shapes() {
    let api = two_environments().await;
    let selector = encoded("{environment=\"production\"} | trace_id=\"abc\" or trace_id=\"\"");
    let range = format!("start={BASE}&end={}", BASE + 2 * SECOND);
    let found = api
        .get(
            "everything",
            &format!("query_range?{range}&direction=forward&query={selector}"),
        )
        .await;
    assert_eq!(found["status"], "success");
    assert_eq!(found["data"]["resultType"], "streams");
    let labels = |level: &str| {
        json!({
            "environment": "production", "level": level, "project": "shop", "release": "v1",
            "replica": "v1.0", "service": "web", "service_name": "shop/production/web",
            "stream": "stdout", "trace_id": "abc",
        })
    };
    // The end is not of it; what came beside the line is a label.
    assert_eq!(
        found["data"]["result"],
        json!([
            { "stream": labels("error"), "values": [[(BASE + SECOND).to_string(), "level=error two"]] },
            { "stream": labels("info"), "values": [[BASE.to_string(), "level=info one"]] },
        ])
    );
    // Times as seconds, durations, forms.
    let form = format!(
        "query={}&start=1700000000&end=1700000003.5&limit=2",
        encoded("{service=\"web\"} |= \"level=info\"")
    );
    let post =
        Request::post("/loki/api/v1/query_range").header("content-type", "application/x-www-form-urlencoded");
    let (status, body) = api.ask("everything", post, &form).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let found: Value = serde_json::from_str(&body).unwrap();
    let lines: Vec<&str> = found["data"]["result"][0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value[1].as_str().unwrap())
        .collect();
    assert_eq!(lines, ["level=info three", "level=info one"]);

    let query = encoded("sum by (level) (count_over_time({environment=\"production\"}[2s]))");
    let range = format!("start=1700000000&end=1700000004&step=2&query={query}");
    let counted = api.get("everything", &format!("query_range?{range}")).await;
    assert_eq!(counted["data"]["resultType"], "matrix");
    assert_eq!(
        counted["data"]["result"],
        json!([
            { "metric": { "level": "error" }, "values": [[1_700_000_002.0, "1"]] },
            // At 0 s the first; at 2 s that of 2 s, as that of 0 s is 2 s old.
            { "metric": { "level": "info" }, "values": [[1_700_000_000.0, "1"], [1_700_000_002.0, "1"]] },
        ])
    );
    for (path, status) in [
        ("query_range", 400),
        ("query_range?query=%7B%7D&start=5&end=4", 400),
        ("query_range?query=%7B%7D&limit=0", 400),
        ("query_range?query=%7B%7D&direction=sideways", 400),
        (
            "query_range?query=rate(%7B%7D[1s])&start=0&end=1000000000&step=1",
            400,
        ),
        ("labels?start=never", 400),
        ("tail?query=%7B%7D", 400),
        ("nothing", 404),
    ] {
        let (got, body) = api
            .ask("everything", Request::get(format!("/loki/api/v1/{path}")), "")
            .await;
        assert_eq!(got.as_u16(), status, "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_has_what_was_and_what_comes_once_each_and_only_what_may_be_read() {
    let api = two_environments().await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = api.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut request = format!(
        "ws://{address}/loki/api/v1/tail?start={BASE}&query={}",
        encoded("{project=\"shop\"} |= \"level\"")
    )
    .into_client_request()
    .unwrap();
    request
        .headers_mut()
        .insert("authorization", "reads shop/production".parse().unwrap());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut lines = Vec::new();
    for round in 0..20_i64 {
        let text = format!("level=info later {round}");
        push(
            &api.proxy,
            "shop/production/web",
            Stream::Stdout,
            BASE + (10 + round) * SECOND,
            &[&text, "other"],
        )
        .await;
        push(
            &api.proxy,
            "shop/staging/web",
            Stream::Stdout,
            BASE,
            &["level=info not for you"],
        )
        .await;
    }
    while lines.len() < 23 {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.unwrap().unwrap().unwrap() {
            Message::Text(text) => {
                let json: Value = serde_json::from_str(&text).unwrap();
                assert!(json["dropped_entries"].is_null(), "{json}");
                for stream in json["streams"].as_array().unwrap() {
                    assert_eq!(stream["stream"]["environment"], "production");
                    for value in stream["values"].as_array().unwrap() {
                        lines.push(value[1].as_str().unwrap().to_owned());
                    }
                }
            }
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let later: Vec<&String> = lines.iter().filter(|line| line.contains("later")).collect();
    let wanted: Vec<String> = (0..20).map(|round| format!("level=info later {round}")).collect();
    assert_eq!(later, wanted.iter().collect::<Vec<_>>());
    assert_eq!(lines.len(), 23);
    drop(socket);
}
