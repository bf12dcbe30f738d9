//! Requests: building, sending, trying again, reading the answer.

use std::time::Duration;

use nonna_api::Failure;
use nonna_engine::error::Fault;
use nonna_engine::{Code, Error, Result};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use crate::transport;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an ordinary request may take, answer included.
const REQUEST: Duration = Duration::from_secs(60);
/// The waits before the second and third attempt of a request that may be
/// repeated.
const WAITS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(600)];
/// The longest wait that a server may ask for with `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How much of an answer that is no JSON is shown.
const SHOWN: usize = 200;

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Options {
    url: String,
    token: Option<SecretString>,
    ca: Option<Vec<u8>>,
}

impl Options {
    /// The server at this address: `https://nonna.example.org`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            ca: None,
        }
    }

    /// The token that every request carries.
    #[must_use]
    pub fn token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.url
    }

    /// The token, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    /// Certificate authorities to trust beside the system's, as PEM.
    #[must_use]
    pub fn extra_authorities(mut self, pem: Vec<u8>) -> Self {
        self.ca = Some(pem);
        self
    }
}

/// The client of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// A client for a server. Connects to nothing yet.
    ///
    /// # Errors
    /// `InvalidInput` where the address, the token or the certificate
    /// authorities cannot be used.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it holds a token: whoever gives it away should not keep it"
    )]
    pub fn new(options: Options) -> Result<Self> {
        let base = base_url(&options.url)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &options.token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
                    Error::user(
                        Code::InvalidInput,
                        "The token holds characters that no token has.",
                    )
                    .hint("Get a new one with `nonna login`.")
                })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("nonna/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true);
        if base.scheme() == "http" {
            // Reading the system's certificates costs more than the request.
            builder = builder.tls_certs_only([]);
        } else if let Some(pem) = &options.ca {
            let authorities = reqwest::Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| {
                    Error::user(
                        Code::InvalidInput,
                        "The file of certificate authorities holds no certificate in PEM.",
                    )
                    .hint("It begins with `-----BEGIN CERTIFICATE-----`.")
                })?;
            builder = builder.tls_certs_merge(authorities);
        }
        let http = builder
            .build()
            .map_err(|error| Error::bug("The HTTP client cannot be made.").said(transport::chain(&error)))?;
        Ok(Self { http, base })
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request to a path of [`nonna_api::paths`], its `{…}` filled in order.
    pub(crate) fn request(&self, method: Method, path: &str, with: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{}", fill(path, with)));
        self.http.request(method, url)
    }

    /// Sends a request that must not be repeated.
    pub(crate) async fn send_once(&self, request: RequestBuilder) -> Result<Response> {
        let response = request
            .send()
            .await
            .map_err(|error| transport::failure(self.url(), error))?;
        self.check(response).await
    }

    /// Sends a request that has the same effect however often it is sent, up
    /// to three times.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let mut waits = WAITS.iter();
        loop {
            let Some(attempt) = request.try_clone() else {
                return self.send_once(request).await;
            };
            let outcome = attempt.send().await;
            let asked = match &outcome {
                Ok(response) => match response.status() {
                    StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT => Some(retry_after(response)),
                    _ => None,
                },
                // Nobody listens there: to wait a second would not help.
                Err(error) if transport::is_refused(error) || error.is_timeout() || error.is_builder() => {
                    None
                }
                Err(_) => Some(None),
            };
            match (asked, waits.next()) {
                (Some(asked), Some(wait)) => {
                    tokio::time::sleep(asked.unwrap_or(*wait).min(LONGEST_WAIT)).await;
                }
                _ => {
                    let response = outcome.map_err(|error| transport::failure(self.url(), error))?;
                    return self.check(response).await;
                }
            }
        }
    }

    /// Sends a request that may be repeated and reads its JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request.timeout(REQUEST)).await?;
        self.read(response).await
    }

    /// Sends a request once and reads its JSON answer.
    pub(crate) async fn json_once<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send_once(request.timeout(REQUEST)).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let bytes = response
            .bytes()
            .await
            .map_err(|error| transport::failure(self.url(), error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_ours(&bytes).said(error.to_string()))
    }

    /// The response, or the failure it tells of.
    pub(crate) async fn check(&self, response: Response) -> Result<Response> {
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let bytes = response.bytes().await.unwrap_or_default();
        if let Ok(failure) = serde_json::from_slice::<Failure>(&bytes) {
            return Err(with_way_out(failure.error, self.url()));
        }
        let error = match status {
            StatusCode::UNAUTHORIZED => with_way_out(
                Error::user(
                    Code::Unauthenticated,
                    format!("{} does not know this token.", self.url()),
                ),
                self.url(),
            ),
            StatusCode::FORBIDDEN => Error::user(Code::Forbidden, "The token does not permit this."),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Error::user(Code::LimitExceeded, "The server finds the request too large.")
            }
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Error::provider(
                    Code::ServerUnavailable,
                    format!("Something in front of {} answers {status}.", self.url()),
                )
                .hint("The server may be starting; try again in a moment.")
                .retry()
            }
            _ => self.not_ours(&bytes),
        };
        Err(error.said(format!("HTTP {status}")))
    }

    fn not_ours(&self, body: &[u8]) -> Error {
        let text: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
        let error = Error::provider(
            Code::ServerUnavailable,
            format!("{} does not answer as Nonna's API does.", self.url()),
        )
        .hint("Check the address; where it is right, the server may be of another version: see `nonna version`.");
        match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => error.detail(line),
            _ => error,
        }
    }
}

/// Says how to log in again where the server itself does not.
fn with_way_out(error: Error, url: &str) -> Error {
    if error.code == Code::Unauthenticated && error.hint.is_none() && error.fault == Fault::User {
        return error.hint(format!(
            "On the server's machine, `nonna server login-code` prints a command that logs in to {url}."
        ));
    }
    error
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

fn base_url(text: &str) -> Result<Url> {
    let wrong = |why: &str| {
        Error::user(
            Code::InvalidInput,
            format!("`{text}` is not a server's address: {why}."),
        )
        .hint("Write it like `https://nonna.example.org` or `http://127.0.0.1:8400`.")
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither `http://` nor `https://`"));
    }
    if url.host_str().is_none() {
        return Err(wrong("it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a `?` or a `#`"));
    }
    Ok(url)
}

/// A path with its `{…}` filled in order, each percent-encoded.
fn fill(path: &str, with: &[&str]) -> String {
    let mut out = String::with_capacity(path.len() + 32);
    let mut values = with.iter();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        if let Some(value) = values.next() {
            encode(value, &mut out);
        }
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}

fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_path_cannot_leave_it() {
        assert_eq!(
            fill("/v1/{a}/x/{b}", &["p", "../é?#"]),
            "/v1/p/x/..%2F%C3%A9%3F%23"
        );
        assert_eq!(fill("/v1/x", &[]), "/v1/x");
    }

    #[test]
    fn addresses_that_are_none_are_refused_with_the_reason() {
        for (bad, why) in [
            ("127.0.0.1:8400", "address"),
            ("ftp://a", "neither"),
            ("http://u:p@h", "password"),
            ("http://h/?a=1", "`?`"),
            ("", "address"),
        ] {
            let error = Client::new(Options::new(bad)).unwrap_err();
            assert_eq!(error.code, Code::InvalidInput, "{bad}");
            assert!(error.message.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let options = Options::new("http://h").token("s3cret".into());
        assert!(!format!("{options:?}").contains("s3cret"));
        assert!(!format!("{:?}", Client::new(options).unwrap()).contains("s3cret"));
    }
}
