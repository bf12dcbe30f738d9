//! What builds leave on a machine, and its removal.

use std::time::Duration;

use async_trait::async_trait;
use nonna_model::{OrganizationId, ServiceId};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// An image that this installation built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// The image, as the builder returned it.
    pub image: String,
    /// For which service.
    pub service: ServiceId,
    /// When: milliseconds since 1970, UTC.
    pub created_at: i64,
    /// What it takes beside other images, in bytes.
    pub size: u64,
    /// A container is made of it, whether it runs or not.
    pub in_use: bool,
}

/// What a cache is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// Packages and compiled dependencies that builds of the same owner share.
    Dependencies,
    /// The result of a build's step.
    Layer,
}

/// Whose builds may use a cache. It is never used by others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOwner {
    /// One service's.
    Service(ServiceId),
    /// Those of all services of an organization.
    Organization(OrganizationId),
}

impl CacheOwner {
    /// As caches are named after it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Service(id) => id.as_str(),
            Self::Organization(id) => id.as_str(),
        }
    }
}

/// Something that a build of this installation kept to be quicker next time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCache {
    /// The builder's name for it.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// Whose.
    pub owner: CacheOwner,
    /// The service whose build made it.
    pub service: ServiceId,
    /// What it came of, in the builder's words.
    pub description: String,
    /// In bytes.
    pub size: u64,
    /// When it was used last: milliseconds since 1970, UTC.
    pub used_at: i64,
    /// A build uses it now, or it is part of an image: it cannot be removed.
    pub in_use: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removed {
    /// What, by the names that listing gave.
    pub names: Vec<String>,
    /// How many bytes it had.
    pub bytes: u64,
}

/// A disk that builds fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What is on it: `container engine`, `data folder`.
    pub name: String,
    /// What a user of the machine may still write, in bytes.
    pub free: u64,
    /// Its size in bytes.
    pub total: u64,
}

/// The images, caches and contexts of this installation. Nothing that another
/// installation or a person made is ever listed or removed.
///
/// Removing what is gone already succeeds; removing what is in use is refused
/// or passed over, and changes nothing.
#[async_trait]
pub trait BuildStorage: Send + Sync {
    /// The images that were built.
    async fn images(&self) -> Result<Vec<StoredImage>>;

    /// Removes an image; answers whether it is gone. One that a container is
    /// made of stays.
    async fn remove_image(&self, image: &str) -> Result<bool>;

    /// The caches of builds.
    async fn caches(&self) -> Result<Vec<StoredCache>>;

    /// Removes these caches, as far as nothing uses them.
    async fn remove_caches(&self, ids: &[String]) -> Result<Removed>;

    /// Removes every build context but those of these digests, and those that
    /// were sent or used within `grace`: a deployment may be about to need
    /// them. With `dry_run` it only tells what would go.
    async fn retain_contexts(&self, digests: &[String], grace: Duration, dry_run: bool) -> Result<Removed>;

    /// The disks that all of this is on.
    async fn disks(&self) -> Result<Vec<Disk>>;
}
