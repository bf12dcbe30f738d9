//! Connecting a repository on a forge, and disconnecting it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use nonna_engine::{Code, Error, Result};
use nonna_git::Reference;
use nonna_git::forge::Forge;
use nonna_git::key::DeployKey;
use nonna_git::remote::{RemoteUrl, Transport};
use nonna_model::{ConnectionId, Name};
use nonna_store::forge::{Connection, ConnectionChange, ConnectionSecrets, Followed};
use reqwest::Url;
use secrecy::SecretString;

use crate::http::App;

/// The most repositories that a project is deployed from.
const MOST: usize = 50;
/// The most branches of one that are followed.
const MOST_BRANCHES: usize = 100;
/// The longest token.
const MOST_TOKEN: usize = 4096;

/// What is wanted of a repository.
pub(crate) struct Wanted {
    pub(crate) project: Name,
    pub(crate) repository: String,
    pub(crate) branch: String,
    pub(crate) environment: Name,
    pub(crate) services: Vec<Name>,
    pub(crate) forge: Option<String>,
    pub(crate) api: Option<String>,
    pub(crate) token: Option<SecretString>,
    pub(crate) new_secret: bool,
    pub(crate) actor: String,
}

/// What was connected.
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// The webhook's secret, where one was made.
    pub(crate) secret: Option<String>,
}

fn wrong(message: impl Into<String>) -> Error {
    Error::user(Code::InvalidInput, message)
}

fn random() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::provider(Code::Bug, "The system gives no random numbers.").said(e.to_string()))?;
    Ok(HEXLOWER.encode(&bytes))
}

fn forge_of(wanted: Option<&str>, url: &RemoteUrl) -> Result<Forge> {
    match wanted {
        Some(word) => word
            .parse()
            .map_err(|reason: String| wrong(format!("`forge`: {reason}."))),
        None => Forge::of_host(&url.host).ok_or_else(|| {
            wrong(format!(
                "The host {} does not tell which kind of forge it is.",
                url.host
            ))
            .hint("Say it with --forge: github, gitlab, gitea (Forgejo too) or bitbucket.")
        }),
    }
}

