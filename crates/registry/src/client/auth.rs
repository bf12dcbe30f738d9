//! Saying who we are: basic authentication, and tokens of a token server
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use data_encoding::BASE64;
use nonna_engine::Result;
use nonna_engine::ports::registry::{Credential, not_let_in};
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Repository, chain};

/// The most bytes of a token server's answer.
const MAX_ANSWER: usize = 256 * 1024;
/// As what we ask for tokens.
const CLIENT: &str = "nonna";

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Repository {
    /// The header that answers the registry's challenges; `None` where we have
    /// nothing to say to them.
    pub(super) async fn authorize(
        &self,
        challenges: &[String],
        actions: &str,
    ) -> Result<Option<HeaderValue>> {
        let challenges: Vec<Challenge> = challenges.iter().filter_map(|text| parse(text)).collect();
        for challenge in &challenges {
            match challenge {
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                } => {
                    let token = self
                        .token(realm, service.as_deref(), scope.as_deref(), actions)
                        .await?;
                    return Ok(sensitive(&format!("Bearer {}", token.expose_secret())));
                }
                Challenge::Basic => {
                    if let Some(Credential::Password { username, password }) = &self.credential {
                        return Ok(sensitive(&basic(username, password)));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        actions: &str,
    ) -> Result<SecretString> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: Option<SecretString>,
            #[serde(default)]
            access_token: Option<SecretString>,
        }
        let mut url = Url::parse(realm)
            .ok()
            .filter(|url| url.scheme() == "https" || (url.scheme() == "http" && self.registry.is_loopback()))
            .ok_or_else(|| self.unavailable("it sends us for a token to a place that is no HTTPS address"))?;
        let scope = if self.name.is_empty() {
            scope.map(str::to_owned)
        } else {
            Some(format!("repository:{}:{actions}", self.name))
        };
        let request = match &self.credential {
            Some(Credential::IdentityToken(token)) => {
                let mut form = Url::parse("form:?")
                    .map_err(|e| nonna_engine::Error::bug(format!("a form cannot be made: {e}")))?;
                {
                    let mut pairs = form.query_pairs_mut();
                    pairs
                        .append_pair("grant_type", "refresh_token")
                        .append_pair("refresh_token", token.expose_secret())
                        .append_pair("client_id", CLIENT);
                    if let Some(service) = service {
                        pairs.append_pair("service", service);
                    }
                    if let Some(scope) = &scope {
                        pairs.append_pair("scope", scope);
                    }
                }
                self.http
                    .post(url)
                    .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            other => {
                {
                    let mut pairs = url.query_pairs_mut();
                    if let Some(service) = service {
                        pairs.append_pair("service", service);
                    }
                    if let Some(scope) = &scope {
                        pairs.append_pair("scope", scope);
                    }
                }
                let mut request = self.http.get(url);
                if let Some(Credential::Password { username, password }) = other
                    && let Some(value) = sensitive(&basic(username, password))
                {
                    request = request.header(reqwest::header::AUTHORIZATION, value);
                }
                request
            }
        };
        let response = request
            .send()
            .await
            .map_err(|error| self.unavailable(&chain(&error.without_url())))?;
        match response.status() {
            status if status.is_success() => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) => {
                let what = if self.name.is_empty() {
                    "log in"
                } else {
                    "have a token"
                };
                // What it says may repeat what it was sent: only the number is told.
                return Err(not_let_in(&self.registry, self.user(), what)
                    .said(format!("{status} from the registry's token server")));
            }
            status => return Err(self.unavailable(&format!("{status} from its token server"))),
        }
        let bytes = Zeroizing::new(self.body(response, MAX_ANSWER).await?);
        serde_json::from_slice::<Answer>(&bytes)
            .ok()
            .and_then(|answer| answer.token.or(answer.access_token))
            .ok_or_else(|| self.unavailable("its token server's answer holds no token"))
    }
}

fn basic(username: &str, password: &SecretString) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose_secret()));
    Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads one `WWW-Authenticate`.
fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    let mut rest = rest.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next)
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        let target = match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => Some(&mut realm),
            "service" => Some(&mut service),
            "scope" => Some(&mut scope),
            _ => None,
        };
        if let Some(target) = target {
            *target = Some(value.to_owned());
        }
        rest = next.trim_start_matches([' ', ',']);
    }
    Some(Challenge::Bearer {
        realm: realm?,
        service,
        scope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(
            parse(
                "Bearer realm=\"https://auth.example/token\",service=\"r.example\",scope=\"repository:a/b:pull,push\""
            ),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("r.example".into()),
                scope: Some("repository:a/b:pull,push".into()),
            })
        );
        assert_eq!(
            parse("bearer realm=https://a.example/t, service=s"),
            Some(Challenge::Bearer {
                realm: "https://a.example/t".into(),
                service: Some("s".into()),
                scope: None,
            })
        );
        for odd in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer realm=\"open",
            "Bearer service=\"x\"",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
