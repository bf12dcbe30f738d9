//! A small client of the distribution API
//! (<https://github.com/opencontainers/distribution-spec>): manifests and
//! small blobs. Layers are the container engine's affair.

mod auth;

use std::sync::Arc;
use std::time::Duration;

use nonna_engine::ports::registry::{Credential, not_let_in};
use nonna_engine::{Code, Error, Result};
use nonna_model::image::{ImageReference, RegistryHost};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take, answer included.
const REQUEST: Duration = Duration::from_secs(30);
/// The largest manifest that is read: what the specification asks registries
/// to take.
const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// How many bytes of a refusal are shown.
const SHOWN: usize = 300;

/// The kinds of manifest that are understood.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// An OCI image manifest's media type.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index's media type.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The digest of some bytes, as registries write it.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    format!(
        "sha256:{}",
        data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
    )
}

/// Registries, over one pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registries {
    http: reqwest::Client,
}

/// A manifest as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// Its digest, computed here.
    pub digest: String,
    /// Its text.
    pub bytes: Vec<u8>,
}

/// One repository of a registry, as somebody sees it.
#[derive(Clone)]
pub struct Repository {
    http: reqwest::Client,
    registry: RegistryHost,
    name: String,
    credential: Option<Credential>,
    base: Arc<OnceCell<Url>>,
    /// The header that the registry last accepted.
    authorization: Arc<Mutex<Option<HeaderValue>>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("registry", &self.registry)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Registries {
    /// A client. Connects to nothing yet.
    ///
    /// # Errors
    /// A bug where the HTTP client cannot be made.
    pub fn new() -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("nonna/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::limited(5))
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| Error::bug("The HTTP client cannot be made.").said(chain(&error)))?;
        Ok(Self { http })
    }

    /// Whether the registry lets this credential in.
    ///
    /// # Errors
    /// `RegistryAuth` where it does not; `RegistryUnavailable`.
    pub async fn check(&self, registry: &RegistryHost, credential: Credential) -> Result<()> {
        let repository = self.open(registry.clone(), String::new(), Some(credential));
        let url = repository.base().await?.clone();
        let response = repository
            .send(Method::GET, url, HeaderMap::new(), None, "pull")
            .await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Err(Error::user(
                Code::InvalidInput,
                format!("What answers at {registry} is no image registry."),
            )
            .hint("Check the host; it has no path.")),
            _ => Err(repository.refused(response, "log in").await),
        }
    }

    /// The repository of a reference.
    #[must_use]
    pub fn repository(&self, of: &ImageReference, credential: Option<Credential>) -> Repository {
        self.open(of.registry.clone(), of.repository.clone(), credential)
    }

    fn open(&self, registry: RegistryHost, name: String, credential: Option<Credential>) -> Repository {
        Repository {
            http: self.http.clone(),
            registry,
            name,
            credential,
            base: Arc::new(OnceCell::new()),
            authorization: Arc::default(),
        }
    }
}

impl Repository {
    /// Its full name: `registry.example/team/app`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }

