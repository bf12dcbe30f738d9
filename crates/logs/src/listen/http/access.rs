//! Who may use an HTTP listener.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::listen::{Door, Protocol};

type Hash = [u8; 32];

/// Who is let in: whoever knows a token, or a user's password. With neither,
/// everybody.
#[derive(Default)]
pub struct Access {
    /// Hashes, so that comparing takes the same time whatever is sent.
    known: Vec<Hash>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("known", &self.known.len())
            .finish()
    }
}

fn hash(kind: &str, secret: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &[kind.as_bytes(), secret].concat()).as_ref());
    out
}

impl Access {
    /// Lets in who sends this token: as `Bearer`, as Elasticsearch's `ApiKey`,
    /// or as the password of any user.
    pub fn token(&mut self, token: &SecretString) {
        self.known.push(hash("token:", token.expose_secret().as_bytes()));
    }

    /// Lets in this user with this password.
    pub fn user(&mut self, name: &str, password: &SecretString) {
        let both = format!("{name}:{}", password.expose_secret());
        self.known.push(hash("user:", both.as_bytes()));
    }

    /// Whether everybody is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    fn knows(&self, hash: &Hash) -> bool {
        // All are compared, whichever fits.
        let found = self
            .known
            .iter()
            .fold(0_u8, |found, known| found | known.ct_eq(hash).unwrap_u8());
        found == 1
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        if self.is_open() {
            return true;
        }
        let Some((scheme, rest)) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey") {
            return self.knows(&hash("token:", rest.as_bytes()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(both) = BASE64.decode(rest.as_bytes()) else {
            return false;
        };
        let password = both.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
        let (user, token) = (hash("user:", &both), hash("token:", password));
        self.knows(&user) | self.knows(&token)
    }
}

/// Lets a request through, or says why not.
pub(super) async fn check(access: Arc<Access>, door: Arc<Door>, request: Request, next: Next) -> Response {
    if access.lets_in(request.headers()) {
        return next.run(request).await;
    }
    let protocol = match request.uri().path() {
        "/v1/logs" => Protocol::Otlp,
        path if path.starts_with("/loki/") || path.starts_with("/api/prom/") => Protocol::Loki,
        "/lines" => Protocol::Lines,
        _ => Protocol::Elasticsearch,
    };
    door.counters.unauthenticated(protocol);
    (
        StatusCode::UNAUTHORIZED,
        [
            (header::WWW_AUTHENTICATE, "Basic realm=\"nonna logs\", Bearer"),
            (header::CONTENT_TYPE, "application/json"),
        ],
        "{\"error\":\"This listener wants a token or a user's password that it knows.\",\"status\":401}\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(access: &Access, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        access.lets_in(&headers)
    }

    #[test]
    fn only_who_knows_a_secret_is_let_in() {
        let mut access = Access::default();
        assert!(access.lets_in(&HeaderMap::new()));
        access.token(&"t0ken".into());
        access.user("anna", &"pass:word".into());
        assert!(!access.lets_in(&HeaderMap::new()));
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        for good in [
            "Bearer t0ken",
            "ApiKey t0ken",
            &basic("anna:pass:word"),
            &basic("whoever:t0ken"),
        ] {
            assert!(says(&access, good), "{good}");
        }
        for bad in [
            "Bearer t0ke",
            "Bearer anna:pass:word",
            "Bearer",
            "Basic t0ken",
            &basic("anna:"),
            &basic("t0ken"),
            &basic("bert:pass:word"),
            "Digest t0ken",
        ] {
            assert!(!says(&access, bad), "{bad}");
        }
        assert_eq!(format!("{access:?}"), "Access { known: 2 }");
    }
}
