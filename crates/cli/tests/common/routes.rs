//! The fake's paths.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use nonna_api::{
    ContextAnswer, DeploymentAnswer, DoctorAnswer, ExportAnswer, Failure, Finding, Frame, LogLineAnswer,
    LoginAnswer, LoginRequest, Page, PlanAnswer, ProjectAnswer, ReleaseAnswer, VariableAnswer,
    VariablesAnswer, VersionAnswer, paths,
};
use nonna_engine::event::Event;
use nonna_engine::{Code, Error};
use nonna_model::context::ContextManifest;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answers::{self, AT};
use super::{Script, State};

type App = Arc<State>;

fn refuse(status: StatusCode, error: Error) -> Response {
    (status, Json(Failure { error })).into_response()
}

pub(crate) fn routes(state: App) -> axum::Router {
    let begin = |kind: &'static str| {
        post(move |Shared(app): Shared<App>, body: Bytes| async move {
            keep(&app, &body);
            Json(begun(&app, kind))
        })
    };
    axum::Router::new()
        .route(paths::PROJECTS, get(projects))
        .route(paths::CONTEXTS, post(contexts))
        .route(paths::CONTEXT_BLOBS, put(blobs))
        .route(paths::ENVIRONMENT, get(environment))
        .route(paths::PLAN, post(plan))
        .route(paths::DEPLOYMENTS, begin("deploy"))
        .route(paths::ROLLBACK, begin("rollback"))
        .route(paths::SCALE, begin("scale"))
        .route(paths::PAUSE, begin("pause"))
        .route(paths::RESUME, begin("resume"))
        .route(paths::SERVICE_DESTROY, begin("destroy"))
        .route(paths::ENVIRONMENT_DESTROY, begin("destroy"))
        .route(
            paths::DEPLOYMENT,
            get(|Shared(app): Shared<App>| async move { Json(begun(&app, "deploy")) }),
        )
        .route(paths::DEPLOYMENT_EVENTS, get(events))
        .route(paths::DEPLOYMENT_CANCEL, post(cancel))
        .route(paths::VARIABLES, get(variables).post(change_variables))
        .route(paths::SECRET, get(secret))
        .route(paths::RELEASES, get(releases))
        .route(paths::ENVIRONMENT_LOGS, get(logs))
        .route(paths::LOGS, get(logs))
        .route(paths::EXEC, get(session))
        .route(paths::RUN, get(session))
        .route(paths::EXPORT, get(export))
        .route(paths::DOCTOR, get(doctor))
        .route(paths::BACKUP, get(|| async { "the state" }))
        .layer(middleware::from_fn(authenticate))
        .route(paths::VERSION, get(version))
        .route(paths::LOGIN, post(login))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), write_down))
        .with_state(state)
}

async fn write_down(Shared(app): Shared<App>, request: Request, next: Next) -> Response {
    let line = format!(
        "{} {}",
        request.method(),
        request.uri().path_and_query().unwrap().as_str()
    );
    app.asked.lock().unwrap().push(line);
    next.run(request).await
}

async fn authenticate(request: Request, next: Next) -> Response {
    let good = HeaderValue::from_static("Bearer good");
    if request.headers().get(header::AUTHORIZATION) == Some(&good) {
        next.run(request).await
    } else {
        refuse(
            StatusCode::UNAUTHORIZED,
            Error::user(Code::Unauthenticated, "No valid token."),
        )
    }
}

fn keep(app: &State, body: &[u8]) {
    if let Ok(value) = serde_json::from_slice(body) {
        app.bodies.lock().unwrap().push(value);
    }
}

fn begun(app: &State, kind: &str) -> DeploymentAnswer {
    let empty = app.script == Script::NothingToDo;
    answers::deployment(kind, empty, if empty { "succeeded" } else { "running" })
}

async fn version() -> Json<VersionAnswer> {
    Json(VersionAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        installation: "ins-aaaaaaaaaaaaaaaa".to_owned(),
        runtime: Some("Docker Engine 20.10.24".to_owned()),
    })
}

async fn login(Json(request): Json<LoginRequest>) -> Response {
    if request.code == "right" {
        Json(LoginAnswer {
            token: "good".to_owned(),
        })
        .into_response()
    } else {
        refuse(
            StatusCode::UNAUTHORIZED,
            Error::user(Code::Unauthenticated, "The code is wrong, or was used before.")
                .hint("On the server, `nonna server login-code` makes a new one."),
        )
    }
}

async fn projects() -> Json<Page<ProjectAnswer>> {
    Json(Page {
        items: Vec::new(),
        next: None,
    })
}

async fn contexts(Shared(app): Shared<App>, Json(manifest): Json<ContextManifest>) -> Json<ContextAnswer> {
    let known = app.known.lock().unwrap();
    Json(ContextAnswer {
        digest: manifest.digest(),
        missing: manifest
            .blobs()
            .into_keys()
            .filter(|blob| !known.contains(*blob))
            .map(str::to_owned)
            .collect(),
    })
}

async fn blobs(Shared(app): Shared<App>, body: Bytes) -> StatusCode {
    let mut known = app.known.lock().unwrap();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let size = u64::from_be_bytes(rest[64..72].try_into().unwrap());
        known.insert(String::from_utf8(rest[..64].to_vec()).unwrap());
        rest = &rest[72 + usize::try_from(size).unwrap()..];
    }
    StatusCode::NO_CONTENT
}

async fn environment(Path((project, environment)): Path<(String, String)>) -> Response {
    if (project.as_str(), environment.as_str()) == ("shop", "production") {
        Json(answers::environment()).into_response()
    } else {
        refuse(
            StatusCode::NOT_FOUND,
            Error::user(
                Code::NotFound,
                format!("There is no environment {project}/{environment}."),
            )
            .hint("Deploy something into it: `nonna deploy`."),
        )
    }
}

