//! What the forge answers.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Shared, Told};

pub(super) fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
            return;
        };
        let app = Router::new().fallback(answer).with_state(shared);
        let serving = axum::serve(listener, app);
        tokio::select! {
            _ = serving.into_future() => {}
            _ = stopped => {}
        }
    });
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path().starts_with("/api/") {
        let delay = shared.delay.swap(0, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        return status(&shared, &uri, &headers, &body);
    }
    repository(&shared, &method, &uri, &headers, &body)
        .await
        .unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
}

fn status(shared: &Shared, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
    let left = shared
        .refusing
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_ok() {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy").into_response();
    }
    let token = ["authorization", "private-token"]
        .into_iter()
        .find_map(|name| Some(format!("{name}: {}", headers.get(name)?.to_str().ok()?)));
    let (Some(token), Ok(body)) = (token, serde_json::from_slice(body)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let told = Told {
        path: uri.path().to_owned(),
        token,
        body,
    };
    let mut statuses = shared.statuses.lock().unwrap_or_else(PoisonError::into_inner);
    statuses.push(told);
    (StatusCode::CREATED, "{}").into_response()
}

/// Whether the token came as the password, whoever the user.
fn is_let_in(shared: &Shared, headers: &HeaderMap) -> bool {
    let Some(token) = &shared.token else { return true };
    let password = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|both| String::from_utf8(BASE64.decode(both.as_bytes()).ok()?).ok())
        .and_then(|both| both.split_once(':').map(|(_, password)| password.to_owned()));
    password.as_deref() == Some(token)
}

/// Looks for the token in the arguments and the environment of every process.
pub(super) fn look_for(token: &str) -> Option<String> {
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        // The test's own process knows the token.
        if entry.file_name().to_string_lossy() == std::process::id().to_string() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            if text.contains(token) {
                return Some(format!("{file}: {text}"));
            }
        }
    }
    None
}

async fn repository(
    shared: &Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> anyhow::Result<Response> {
    if !is_let_in(shared, headers) {
        return Ok((
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")],
        )
            .into_response());
    }
    if uri.path().ends_with("/info/refs") {
        shared.fetches.fetch_add(1, Ordering::SeqCst);
        if let Some(found) = shared.token.as_deref().and_then(look_for) {
            *shared.leaked.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    }
    while *shared.held.lock().unwrap_or_else(PoisonError::into_inner) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut child = Command::new("git")
        .arg("-c")
        .arg("safe.directory=*")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"))
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(body).await?;
    }
    let output = child.wait_with_output().await?.stdout;
    let end = output
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(|| anyhow::anyhow!("git http-backend answered nothing"))?;
    let (head, rest) = output.split_at(end);
    let mut response = Response::new(Body::from(rest.get(4..).unwrap_or_default().to_vec()));
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if name == "Status" {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = code.parse()?;
        } else {
            response
                .headers_mut()
                .insert(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
        }
    }
    Ok(response)
}