    /// The manifest of a tag or a digest; `None` where there is none.
    ///
    /// # Errors
    /// `RegistryAuth`, `RegistryUnavailable`.
    pub async fn manifest(&self, reference: &str) -> Result<Option<Manifest>> {
        let url = self.url(&["manifests", reference]).await?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPTED));
        let response = self.send(Method::GET, url, headers, None, "pull").await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(self.refused(response, "read a manifest").await);
        }
        let media_type = text(response.headers(), &header::CONTENT_TYPE);
        let bytes = self.body(response, MAX_MANIFEST).await?;
        let digest = digest_of(&bytes);
        if reference.starts_with("sha256:") && reference != digest {
            return Err(self.untrue(reference));
        }
        Ok(Some(Manifest {
            media_type,
            digest,
            bytes,
        }))
    }

    /// Puts a manifest there under a tag or its digest. Whether the registry
    /// keeps lists of what refers to an image itself.
    ///
    /// # Errors
    /// `RegistryAuth`, `RegistryUnavailable`.
    pub async fn put_manifest(
        &self,
        reference: &str,
        media_type: &'static str,
        bytes: Vec<u8>,
    ) -> Result<bool> {
        let url = self.url(&["manifests", reference]).await?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let response = self
            .send(Method::PUT, url, headers, Some(bytes), "pull,push")
            .await?;
        if response.status().is_success() {
            return Ok(response.headers().contains_key("oci-subject"));
        }
        Err(self.refused(response, "write a manifest").await)
    }

    /// A blob of at most so many bytes.
    ///
    /// # Errors
    /// `RegistryAuth`, `RegistryUnavailable` (also where it is not there or
    /// not what its digest says).
    pub async fn blob(&self, digest: &str, limit: usize) -> Result<Vec<u8>> {
        let url = self.url(&["blobs", digest]).await?;
        let response = self
            .send(Method::GET, url, HeaderMap::new(), None, "pull")
            .await?;
        if !response.status().is_success() {
            return Err(self.refused(response, "read a blob").await);
        }
        let bytes = self.body(response, limit).await?;
        if digest_of(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(self.untrue(digest))
        }
    }

    /// Puts a blob there, if it is not there yet; answers its digest.
    ///
    /// # Errors
    /// `RegistryAuth`, `RegistryUnavailable`.
    pub async fn put_blob(&self, bytes: Vec<u8>) -> Result<String> {
        let digest = digest_of(&bytes);
        let url = self.url(&["blobs", &digest]).await?;
        let there = self
            .send(Method::HEAD, url, HeaderMap::new(), None, "pull,push")
            .await?;
        if there.status().is_success() {
            return Ok(digest);
        }
        let url = self.url(&["blobs", "uploads", ""]).await?;
        let begun = self
            .send(Method::POST, url.clone(), HeaderMap::new(), None, "pull,push")
            .await?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(self.refused(begun, "write a blob").await);
        }
        let location = text(begun.headers(), &header::LOCATION);
        let mut upload = url
            .join(&location)
            .map_err(|_| self.unavailable("it names no place to write a blob to"))?;
        upload.query_pairs_mut().append_pair("digest", &digest);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let done = self
            .send(Method::PUT, upload, headers, Some(bytes), "pull,push")
            .await?;
        if done.status().is_success() {
            return Ok(digest);
        }
        Err(self.refused(done, "write a blob").await)
    }

    /// Where the API begins. To a registry on this machine plain HTTP is
    /// spoken, as the container engine does, unless it wants TLS.
    async fn base(&self) -> Result<&Url> {
        self.base
            .get_or_try_init(|| async {
                let host = self.registry.api_host();
                let url = |scheme: &str| {
                    Url::parse(&format!("{scheme}://{host}/v2/"))
                        .map_err(|e| Error::bug(format!("{host} makes no URL: {e}")))
                };
                if !self.registry.is_loopback() {
                    return url("https");
                }
                let plain = url("http")?;
                match self.http.get(plain.clone()).send().await {
                    Ok(response) if response.status() != StatusCode::BAD_REQUEST => Ok(plain),
                    Err(error) if error.is_connect() => Err(self.unavailable(&chain(&error.without_url()))),
                    _ => url("https"),
                }
            })
            .await
    }

    async fn url(&self, parts: &[&str]) -> Result<Url> {
        let mut url = self.base().await?.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            path.extend(self.name.split('/'));
            path.extend(parts);
        }
        Ok(url)
    }

    /// Sends a request; where the registry asks who we are, says so and sends
    /// it again.
    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Vec<u8>>,
        actions: &str,
    ) -> Result<Response> {
        let own_host = self.base().await?.host_str().map(str::to_owned);
        let is_own = url.host_str().map(str::to_owned) == own_host;
        let request = |authorization: Option<HeaderValue>| {
            let mut request = self
                .http
                .request(method.clone(), url.clone())
                .headers(headers.clone());
            // A place to upload to may be on another host.
            if let Some(value) = authorization.filter(|_| is_own) {
                request = request.header(header::AUTHORIZATION, value);
            }
            if let Some(body) = &body {
                request = request.body(body.clone());
            }
            request.send()
        };
        let lost = |error: reqwest::Error| self.unavailable(&chain(&error.without_url()));
        let known = self.authorization.lock().await.clone();
        let response = request(known).await.map_err(lost)?;
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return Ok(response);
        }
        let challenges: Vec<String> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let Some(value) = self.authorize(&challenges, actions).await? else {
            return Ok(response);
        };
        *self.authorization.lock().await = Some(value.clone());
        request(Some(value)).await.map_err(lost)
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.unavailable(&chain(&error.without_url())))?
        {
            if bytes.len() + piece.len() > limit {
                return Err(self.unavailable(&format!("its answer has more than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn user(&self) -> Option<&str> {
        self.credential.as_ref().map(Credential::user)
    }

    /// A refusal in the house's words.
    async fn refused(&self, response: Response, what: &str) -> Error {
        let status = response.status();
        let words = self.body(response, 64 * 1024).await.unwrap_or_default();
        let words: String = String::from_utf8_lossy(&words)
            .chars()
            .filter(|c| !c.is_control())
            .take(SHOWN)
            .collect();
        let said = format!("{status}: {words}");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let what = if self.name.is_empty() {
                    what.to_owned()
                } else {
                    format!("{what} of {}", self.name())
                };
                not_let_in(&self.registry, self.user(), &what).said(said)
            }
            _ => {
                let error = self.unavailable(&said);
                let mut error = error.detail(format!("it was asked to {what} of {}", self.name()));
                error.retryable = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                error
            }
        }
    }

    fn unavailable(&self, said: &str) -> Error {
        Error::provider(
            Code::RegistryUnavailable,
            format!("The registry {} cannot be used at the moment.", self.registry),
        )
        .hint("Look at this machine's network and the registry's status, then try again.")
        .said(said)
        .retry()
    }

    fn untrue(&self, digest: &str) -> Error {
        Error::provider(
            Code::RegistryUnavailable,
            format!(
                "What the registry {} sent for {digest} has another digest.",
                self.registry
            ),
        )
        .hint("Something between here and there changes it, or the registry is broken.")
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// An error with what is behind it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}
