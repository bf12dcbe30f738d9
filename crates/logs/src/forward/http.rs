//! What destinations over HTTP have in common.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use nonna_engine::{Code, Error, Result};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header, redirect};
use secrecy::{ExposeSecret, SecretString};

use super::Failure;

const CONNECT: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(60);
/// So much of an answer is read.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// So much of an answer is told, in characters.
const TOLD: usize = 300;

/// How a sender shows who it is.
#[derive(Clone, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer …`
    Bearer(SecretString),
    /// `Authorization: ApiKey …`, Elasticsearch's.
    ApiKey(SecretString),
    /// A user and its password.
    Basic(String, SecretString),
}

/// Where requests go, and as whom.
#[derive(Clone)]
pub struct HttpTarget {
    client: Client,
    url: Url,
    auth: Auth,
    headers: header::HeaderMap,
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// The client of a destination.
pub(super) fn client(authorities: Option<&Path>) -> Result<Client> {
    let mut builder = Client::builder()
        .user_agent(concat!("nonna/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .timeout(REQUEST)
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(1);
    if let Some(file) = authorities {
        let unusable = |said: String| {
            Error::user(
                Code::InvalidInput,
                format!(
                    "{} holds no certificates in PEM, or cannot be read.",
                    file.display()
                ),
            )
            .said(said)
        };
        let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
        let found =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
        builder = builder.tls_certs_merge(found);
    }
    builder
        .build()
        .map_err(|error| Error::bug("The HTTP client cannot be made.").said(chain(&error)))
}

/// Reads an address; it holds no user and no password.
pub(super) fn address(text: &str) -> Result<Url> {
    let url: Url = text.parse().map_err(|error| {
        Error::user(Code::InvalidInput, "The `url` is no address.")
            .said(format!("{error}"))
            .hint("Write it as `https://logs.example.org`.")
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::user(
            Code::InvalidInput,
            "The `url` begins with `https://` or `http://`, and names a host.",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::user(
            Code::InvalidInput,
            "The `url` holds a user or a password: write them as `user` and `password`.",
        ));
    }
    Ok(url)
}

impl HttpTarget {
    /// A target at this address. `path` is added to an address without one.
    ///
    /// # Errors
    /// `InvalidInput` where address, headers or authorities cannot be used.
    pub fn new(
        url: &str,
        path: &str,
        auth: Auth,
        headers: &[(String, SecretString)],
        authorities: Option<&Path>,
    ) -> Result<Self> {
        let mut url = address(url)?;
        if url.path() == "/" {
            url.set_path(path);
        }
        let mut map = header::HeaderMap::new();
        for (name, value) in headers {
            let wrong = || {
                Error::user(
                    Code::InvalidInput,
                    format!("`{name}` is no header, or its value is none."),
                )
            };
            let key: header::HeaderName = name.parse().map_err(|_| wrong())?;
            let mut value = header::HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        Ok(Self {
            client: client(authorities)?,
            url,
            auth,
            headers: map,
        })
    }

    /// A request with a body of this type, compressed as is said.
    pub(super) fn post(&self, kind: &'static str, body: Vec<u8>) -> RequestBuilder {
        let request = self
            .client
            .request(Method::POST, self.url.clone())
            .headers(self.headers.clone())
            .header(header::CONTENT_TYPE, kind)
            .body(body);
        match &self.auth {
            Auth::None => request,
            Auth::Bearer(token) => request.bearer_auth(token.expose_secret()),
            Auth::ApiKey(key) => {
                let value = header::HeaderValue::from_str(&format!("ApiKey {}", key.expose_secret()));
                match value {
                    Ok(mut value) => {
                        value.set_sensitive(true);
                        request.header(header::AUTHORIZATION, value)
                    }
                    // A key that is no header's value is not let in.
                    Err(_) => request,
                }
            }
            Auth::Basic(user, password) => request.basic_auth(user, Some(password.expose_secret())),
        }
    }
}

/// Sends a request; answers the body of a success.
pub(super) async fn ask(request: RequestBuilder) -> Result<Bytes, Failure> {
    let response = request
        .send()
        .await
        .map_err(|error| Failure::unavailable(chain(&error.without_url())))?;
    let status = response.status();
    let after = retry_after(&response);
    let body = match read(response).await {
        Ok(body) => body,
        // It said yes, and what it said beyond that nobody needs to know.
        Err(_) if status.is_success() => Bytes::new(),
        Err(why) => return Err(Failure::unavailable(format!("{status}; {why}"))),
    };
    if status.is_success() {
        return Ok(body);
    }
    let told = tell(&body);
    let why = if told.is_empty() {
        format!("it answers {status}")
    } else {
        format!("it answers {status}: {told}")
    };
    Err(match status {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge,
        // Somebody will mend that, and the records are worth it.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => Failure::Unavailable { why, after },
        status if status.is_client_error() => Failure::Refused { why },
        _ => Failure::Unavailable { why, after },
    })
}

async fn read(mut response: Response) -> Result<Bytes, String> {
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| chain(&error.without_url()))?
    {
        if body.len() + piece.len() > ANSWER_BYTES {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

/// The start of an answer, on one line.
fn tell(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let clean = text.split_whitespace().collect::<Vec<_>>().join(" ");
    clean.chars().filter(|c| !c.is_control()).take(TOLD).collect()
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

/// An error and what is behind it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}
