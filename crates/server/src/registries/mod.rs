//! Registries: stored credentials, pushes, signatures, and what images are
//! made of.

mod builder;
mod contents;
mod credentials;
mod publish;

use std::sync::Arc;

use nonna_engine::ports::{Journal, Runtime};
use nonna_engine::{Code, Error, Result};
use nonna_model::OrganizationId;
use nonna_model::image::ImageReference;
use nonna_registry::SigningKey;
use nonna_registry::sign::{self, PublicKey};
use nonna_store::Store;
use tokio::sync::{Mutex, Semaphore};

pub(crate) use builder::FetchingBuilder;
pub(crate) use credentials::{StoredCredential, StoredCredentials};

/// The kind of the blobs that keep the keys that sign images, by organization.
const KEYS: &str = "signing-key";

/// Everything about registries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Registries {
    pub(crate) credentials: StoredCredentials,
    store: Arc<dyn Store>,
    journal: Arc<dyn Journal>,
    runtime: Arc<dyn Runtime>,
    client: nonna_registry::Registries,
    /// One key is made, however many ask for it at once.
    making_key: Arc<Mutex<()>>,
    /// One image is taken apart at a time: it reads all of it.
    reading: Arc<Semaphore>,
}

/// What is known of a release's signature.
pub(crate) struct Verified {
    /// What was verified: a repository with a digest.
    pub(crate) reference: String,
    /// How many good signatures there are.
    pub(crate) signatures: usize,
    /// By which key.
    pub(crate) fingerprint: String,
}

impl Registries {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        journal: Arc<dyn Journal>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self> {
        Ok(Self {
            credentials: StoredCredentials::new(Arc::clone(&store)),
            store,
            journal,
            runtime,
            client: nonna_registry::Registries::new()?,
            making_key: Arc::default(),
            reading: Arc::new(Semaphore::new(1)),
        })
    }

    /// Stores a credential once the registry has let it in.
    pub(crate) async fn log_in(&self, organization: &OrganizationId, new: StoredCredential) -> Result<()> {
        self.client.check(&new.registry, new.credential()).await?;
        self.credentials.put(organization, &new).await
    }

    /// The organization's key, made when it is first needed.
    async fn key(&self, organization: &OrganizationId) -> Result<SigningKey> {
        let _one = self.making_key.lock().await;
        if let Some(kept) = self.store.get_blob(KEYS, organization.as_str()).await? {
            return SigningKey::from_pkcs8(&kept);
        }
        let key = SigningKey::generate()?;
        self.store
            .put_blob(KEYS, organization.as_str(), key.pkcs8())
            .await?;
        Ok(key)
    }

    /// The half of the organization's key that checks signatures.
    pub(crate) async fn public_key(&self, organization: &OrganizationId) -> Result<PublicKey> {
        self.key(organization).await?.public()
    }

    /// Where a registry has exactly this image.
    pub(crate) async fn origin(&self, image: &str) -> Result<Option<String>> {
        self.journal.origin(image).await
    }

    /// Checks the signature of an image that was pushed.
    pub(crate) async fn verify(&self, organization: &OrganizationId, image: &str) -> Result<Verified> {
        let Some(reference) = self.origin(image).await? else {
            return Err(Error::user(
                Code::NotFound,
                "The image of this release is in no registry: there is nothing to verify.",
            )
            .hint("Name a repository with `push` in nonna.toml and deploy, or `nonna release push`."));
        };
        let (repository, digest) = self.repository(organization, &reference).await?;
        let key = self.public_key(organization).await?;
        let signatures = sign::verify(&repository, &digest, &key).await?;
        if repository.manifest(&digest).await?.is_none() {
            return Err(Error::provider(
                Code::ImageNotFound,
                format!("The registry does not have {reference} any more."),
            )
            .hint("Push it again: `nonna release push`."));
        }
        Ok(Verified {
            reference,
            signatures,
            fingerprint: key.fingerprint(),
        })
    }

    /// A repository, as the organization sees it, and the digest of a
    /// reference.
    async fn repository(
        &self,
        organization: &OrganizationId,
        reference: &str,
    ) -> Result<(nonna_registry::Repository, String)> {
        use nonna_engine::ports::Credentials as _;
        let parsed: ImageReference = reference
            .parse()
            .map_err(|e| Error::bug(format!("an image's origin cannot be read: {e}")))?;
        let digest = parsed
            .digest
            .clone()
            .ok_or_else(|| Error::bug(format!("the origin {reference} has no digest")))?;
        let credential = self
            .credentials
            .credential(organization, &parsed.registry)
            .await?;
        Ok((self.client.repository(&parsed, credential), digest))
    }
}
