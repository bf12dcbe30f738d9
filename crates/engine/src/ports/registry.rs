//! Registries: who we are to them, and what of a build goes there.

use async_trait::async_trait;
use nonna_model::image::RegistryHost;
use nonna_model::plan::Scope;
use nonna_model::{Name, OrganizationId, ReleaseNumber, ServiceId};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error, Result};
use crate::event::Progress;

/// How an organization is known to a registry.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A name and a password, or an access token in a password's place.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A token that the registry's token server exchanges for short-lived ones
    /// (Docker calls it an identity token, OAuth a refresh token).
    IdentityToken(SecretString),
}

impl Credential {
    /// Whom it names, for messages.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Password { username, .. } => username,
            Self::IdentityToken(_) => "the holder of an identity token",
        }
    }
}

/// Opens credentials. What one organization stored is never given to another.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The organization's credential for the registry, if it stored one.
    ///
    /// # Errors
    /// `SealBroken`, `StoreUnavailable`.
    async fn credential(
        &self,
        organization: &OrganizationId,
        registry: &RegistryHost,
    ) -> Result<Option<Credential>>;
}

/// No credentials at all: every registry is asked as a stranger asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

#[async_trait]
impl Credentials for NoCredentials {
    async fn credential(&self, _: &OrganizationId, _: &RegistryHost) -> Result<Option<Credential>> {
        Ok(None)
    }
}

/// The error for a registry that does not let us in: which one, as whom, and
/// the command that mends it.
#[must_use]
pub fn not_let_in(registry: &RegistryHost, user: Option<&str>, what: &str) -> Error {
    let login = match user {
        Some(user) if !user.contains(' ') => format!("nonna registry login {registry} --username {user}"),
        _ => format!("nonna registry login {registry}"),
    };
    match user {
        Some(user) => Error::user(
            Code::RegistryAuth,
            format!("The registry {registry} does not let `{user}` {what}."),
        )
        .hint(format!(
            "The password may be wrong or have expired, or the account may lack the right. Give it anew: `{login}`."
        )),
        None => Error::user(
            Code::RegistryAuth,
            format!("The registry {registry} wants credentials to {what}, and none are stored for it."),
        )
        .hint(format!("Store them: `{login}`.")),
    }
}

/// An image that shall be put into a registry.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Of which environment.
    pub scope: Scope,
    /// Of which service.
    pub service: ServiceId,
    /// Its name.
    pub service_name: Name,
    /// Of which release.
    pub release: ReleaseNumber,
    /// The image as the runtime knows it.
    pub image: String,
    /// The repository, without a tag.
    pub repository: String,
}

/// Puts images into registries, signed. Doing it twice leaves one.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Pushes the image and signs it; answers the reference by which exactly
    /// it can be fetched again: `registry.example/team/app@sha256:…`.
    ///
    /// # Errors
    /// `RegistryAuth`, `RegistryUnavailable`, `ImageNotFound` where the
    /// runtime has lost it, `Cancelled`.
    async fn publish(
        &self,
        publication: &Publication,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<String>;
}

/// Publishes nothing: for engines without a registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPublisher;

#[async_trait]
impl Publisher for NoPublisher {
    async fn publish(
        &self,
        publication: &Publication,
        _: &Progress,
        _: &CancellationToken,
    ) -> Result<String> {
        Err(Error::user(
            Code::RegistryUnavailable,
            format!("This engine cannot push to {}.", publication.repository),
        ))
    }
}
