//! Calls to the engine that carry registry credentials, on a connection of
//! our own: the client library writes that header in an alphabet of base64
//! that the engine does not read, so that some passwords would be dropped
//! without a word.

use bytes::{Bytes, BytesMut};
use data_encoding::BASE64URL;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nonna_engine::ports::registry::Credential;
use nonna_engine::{Error, Result};
use nonna_model::image::RegistryHost;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::error;

/// The API's version of Docker 20.10, which is the oldest that is supported.
const API: &str = "/v1.41";
/// The longest line the engine may say while it fetches or pushes.
const MAX_LINE: usize = 1024 * 1024;

/// What the engine says while it fetches or pushes an image.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Said {
    pub id: Option<String>,
    pub status: Option<String>,
    #[serde(rename = "progressDetail", default)]
    pub progress: Option<Moved>,
    pub error: Option<String>,
    pub aux: Option<Pushed>,
}

/// How much of a layer has moved, in bytes.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Moved {
    pub current: Option<i64>,
    pub total: Option<i64>,
}

/// What a push ends with.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Pushed {
    #[serde(rename = "Digest")]
    pub digest: Option<String>,
}

/// Why the engine did not do it.
pub(crate) enum Failure {
    /// It cannot be reached, or was cut off.
    Unreachable(Error),
    /// It refused, or failed, with these words.
    Words(u16, String),
}

/// An answer that is still coming. Dropped, it is given up.
pub(crate) struct Answer {
    endpoint: String,
    body: Incoming,
    buffer: BytesMut,
    task: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The header's value: JSON in the URL's alphabet of base64.
fn header(registry: &RegistryHost, credential: Option<&Credential>) -> Zeroizing<String> {
    let address = if registry.as_str() == nonna_model::image::DOCKER_HUB {
        // The name under which the engine knows Docker Hub's credentials.
        "https://index.docker.io/v1/"
    } else {
        registry.as_str()
    };
    let value = match credential {
        None => serde_json::json!({}),
        Some(Credential::Password { username, password }) => serde_json::json!({
            "username": username,
            "password": password.expose_secret(),
            "serveraddress": address,
        }),
        Some(Credential::IdentityToken(token)) => serde_json::json!({
            "identitytoken": token.expose_secret(),
            "serveraddress": address,
        }),
    };
    let text = Zeroizing::new(value.to_string());
    Zeroizing::new(BASE64URL.encode(text.as_bytes()))
}

/// Percent-encoding of everything that is not plainly harmless, `/` aside.
pub(crate) fn escape(value: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Asks the engine at `endpoint` for something of a registry.
pub(crate) async fn post(
    endpoint: &str,
    path_and_query: &str,
    registry: &RegistryHost,
    credential: Option<&Credential>,
) -> Result<Answer, Failure> {
    let lost = |e: &dyn std::fmt::Display| Failure::Unreachable(error::unavailable(endpoint, &e.to_string()));
    let bug = |e: &dyn std::fmt::Display| {
        Failure::Unreachable(Error::bug(format!("a request to the engine cannot be made: {e}")))
    };
    let (mut sender, task) = if let Some(path) = endpoint.strip_prefix("unix://") {
        connect(UnixStream::connect(path).await.map_err(|e| lost(&e))?)
            .await
            .map_err(|e| lost(&e))?
    } else {
        let address = endpoint
            .trim_start_matches("tcp://")
            .trim_start_matches("http://")
            .trim_end_matches('/');
        connect(TcpStream::connect(address).await.map_err(|e| lost(&e))?)
            .await
            .map_err(|e| lost(&e))?
    };
    let mut value = http::HeaderValue::from_str(&header(registry, credential)).map_err(|e| bug(&e))?;
    value.set_sensitive(true);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{API}{path_and_query}"))
        .header(http::header::HOST, "localhost")
        .header("x-registry-auth", value)
        .body(Empty::<Bytes>::new())
        .map_err(|e| bug(&e))?;
    let response = sender.send_request(request).await;
    let response = match response {
        Ok(response) => response,
        Err(e) => {
            task.abort();
            return Err(lost(&e));
        }
    };
    let status = response.status();
    let answer = Answer {
        endpoint: endpoint.to_owned(),
        body: response.into_body(),
        buffer: BytesMut::new(),
        task,
    };
    if status.is_success() {
        return Ok(answer);
    }
    Err(Failure::Words(status.as_u16(), answer.refusal().await))
}

async fn connect<S>(stream: S) -> Result<(http1::SendRequest<Empty<Bytes>>, JoinHandle<()>), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the container engine ended");
        }
    });
    Ok((sender, task))
}

impl Answer {
    /// The next thing the engine says; `None` at the end. Nothing is lost when
    /// this is dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if let Some(said) = read(&line) {
                    return Ok(Some(said));
                }
                continue;
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Failure::Words(200, "its answer has an endless line".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(e)) => {
                    return Err(Failure::Unreachable(error::unavailable(
                        &self.endpoint,
                        &e.to_string(),
                    )));
                }
                None => {
                    let rest = self.buffer.split();
                    return Ok(read(&rest));
                }
            }
        }
    }

    /// The words of an answer that is a refusal.
    async fn refusal(mut self) -> String {
        #[derive(Deserialize)]
        struct Words {
            message: String,
        }
        let mut text = Vec::new();
        while let Some(Ok(frame)) = self.body.frame().await {
            if let Ok(data) = frame.into_data() {
                text.extend_from_slice(&data);
            }
            if text.len() > MAX_LINE {
                break;
            }
        }
        serde_json::from_slice::<Words>(&text)
            .map_or_else(
                |_| String::from_utf8_lossy(&text).into_owned(),
                |words| words.message,
            )
            .trim()
            .to_owned()
    }
}

fn read(line: &[u8]) -> Option<Said> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    // What cannot be read is progress of a kind that is not known here.
    Some(serde_json::from_slice(line).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_password_arrives_as_it_is() {
        let registry: RegistryHost = "registry.example:5000".parse().unwrap();
        for password in ["plain", "a?>~?>~?>~", "ünïcödé\u{ff}", "\"\\\n"] {
            let credential = Credential::Password {
                username: "u".into(),
                password: password.into(),
            };
            let value = header(&registry, Some(&credential));
            assert!(!value.contains(['+', '/']), "{}", *value);
            let json = BASE64URL.decode(value.as_bytes()).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(json["password"], password);
            assert_eq!(json["serveraddress"], "registry.example:5000");
        }
    }

    #[test]
    fn docker_hub_is_named_as_the_engine_names_it() {
        let value = header(
            &"docker.io".parse().unwrap(),
            Some(&Credential::IdentityToken("t".into())),
        );
        let json = BASE64URL.decode(value.as_bytes()).unwrap();
        assert!(
            String::from_utf8(json)
                .unwrap()
                .contains("https://index.docker.io/v1/")
        );
    }
}
