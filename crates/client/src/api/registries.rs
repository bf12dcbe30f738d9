//! Registries, and what of releases is in them.

use std::time::Duration;

use nonna_api::{
    Page, PushAnswer, RegistryAnswer, RegistryLoginRequest, RegistryLogoutRequest, SbomQuery,
    SigningKeyAnswer, VerifyAnswer, paths,
};
use nonna_engine::Result;
use reqwest::Method;

use super::Place;
use crate::http::Client;

/// How long the server may read an image, or push one.
const LONG: Duration = Duration::from_secs(15 * 60);

/// What stands for the current release in a path.
const CURRENT: &str = "current";

impl Client {
    /// The registries that credentials are stored for.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn registries(&self) -> Result<Vec<RegistryAnswer>> {
        let page: Page<RegistryAnswer> = self
            .json(self.request(Method::GET, paths::REGISTRIES, &[]))
            .await?;
        Ok(page.items)
    }

    /// Stores a credential, once the registry has let it in.
    ///
    /// # Errors
    /// `RegistryAuth` where it does not; `RegistryUnavailable`, `InvalidInput`.
    pub async fn registry_login(&self, request: &RegistryLoginRequest) -> Result<RegistryAnswer> {
        self.json(self.request(Method::POST, paths::REGISTRIES, &[]).json(request))
            .await
    }

    /// Forgets a registry's credential.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn registry_logout(&self, registry: &str) -> Result<()> {
        let body = RegistryLogoutRequest {
            registry: registry.to_owned(),
        };
        let request = self.request(Method::POST, paths::REGISTRY_LOGOUT, &[]);
        self.send(request.json(&body)).await.map(|_| ())
    }

    /// The public half of the key that images are signed with.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn signing_key(&self) -> Result<SigningKeyAnswer> {
        self.json(self.request(Method::GET, paths::SIGNING_KEY, &[]))
            .await
    }

    /// What a release's image is made of; `None`: the current release's.
    ///
    /// # Errors
    /// `NotFound`; `ImageNotFound` where the image is gone and was never read.
    pub async fn sbom(
        &self,
        place: &Place,
        service: &str,
        release: Option<&str>,
        format: Option<&str>,
    ) -> Result<serde_json::Value> {
        let query = SbomQuery {
            format: format.map(str::to_owned),
        };
        let at = [
            &place.project,
            &place.environment,
            service,
            release.unwrap_or(CURRENT),
        ];
        let request = self.request(Method::GET, paths::RELEASE_SBOM, &at);
        self.json(request.query(&query).timeout(LONG)).await
    }

    /// Checks the signature of a release's image.
    ///
    /// # Errors
    /// `SignatureInvalid`; `NotFound` where the image was never pushed.
    pub async fn verify(&self, place: &Place, service: &str, release: Option<&str>) -> Result<VerifyAnswer> {
        let at = [
            &place.project,
            &place.environment,
            service,
            release.unwrap_or(CURRENT),
        ];
        self.json(self.request(Method::GET, paths::RELEASE_VERIFY, &at))
            .await
    }

    /// Pushes and signs a release's image.
    ///
    /// # Errors
    /// `RegistryAuth`, `RegistryUnavailable`, `InvalidInput` where the release
    /// names no repository.
    pub async fn push_release(
        &self,
        place: &Place,
        service: &str,
        release: Option<&str>,
    ) -> Result<PushAnswer> {
        let at = [
            &place.project,
            &place.environment,
            service,
            release.unwrap_or(CURRENT),
        ];
        let request = self.request(Method::POST, paths::RELEASE_PUSH, &at);
        self.json_once(request.timeout(LONG)).await
    }
}
