//! Forges: what their webhooks say, whether they may say it, and how a commit
//! status is told to them.
//!
//! A webhook is only ever a hint that a branch moved. What is fetched, and
//! from where, the user said when the repository was connected; nothing in a
//! message changes that.

mod bitbucket;
mod gitea;
mod github;
mod gitlab;
mod signature;

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use nonna_engine::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::{ObjectId, Reference};
use crate::remote::{RemoteUrl, Transport};

/// The forges there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forge {
    /// github.com, GitHub Enterprise.
    Github,
    /// gitlab.com, a GitLab of one's own.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
    /// bitbucket.org.
    Bitbucket,
}

impl Forge {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Github, Self::Gitlab, Self::Gitea, Self::Bitbucket];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }

    /// The forge that a host is of, where its name says so.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let is = |name: &str| host.split('.').any(|label| label == name);
        if is("github") {
            Some(Self::Github)
        } else if is("gitlab") {
            Some(Self::Gitlab)
        } else if is("bitbucket") {
            Some(Self::Bitbucket)
        } else if is("gitea") || is("forgejo") || is("codeberg") {
            Some(Self::Gitea)
        } else {
            None
        }
    }

    /// Where the forge's API is, as far as the repository's address tells.
    #[must_use]
    pub fn api(self, url: &RemoteUrl) -> String {
        let scheme = if url.transport == Transport::Http {
            "http"
        } else {
            "https"
        };
        let host = match (url.transport, url.port) {
            (Transport::Ssh, _) | (_, None) => url.host.clone(),
            (_, Some(port)) => format!("{}:{port}", url.host),
        };
        match (self, url.host.as_str()) {
            (Self::Github, "github.com") => "https://api.github.com".to_owned(),
            (Self::Github, _) => format!("{scheme}://{host}/api/v3"),
            (Self::Gitlab, _) => format!("{scheme}://{host}/api/v4"),
            // One that is served below a path says so by the address.
            (Self::Gitea, _) if url.transport != Transport::Ssh => {
                let below = url.path.strip_suffix(self.repository(url)).unwrap_or_default();
                format!("{scheme}://{host}/{below}api/v1")
            }
            (Self::Gitea, _) => format!("{scheme}://{host}/api/v1"),
            (Self::Bitbucket, _) => "https://api.bitbucket.org/2.0".to_owned(),
        }
    }

    /// The repository as the forge names it: `owner/name`, and all the groups
    /// that it is in on GitLab.
    #[must_use]
    pub fn repository(self, url: &RemoteUrl) -> &str {
        let path = url.path.as_str();
        if self == Self::Gitlab {
            return path;
        }
        match path.rmatch_indices('/').nth(1) {
            Some((at, _)) => path.get(at + 1..).unwrap_or(path),
            None => path,
        }
    }

    /// The user's name that goes with a token over HTTPS.
    #[must_use]
    pub fn token_user(self) -> &'static str {
        match self {
            Self::Github => "x-access-token",
            Self::Gitlab | Self::Gitea => "oauth2",
            Self::Bitbucket => "x-token-auth",
        }
    }

    /// Judges a webhook's message and reads it.
    ///
    /// # Errors
    /// `Unauthenticated` where the signature is missing or wrong, before
    /// anything of the body is looked at; `InvalidInput` where it is no
    /// message of this forge.
    pub fn read(self, secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<Message> {
        let authentic = match self {
            Self::Github => github::is_authentic(secret, headers, body),
            Self::Gitlab => gitlab::is_authentic(secret, headers),
            Self::Gitea => gitea::is_authentic(secret, headers, body),
            Self::Bitbucket => bitbucket::is_authentic(secret, headers, body),
        };
        if !authentic {
            return Err(Error::user(
                Code::Unauthenticated,
                format!("The message has no signature of {self}, or a wrong one."),
            )
            .hint("Enter the secret that `nonna git connect` printed at the forge's webhook, and `application/json` as its content type."));
        }
        let value = || {
            serde_json::from_slice::<Value>(body).map_err(|error| {
                Error::user(
                    Code::InvalidInput,
                    format!("The message's body is no JSON: {error}."),
                )
                .hint("Set the webhook's content type to `application/json`.")
            })
        };
        match self {
            Self::Github => github::read(headers, &value()?),
            Self::Gitlab => gitlab::read(headers, &value()?),
            Self::Gitea => gitea::read(headers, &value()?),
            Self::Bitbucket => bitbucket::read(headers, &value()?),
        }
    }

    /// Whether the signature covers the body, so that the body names the
    /// message as surely as the forge's own id.
    #[must_use]
    pub fn signs_body(self) -> bool {
        self != Self::Gitlab
    }

    /// The request that tells how a commit fares.
    #[must_use]
    pub fn status(self, api: &str, path: &str, token: &str, status: &Status<'_>) -> StatusRequest {
        match self {
            Self::Github => github::status(api, path, token, status),
            Self::Gitlab => gitlab::status(api, path, token, status),
            Self::Gitea => gitea::status(api, path, token, status),
            Self::Bitbucket => bitbucket::status(api, path, token, status),
        }
    }
}

impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Github => "GitHub",
            Self::Gitlab => "GitLab",
            Self::Gitea => "Gitea",
            Self::Bitbucket => "Bitbucket",
        })
    }
}

impl FromStr for Forge {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "forgejo" => Ok(Self::Gitea),
            text => Self::ALL
                .into_iter()
                .find(|forge| forge.as_str() == text)
                .ok_or_else(|| "there is github, gitlab, gitea (Forgejo too) and bitbucket".to_owned()),
        }
    }
}

/// A message that is the forge's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The forge's id of this delivery, the same when it is sent again.
    pub delivery: Option<String>,
    /// When it happened, in milliseconds since 1970, where the message says.
    pub at: Option<i64>,
    /// The repository it is about: `owner/name`.
    pub repository: Option<String>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing: the forge tries the webhook out.
    Ping,
    /// Something that is no push of a branch.
    Other(String),
    /// Branches moved.
    Pushed(Vec<Moved>),
}

/// A branch that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The branch.
    pub branch: String,
    /// Where it is now; `None`: it was deleted.
    pub commit: Option<ObjectId>,
}

/// How a commit fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its deployment is under way.
    Pending,
    /// It serves.
    Success,
    /// Its deployment failed.
    Failure,
}

/// A commit's status.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// The commit.
    pub commit: &'a ObjectId,
    /// How it fares.
    pub state: State,
    /// What tells this status from others: `nonna/shop/production`.
    pub context: &'a str,
    /// A sentence for people.
    pub description: &'a str,
    /// Where there is more.
    pub link: Option<&'a str>,
}

/// A request to a forge's API: a POST.
pub struct StatusRequest {
    /// The whole address.
    pub url: String,
    /// The header with the token.
    pub header: (&'static str, String),
    /// The body, JSON.
    pub body: Value,
}

/// The longest description that every forge takes, in characters.
const DESCRIPTION: usize = 140;

pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most - 1).collect();
    cut.push('…');
    cut
}

/// A path's part, percent-encoded, slashes too.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

/// The push that GitHub, GitLab and Gitea all describe alike: `ref` and
/// `after`.
pub(crate) fn pushed(value: &Value) -> Result<Event> {
    let wrong = |what: &str| {
        Error::user(
            Code::InvalidInput,
            format!("The message of a push has no {what}."),
        )
    };
    let name = text(value, "/ref").ok_or_else(|| wrong("`ref`"))?;
    match Reference::parse(&name) {
        Some(Reference::Branch(branch)) => {
            let after: ObjectId = text(value, "/after")
                .and_then(|after| after.parse().ok())
                .ok_or_else(|| wrong("`after`"))?;
            Ok(Event::Pushed(vec![Moved {
                branch,
                commit: (!after.is_zero()).then_some(after),
            }]))
        }
        Some(Reference::Tag(tag)) => Ok(Event::Other(format!("the tag {tag} moved"))),
        None => Ok(Event::Other("something that is no branch moved".to_owned())),
    }
}

#[cfg(test)]
mod tests;
