//! Sessions of the pages: a token, posted once, becomes a cookie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::auth;
use crate::http::{App, Peer};

const COOKIE: &str = "nonna_session";
const VALID: Duration = Duration::from_secs(12 * 3600);
const MOST: usize = 256;
/// The largest form.
const FORM_BYTES: usize = 4096;

type Key = [u8; 32];

/// The sessions of this process: a restart ends them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<Key, Instant>>,
}

fn key(id: &str) -> Key {
    Sha256::digest(id.as_bytes()).into()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

impl Sessions {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Instant>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request has a session.
    pub(super) fn has(&self, headers: &HeaderMap) -> bool {
        let Some(id) = cookie(headers) else {
            return false;
        };
        self.lock()
            .get(&key(id))
            .is_some_and(|since| since.elapsed() < VALID)
    }

    fn begin(&self, id: &str) {
        let mut open = self.lock();
        open.retain(|_, since| since.elapsed() < VALID);
        if open.len() >= MOST {
            open.clear();
        }
        open.insert(key(id), Instant::now());
    }

    fn end(&self, id: &str) {
        self.lock().remove(&key(id));
    }
}

/// Whether the form was posted by one of our own pages.
fn is_same_origin(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site").and_then(|v| v.to_str().ok()) {
        Some(site) => site == "same-origin",
        // Browsers that do not say send an Origin with a form.
        None => match headers.get(header::ORIGIN).and_then(|v| v.to_str().ok()) {
            Some(origin) => {
                let host = headers
                    .get(header::HOST)
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default();
                origin.split_once("://").is_some_and(|(_, at)| at == host)
            }
            None => true,
        },
    }
}

fn refused(status: StatusCode, words: &'static str) -> Response {
    (status, super::status::message(words)).into_response()
}

/// Takes the form with the token.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !is_same_origin(&headers) {
        return refused(StatusCode::FORBIDDEN, "The form came from another site.");
    }
    let address = peer.map(|Extension(Peer(address))| address.ip());
    if address.is_some_and(|a| app.limiter.check(&a).is_err()) {
        return refused(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong tokens: wait a moment.",
        );
    }
    let Ok(bytes) = axum::body::to_bytes(body, FORM_BYTES).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.");
    };
    // Tokens are letters, digits and `_`: nothing in them is ever encoded.
    let text = String::from_utf8_lossy(&bytes);
    let token = text
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .unwrap_or_default()
        .trim_matches('+');
    if auth::identify(app.store.as_ref(), token).await.is_err() {
        if let Some(address) = address {
            app.limiter.failed(address);
        }
        return refused(StatusCode::UNAUTHORIZED, "The token is not valid.");
    }
    let Ok((id, _)) = auth::new_token() else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "No session could be made.");
    };
    app.sessions.begin(&id);
    let seconds = VALID.as_secs();
    let set = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    with_cookie(&set)
}

/// Ends the session.
pub(super) async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if !is_same_origin(&headers) {
        return refused(StatusCode::FORBIDDEN, "The form came from another site.");
    }
    if let Some(id) = cookie(&headers) {
        app.sessions.end(id);
    }
    with_cookie(&format!(
        "{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    ))
}

fn with_cookie(set: &str) -> Response {
    let mut response = Redirect::to("/").into_response();
    if let Ok(value) = HeaderValue::from_str(set) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
