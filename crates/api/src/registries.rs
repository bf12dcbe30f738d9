//! Registries, and what of releases is in them.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stored credential, without its secret: `GET /v1/registries`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RegistryAnswer {
    /// The registry: `ghcr.io`, `registry.example:5000`.
    pub registry: String,
    /// As whom; absent with an identity token.
    pub username: Option<String>,
    /// Who stored it.
    pub stored_by: String,
    /// When: milliseconds since 1970, UTC.
    pub stored_at: i64,
}

/// `POST /v1/registries`: stores a credential, once the registry has let it
/// in. Either `username` and `password`, or `identity_token`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryLoginRequest {
    /// The registry, as people write it.
    pub registry: String,
    /// As whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, or an access token in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// An identity token (an OAuth refresh token).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_token: Option<String>,
}

// By hand: what it holds is not printed.
impl fmt::Debug for RegistryLoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLoginRequest")
            .field("registry", &self.registry)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/registries/logout`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogoutRequest {
    /// The registry.
    pub registry: String,
}

/// `GET /v1/registries/key`: the key with which images are signed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SigningKeyAnswer {
    /// Its public half, as a PEM file.
    pub public_key: String,
    /// The SHA-256 of its DER form: `sha256:…`.
    pub fingerprint: String,
}

/// `GET …/releases/{release}/verify`: what is known of a release's signature.
/// One that is missing or wrong is a failure, `signature_invalid`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifyAnswer {
    /// `v7`
    pub release: String,
    /// What was verified: a repository with a digest.
    pub reference: String,
    /// How many good signatures by this installation's key there are.
    pub signatures: usize,
    /// The key's fingerprint.
    pub key: String,
}

/// `POST …/releases/{release}/push`: where the image is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PushAnswer {
    /// `v7`
    pub release: String,
    /// Where the registry has exactly this image: a repository with a digest.
    pub reference: String,
}

/// The query of `…/releases/{release}/sbom`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SbomQuery {
    /// `spdx` (the default) or `cyclonedx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}
