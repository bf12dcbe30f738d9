//! What requests bring: paths, queries and bodies, each refused with what is
//! wrong, where, and how to mend it.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};
use nonna_engine::{Code, Error};
use nonna_model::{ConnectionId, DeploymentId, Name, ReleaseNumber};
use serde::de::DeserializeOwned;

use super::failure::Refusal;

/// The largest JSON body: a manifest with all its variables fits many times.
pub(crate) const JSON_LIMIT: usize = 2 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of what was sent an error repeats.
const SHOWN: usize = 80;

fn invalid(message: impl Into<String>) -> Error {
    Error::user(Code::InvalidInput, message)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// Reads a whole body within a limit and a time.
pub(crate) async fn read_body(body: axum::body::Body, limit: usize) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::from(Error::user(
            Code::LimitExceeded,
            format!("The request's body has more than {limit} bytes."),
        ))
        .status(StatusCode::PAYLOAD_TOO_LARGE)),
        Ok(Err(_)) => Err(invalid("The request's body broke off.").into()),
        Err(_) => Err(Refusal::from(Error::user(
            Code::Timeout,
            "The request's body did not arrive within 30 seconds.",
        ))
        .status(StatusCode::REQUEST_TIMEOUT)),
    }
}

/// Reads JSON, telling line and column and the field that is wrong.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let place = if path == "." || path == "?" || path.is_empty() {
            "The request's body".to_owned()
        } else {
            format!("`{}` in the request's body", shown(&path))
        };
        let reason: String = inner.to_string().chars().take(400).collect();
        invalid(format!("{place} is wrong: {reason}."))
    })?;
    reader.end().map_err(|error| {
        invalid(format!(
            "Something follows the JSON of the request's body: {error}."
        ))
    })?;
    Ok(value)
}

/// A JSON body.
pub(crate) struct Input<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        // Browsers send forms of other sites without asking; never JSON.
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::from(
                invalid(format!("The body must be JSON, not `{}`.", shown(kind)))
                    .hint("Send the header `Content-Type: application/json`."),
            )
            .status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let bytes = read_body(request.into_body(), JSON_LIMIT).await?;
        parse_json(&bytes).map(Self).map_err(Refusal::from)
    }
}

/// A query.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| {
                let text = error.body_text();
                let reason = text.rsplit(": ").next().unwrap_or(&text).to_owned();
                Refusal::from(invalid(format!("The query is wrong: {}.", shown(&reason))))
            })
    }
}

/// The names in a path.
async fn named<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<(String, String)>, Refusal> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Refusal::from(invalid("The path is not UTF-8.")))?;
    Ok(params
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

fn get<T: FromStr>(params: &[(String, String)], key: &str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    let value = params
        .iter()
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.as_str())
        .unwrap_or_default();
    value
        .parse()
        .map_err(|e| Refusal::from(invalid(format!("In the path, {key}: {e}."))))
}

fn name(params: &[(String, String)], key: &str) -> Result<Name, Refusal> {
    let value = params
        .iter()
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.as_str())
        .unwrap_or_default();
    parse_name(value, &format!("the {key}")).map_err(Refusal::from)
}

/// Reads a name, suggesting one that would do.
pub(crate) fn parse_name(text: &str, what: &str) -> Result<Name, Error> {
    text.parse::<Name>().map_err(|error| {
        let shown: String = shown(&error.text);
        let made = invalid(format!(
            "`{shown}` cannot be the name of {what}: {}.",
            error.reason
        ));
        match error.suggestion {
            Some(better) => made.hint(format!("Did you mean `{better}`?")),
            None => {
                made.hint("A name has 1 to 40 of the characters a-z, 0-9 and `-`, and begins with a letter.")
            }
        }
    })
}

/// An environment's path.
pub(crate) struct InEnvironment {
    pub(crate) project: Name,
    pub(crate) environment: Name,
}

impl<S: Send + Sync> FromRequestParts<S> for InEnvironment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        Ok(Self {
            project: name(&params, "project")?,
            environment: name(&params, "environment")?,
        })
    }
}

