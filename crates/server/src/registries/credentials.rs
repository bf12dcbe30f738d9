//! Who an organization is to registries, sealed in the store.

use std::sync::Arc;

use async_trait::async_trait;
use nonna_engine::ports::Credentials;
use nonna_engine::ports::registry::Credential;
use nonna_engine::{Error, Result};
use nonna_model::OrganizationId;
use nonna_model::image::RegistryHost;
use nonna_store::Store;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The kind of the blobs that keep credentials, by organization and registry.
const KIND: &str = "registry-credential";

/// A credential as it is sealed.
#[derive(Clone)]
pub(crate) struct StoredCredential {
    pub(crate) registry: RegistryHost,
    /// Absent with an identity token.
    pub(crate) username: Option<String>,
    /// The password or the identity token.
    pub(crate) secret: SecretString,
    /// Who stored it: the name of a token of Nonna's.
    pub(crate) stored_by: String,
    /// When: milliseconds since 1970, UTC.
    pub(crate) stored_at: i64,
}

impl StoredCredential {
    pub(crate) fn credential(&self) -> Credential {
        match &self.username {
            Some(username) => Credential::Password {
                username: username.clone(),
                password: self.secret.clone(),
            },
            None => Credential::IdentityToken(self.secret.clone()),
        }
    }
}

/// The form in which it is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    registry: RegistryHost,
    username: Option<String>,
    secret: std::borrow::Cow<'a, str>,
    stored_by: String,
    stored_at: i64,
}

/// The credentials in the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StoredCredentials {
    store: Arc<dyn Store>,
}

fn key(organization: &OrganizationId, registry: &RegistryHost) -> String {
    format!("{organization}/{registry}")
}

impl StoredCredentials {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Stores one in place of the one before.
    pub(crate) async fn put(&self, organization: &OrganizationId, new: &StoredCredential) -> Result<()> {
        let sealed = Sealed {
            registry: new.registry.clone(),
            username: new.username.clone(),
            secret: new.secret.expose_secret().into(),
            stored_by: new.stored_by.clone(),
            stored_at: new.stored_at,
        };
        let bytes = serde_json::to_vec(&sealed)
            .map(Zeroizing::new)
            .map_err(|e| Error::bug(format!("a credential cannot be written: {e}")))?;
        self.store
            .put_blob(KIND, &key(organization, &new.registry), &bytes)
            .await
    }

    /// The organization's credentials, by registry.
    pub(crate) async fn list(&self, organization: &OrganizationId) -> Result<Vec<StoredCredential>> {
        let mut found = Vec::new();
        let prefix = format!("{organization}/");
        for blob in self.store.list_blobs(KIND).await? {
            if blob.key.starts_with(&prefix)
                && let Some(bytes) = self.store.get_blob(KIND, &blob.key).await?
            {
                found.push(open(&bytes)?);
            }
        }
        Ok(found)
    }

    /// Removes one; answers whether it was there.
    pub(crate) async fn remove(
        &self,
        organization: &OrganizationId,
        registry: &RegistryHost,
    ) -> Result<bool> {
        self.store.delete_blob(KIND, &key(organization, registry)).await
    }
}

fn open(bytes: &[u8]) -> Result<StoredCredential> {
    // The text of the error could hold what it could not read.
    let sealed: Sealed<'_> =
        serde_json::from_slice(bytes).map_err(|_| Error::bug("a stored credential cannot be read"))?;
    Ok(StoredCredential {
        registry: sealed.registry,
        username: sealed.username,
        secret: SecretString::from(sealed.secret.into_owned()),
        stored_by: sealed.stored_by,
        stored_at: sealed.stored_at,
    })
}

#[async_trait]
impl Credentials for StoredCredentials {
    async fn credential(
        &self,
        organization: &OrganizationId,
        registry: &RegistryHost,
    ) -> Result<Option<Credential>> {
        let found = self.store.get_blob(KIND, &key(organization, registry)).await?;
        found
            .map(|bytes| open(&bytes).map(|stored| stored.credential()))
            .transpose()
    }
}