async fn plan(Shared(app): Shared<App>, body: Bytes) -> Json<PlanAnswer> {
    keep(&app, &body);
    Json(PlanAnswer {
        plan: answers::plan(app.script == Script::NothingToDo),
        digest: "d".repeat(64),
    })
}

fn sse(events: &[Event], from: usize) -> String {
    (from + 1..)
        .zip(&events[from..])
        .map(|(id, event)| format!("id: {id}\ndata: {}\n\n", serde_json::to_string(event).unwrap()))
        .collect()
}

async fn events(Shared(app): Shared<App>, headers: HeaderMap) -> Response {
    let after: usize = headers
        .get("last-event-id")
        .map_or(0, |id| id.to_str().unwrap().parse().unwrap());
    let pieces: Vec<Result<String, Infallible>> = match app.script {
        Script::Unhealthy => vec![Ok(sse(&answers::bad_events(), after))],
        Script::Breaks if !std::mem::replace(&mut *app.broke.lock().unwrap(), true) => {
            vec![Ok(sse(&answers::good_events()[..4], after))]
        }
        Script::WaitsForCancel => {
            let (before, then) = answers::cancelled_events();
            let mut all = before.clone();
            all.extend(then);
            let count = before.len();
            let body = stream::once(async move { Ok::<_, Infallible>(sse(&before, 0)) }).chain(stream::once(
                async move {
                    app.cancelled.notified().await;
                    Ok(sse(&all, count))
                },
            ));
            return (
                [(header::CONTENT_TYPE, "text/event-stream")],
                Body::from_stream(body),
            )
                .into_response();
        }
        _ => vec![Ok(sse(&answers::good_events(), after))],
    };
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(stream::iter(pieces)),
    )
        .into_response()
}

async fn cancel(Shared(app): Shared<App>) -> StatusCode {
    app.cancelled.notify_one();
    StatusCode::ACCEPTED
}

async fn variables() -> Json<Page<VariableAnswer>> {
    let variable = |name: &str, value: Option<&str>, scope: &str| VariableAnswer {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        secret: value.is_none(),
        scope: scope.to_owned(),
        service: None,
        updated_at: AT,
    };
    Json(Page {
        items: vec![
            variable("LEVEL", Some("near"), "environment"),
            variable("LEVEL", Some("far"), "project"),
            variable("TOKEN", None, "environment"),
        ],
        next: None,
    })
}

async fn change_variables(Shared(app): Shared<App>, body: Bytes) -> Json<VariablesAnswer> {
    keep(&app, &body);
    let stage = serde_json::from_slice::<serde_json::Value>(&body).unwrap()["stage"] == true;
    Json(VariablesAnswer {
        deployment: (!stage).then(|| begun(&app, "variables")),
    })
}

async fn secret() -> Json<VariableAnswer> {
    Json(VariableAnswer {
        name: "TOKEN".to_owned(),
        value: Some("s3cret".to_owned()),
        secret: true,
        scope: "environment".to_owned(),
        service: None,
        updated_at: AT,
    })
}

async fn releases() -> Json<Page<ReleaseAnswer>> {
    let release = |number: u32, current| ReleaseAnswer {
        reference: None,
        release: format!("v{number}"),
        current,
        state: "succeeded".to_owned(),
        created_at: AT,
        reason: "deploy".to_owned(),
        image: Some(format!("sha256:{}", "ab".repeat(32))),
    };
    Json(Page {
        items: vec![release(2, true), release(1, false)],
        next: None,
    })
}

async fn logs() -> Response {
    let line = |replica: Option<u32>, stream: &str, text: &str| {
        let line = LogLineAnswer {
            at: AT,
            service: "web".to_owned(),
            release: replica.map(|_| "v2".to_owned()),
            replica,
            stream: stream.to_owned(),
            line: text.to_owned(),
            ..LogLineAnswer::default()
        };
        format!("data: {}\n\n", serde_json::to_string(&line).unwrap())
    };
    let text = [
        ": alive\n\n".to_owned(),
        line(Some(0), "stdout", "hello"),
        line(Some(1), "stderr", "\u{1b}[2J\u{1b}]0;owned\u{7}oh\rno"),
    ]
    .concat();
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

async fn export() -> Json<ExportAnswer> {
    Json(ExportAnswer {
        files: [("compose.yaml".to_owned(), "services: {}\n".to_owned())].into(),
    })
}

async fn doctor() -> Json<DoctorAnswer> {
    Json(DoctorAnswer {
        findings: vec![Finding {
            check: "port 80".to_owned(),
            state: "failed".to_owned(),
            message: "Another program listens on port 80: nginx.".to_owned(),
            hint: Some("Stop it, or choose another port with --http.".to_owned()),
        }],
    })
}

/// Says what it was asked to run, repeats what is typed, and ends with 7.
async fn session(mut request: Request) -> Response {
    let key = request.headers()[header::SEC_WEBSOCKET_KEY].clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        let frame = |kind: Frame, payload: &[u8]| {
            let mut bytes = vec![kind as u8];
            bytes.extend(payload);
            Message::Binary(bytes.into())
        };
        socket
            .send(frame(Frame::Stderr, format!("{query}\n").as_bytes()))
            .await
            .unwrap();
        while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
            match Frame::from_byte(bytes[0]) {
                Some(Frame::Stdin) => socket.send(frame(Frame::Stdout, &bytes[1..])).await.unwrap(),
                Some(Frame::StdinEnd) => break,
                _ => {}
            }
        }
        socket
            .send(frame(Frame::Exit, &7_i64.to_be_bytes()))
            .await
            .unwrap();
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
    response
}