/// A project's path.
pub(crate) struct OfProject(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for OfProject {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        name(&params, "project").map(Self)
    }
}

/// A service's path.
pub(crate) struct OfService {
    pub(crate) project: Name,
    pub(crate) environment: Name,
    pub(crate) service: Name,
}

impl OfService {
    fn read(params: &[(String, String)]) -> Result<Self, Refusal> {
        Ok(Self {
            project: name(params, "project")?,
            environment: name(params, "environment")?,
            service: name(params, "service")?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfService {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Self::read(&named(parts, state).await?)
    }
}

/// A release's path.
pub(crate) struct OfRelease {
    pub(crate) service: OfService,
    pub(crate) release: ReleaseNumber,
}

impl<S: Send + Sync> FromRequestParts<S> for OfRelease {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        Ok(Self {
            service: OfService::read(&params)?,
            release: get(&params, "release")?,
        })
    }
}

/// The path of a release, or of the current one.
pub(crate) struct OfAnyRelease {
    pub(crate) service: OfService,
    /// `None`: the current one.
    pub(crate) release: Option<ReleaseNumber>,
}

impl<S: Send + Sync> FromRequestParts<S> for OfAnyRelease {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        let is_current = params.iter().any(|(k, v)| k == "release" && v == "current");
        Ok(Self {
            service: OfService::read(&params)?,
            release: if is_current {
                None
            } else {
                Some(get(&params, "release")?)
            },
        })
    }
}

/// A deployment's path.
pub(crate) struct OfDeployment(pub(crate) DeploymentId);

impl<S: Send + Sync> FromRequestParts<S> for OfDeployment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        get(&params, "deployment").map(Self)
    }
}

/// The path of a connection to a forge.
pub(crate) struct OfConnection {
    pub(crate) project: Name,
    pub(crate) connection: ConnectionId,
}

impl<S: Send + Sync> FromRequestParts<S> for OfConnection {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        Ok(Self {
            project: name(&params, "project")?,
            connection: get(&params, "connection")?,
        })
    }
}

/// The path of one of its deliveries.
pub(crate) struct OfDelivery {
    pub(crate) of: OfConnection,
    pub(crate) number: u64,
}

impl<S: Send + Sync> FromRequestParts<S> for OfDelivery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = named(parts, state).await?;
        Ok(Self {
            of: OfConnection {
                project: name(&params, "project")?,
                connection: get(&params, "connection")?,
            },
            number: get(&params, "delivery")?,
        })
    }
}

/// The last part of a path, whatever it is.
pub(crate) struct Last(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Last {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let mut params = named(parts, state).await?;
        Ok(Self(params.pop().map(|(_, v)| v).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nonna_api::{DeployRequest, ScaleRequest};

    #[test]
    fn wrong_json_says_where() {
        let wrong_type = parse_json::<ScaleRequest>(b"{\"replicas\": \"two\"}").unwrap_err();
        assert!(
            wrong_type.message.contains("`replicas`"),
            "{}",
            wrong_type.message
        );
        let broken = parse_json::<ScaleRequest>(b"{\n\"replicas\": 2,\n").unwrap_err();
        assert!(broken.message.contains("line 3"), "{}", broken.message);
        let unknown = parse_json::<ScaleRequest>(b"{\"replicas\": 2, \"colour\": 1}").unwrap_err();
        assert!(unknown.message.contains("colour"), "{}", unknown.message);
        let negative = parse_json::<ScaleRequest>(b"{\"replicas\": -1}").unwrap_err();
        assert!(negative.message.contains("-1"), "{}", negative.message);
        let more = parse_json::<ScaleRequest>(b"{\"replicas\": 2} {}").unwrap_err();
        assert!(more.message.contains("follows"), "{}", more.message);
    }

    #[test]
    fn unknown_fields_of_a_deploy_are_refused() {
        assert!(parse_json::<DeployRequest>(b"{\"manifest\": \"\", \"replace\": true}").is_ok());
        let unknown = parse_json::<DeployRequest>(b"{\"manifets\": \"\"}").unwrap_err();
        assert!(unknown.message.contains("manifets"), "{}", unknown.message);
    }
}