/// The address of an API: a token travels to it.
fn check_api(text: &str) -> Result<String> {
    let refuse = |reason: &str| {
        wrong(format!(
            "The address of the forge's API cannot be used: {reason}."
        ))
        .hint("It is such as `https://forge.example.org/api/v1`.")
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1"));
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return Err(refuse("a token would travel to it in the clear"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it has more than a host and a path"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn check(wanted: &Wanted) -> Result<(RemoteUrl, Forge, Option<String>)> {
    let url: RemoteUrl = wanted.repository.parse()?;
    let good = matches!(
        Reference::parse(&format!("refs/heads/{}", wanted.branch)),
        Some(Reference::Branch(_))
    );
    if !good {
        return Err(wrong("No branch can have that name.")
            .hint("It is the name as `git branch` shows it: `main`, `feature/login`."));
    }
    if !url.is_private() {
        return Err(
            wrong("What is fetched over plain http could be changed by anybody on the way.")
                .hint("Use the repository's https or ssh address."),
        );
    }
    let forge = forge_of(wanted.forge.as_deref(), &url)?;
    let api = wanted.api.as_deref().map(check_api).transpose()?;
    if let Some(token) = &wanted.token {
        let text = secrecy::ExposeSecret::expose_secret(token);
        let good = (1..=MOST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            return Err(wrong(
                "The token has 1 to 4096 printable characters and no spaces.",
            ));
        }
    }
    Ok((url, forge, api))
}

/// Connects a repository, or changes what is deployed of one that is
/// connected.
pub(crate) async fn connect(app: &App, wanted: Wanted) -> Result<Connected> {
    app.git()?;
    let (url, forge, api) = check(&wanted)?;
    let followed = Followed {
        environment: wanted.environment.clone(),
        services: wanted.services.clone(),
        deployed: None,
    };
    let organization = &app.installation.organization;
    let there = app
        .store
        .list_connections(organization, Some(&wanted.project))
        .await?;
    let text = url.to_string();
    if let Some(before) = there.iter().find(|c| c.url == text) {
        if wanted.forge.is_some() && before.forge != forge.as_str() {
            return Err(Error::user(
                Code::Conflict,
                format!("{url} is connected as a repository of another kind of forge."),
            )
            .hint(format!(
                "Disconnect it first: `nonna git disconnect {}`.",
                before.id
            )));
        }
        return change(app, before, wanted, followed, api).await;
    }
    if there.len() >= MOST {
        return Err(Error::user(
            Code::LimitExceeded,
            format!("A project may be deployed from {MOST} repositories."),
        ));
    }
    let key = match url.transport {
        Transport::Ssh => Some(DeployKey::generate(&format!("nonna-{}", wanted.project))?),
        Transport::Http | Transport::Https => None,
    };
    let secret = random()?;
    let connection = Connection {
        id: ConnectionId::generate(),
        organization: organization.clone(),
        project: wanted.project,
        url: text,
        forge: forge.as_str().to_owned(),
        api,
        branches: BTreeMap::from([(wanted.branch, followed)]),
        public_key: key.as_ref().map(|key| key.public.clone()),
        has_token: wanted.token.is_some(),
        host_keys: None,
        created_by: wanted.actor,
        created_at: jiff::Timestamp::now().as_millisecond(),
    };
    let secrets = ConnectionSecrets {
        webhook: secret.clone().into(),
        key: key.map(|key| SecretString::from(key.private.as_str())),
        token: wanted.token,
    };
    app.store.create_connection(connection.clone(), secrets).await?;
    Ok(Connected {
        connection,
        secret: Some(secret),
    })
}

async fn change(
    app: &App,
    before: &Connection,
    wanted: Wanted,
    followed: Followed,
    api: Option<String>,
) -> Result<Connected> {
    if before.branches.len() >= MOST_BRANCHES && !before.branches.contains_key(&wanted.branch) {
        return Err(Error::user(
            Code::LimitExceeded,
            format!("{MOST_BRANCHES} branches of a repository may be followed."),
        ));
    }
    let mut changes = vec![ConnectionChange::Follow(wanted.branch, followed)];
    if wanted.token.is_some() {
        changes.push(ConnectionChange::Token(wanted.token));
    }
    if api.is_some() {
        changes.push(ConnectionChange::Api(api));
    }
    let secret = if wanted.new_secret { Some(random()?) } else { None };
    if let Some(secret) = &secret {
        changes.push(ConnectionChange::WebhookSecret(secret.clone().into()));
    }
    let connection = app
        .store
        .change_connection(&before.id, changes)
        .await?
        .ok_or_else(|| Error::user(Code::Conflict, "The repository was disconnected meanwhile.").retry())?;
    Ok(Connected { connection, secret })
}

/// Disconnects a repository, or one branch of it; what is left then.
pub(crate) async fn disconnect(
    app: &App,
    connection: &Connection,
    branch: Option<&str>,
) -> Result<Option<Connection>> {
    if let Some(branch) = branch {
        if !connection.branches.contains_key(branch) {
            let known: Vec<&str> = connection.branches.keys().map(String::as_str).collect();
            return Err(Error::user(
                Code::NotFound,
                format!("Nothing follows that branch of {}.", connection.url),
            )
            .hint(format!("These are followed: {}.", known.join(", "))));
        }
        if connection.branches.len() > 1 {
            let change = ConnectionChange::Unfollow(branch.to_owned());
            return app.store.change_connection(&connection.id, vec![change]).await;
        }
    }
    app.store.remove_connection(&connection.id).await?;
    app.git()?.home.remove_forge(connection.id.as_str());
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_private_and_an_address_only() {
        for (given, used) in [
            ("https://f.example/api/v1/", "https://f.example/api/v1"),
            ("http://127.0.0.1:3000/api/v1", "http://127.0.0.1:3000/api/v1"),
        ] {
            assert_eq!(check_api(given).unwrap(), used);
        }
        for bad in [
            "http://f.example/api",
            "https://u:p@f.example/api",
            "https://f.example/api?x",
            "https://f.example/api#x",
            "file:///etc/passwd",
            "x",
            "",
        ] {
            assert!(check_api(bad).is_err(), "{bad}");
        }
        let error = check_api("https://u:hunter2@f.example/api").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
