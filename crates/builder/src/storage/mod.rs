//! What builds leave: images, the builder's caches, contexts.

mod ledger;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptionsBuilder};
use nonna_engine::Result;
use nonna_engine::ports::BuildStorage;
use nonna_engine::ports::storage::{CacheOwner, Disk, Removed, StoredCache, StoredImage};
use nonna_model::labels;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub(crate) use self::ledger::{Built, Step, commands};
use self::ledger::{Ledger, kind, millis};
use crate::build::{OWN_TAGS, beside};
use crate::context::ContextStore;
use crate::engine::{CacheRecord, Engine, Usage};

/// The ledger's name in the data folder.
const LEDGER: &str = "build-caches.json";

/// What this installation's builds left. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BuildKitStorage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    installation: String,
    contexts: ContextStore,
    ledger: Mutex<Ledger>,
    /// What builds that ended left, being looked at.
    looking: Mutex<JoinSet<()>>,
}

impl BuildKitStorage {
    pub(crate) fn new(engine: Engine, installation: String, contexts: ContextStore) -> Self {
        let ledger = Ledger::open(&contexts.data_dir().join(LEDGER));
        Self(Arc::new(Inner {
            engine,
            installation,
            contexts,
            ledger: Mutex::new(ledger),
            looking: Mutex::default(),
        }))
    }

    /// Looks, beside all else, at what a build left.
    pub(crate) async fn build_ended(&self, built: Built) {
        let this = self.clone();
        let mut looking = self.0.looking.lock().await;
        while looking.try_join_next().is_some() {}
        looking.spawn(async move {
            if let Err(error) = this.look(&built).await {
                tracing::warn!(service = %built.service, %error, "what a build left is not known");
            }
        });
    }

    async fn look(&self, built: &Built) -> Result<()> {
        let mut ledger = self.0.ledger.lock().await;
        let usage = self.0.engine.usage().await?;
        ledger.note(&usage.build_cache.unwrap_or_default(), built)
    }

    /// Waits until all that ended is looked at.
    async fn settle(&self) {
        let mut looking = self.0.looking.lock().await;
        while looking.join_next().await.is_some() {}
    }

    /// Removes the dependency caches of an owner.
    pub(crate) async fn clear_dependencies(&self, owner: &CacheOwner) -> Result<()> {
        let caches = self.caches().await?;
        let ids: Vec<String> = caches
            .into_iter()
            .filter(|cache| {
                cache.owner == *owner && cache.kind == nonna_engine::ports::storage::CacheKind::Dependencies
            })
            .map(|cache| cache.id)
            .collect();
        self.remove_caches(&ids).await?;
        Ok(())
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.engine.usage().await
    }

    /// The images that containers are made of, running or not.
    async fn images_in_use(&self) -> Result<BTreeSet<String>> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let containers = self
            .0
            .engine
            .docker()?
            .list_containers(Some(options))
            .await
            .map_err(|error| self.0.engine.refused("list containers", &error))?;
        Ok(containers.into_iter().filter_map(|c| c.image_id).collect())
    }
}

#[async_trait]
impl BuildStorage for BuildKitStorage {
    async fn images(&self) -> Result<Vec<StoredImage>> {
        let used = self.images_in_use().await?;
        let images = self.usage().await?.images.unwrap_or_default();
        let mut found: Vec<StoredImage> = images
            .into_iter()
            .filter_map(|image| {
                let labels = image.labels.as_ref()?;
                if labels.get(labels::IMAGE_INSTALLATION)? != &self.0.installation {
                    return None;
                }
                let size = image.size - image.shared_size.max(0);
                Some(StoredImage {
                    service: labels.get(labels::IMAGE_SERVICE)?.parse().ok()?,
                    created_at: image.created.saturating_mul(1000),
                    size: u64::try_from(size).unwrap_or_default(),
                    in_use: image.containers > 0 || used.contains(&image.id),
                    image: image.id,
                })
            })
            .collect();
        found.sort_by(|a, b| (b.created_at, &a.image).cmp(&(a.created_at, &b.image)));
        Ok(found)
    }

    async fn remove_image(&self, image: &str) -> Result<bool> {
        let engine = &self.0.engine;
        let docker = engine.docker()?;
        let found = match docker.inspect_image(image).await {
            Ok(found) => found,
            Err(error) if is_status(&error, 404) => return Ok(true),
            Err(error) => return Err(engine.refused("show an image", &error)),
        };
        let own = found
            .config
            .as_ref()
            .and_then(|config| config.labels.as_ref())
            .and_then(|labels| labels.get(labels::IMAGE_INSTALLATION));
        if own != Some(&self.0.installation) {
            return Ok(false);
        }
        // An image that has several tags is only untagged by its id with
        // force, and force would also take one that a stopped container is
        // made of: so tag by tag. A name that a person gave it keeps it.
        let names: Vec<String> = match found.repo_tags.filter(|tags| !tags.is_empty()) {
            Some(tags) if tags.iter().any(|tag| !tag.starts_with(OWN_TAGS)) => return Ok(false),
            Some(tags) => tags,
            None => vec![image.to_owned()],
        };
        if self
            .images_in_use()
            .await?
            .contains(found.id.as_deref().unwrap_or(image))
        {
            return Ok(false);
        }
        let options = RemoveImageOptionsBuilder::default().build();
        for name in names {
            match docker.remove_image(&name, Some(options.clone()), None).await {
                Ok(_) => {}
                Err(error) if is_status(&error, 404) => {}
                Err(error) if is_status(&error, 409) => return Ok(false),
                Err(error) => return Err(engine.refused("remove an image", &error)),
            }
        }
        Ok(true)
    }

    async fn caches(&self) -> Result<Vec<StoredCache>> {
        self.settle().await;
        let records = self.usage().await?.build_cache.unwrap_or_default();
        let ledger = self.0.ledger.lock().await;
        let mut found: Vec<StoredCache> = records
            .into_iter()
            .filter_map(|record| {
                let known = ledger.known.get(&record.id)?;
                Some(StoredCache {
                    kind: kind(&record)?,
                    owner: known.owner.clone(),
                    service: known.service.clone(),
                    size: u64::try_from(record.size).unwrap_or_default(),
                    used_at: millis(record.last_used_at.as_deref())
                        .or(millis(record.created_at.as_deref()))
                        .unwrap_or_default(),
                    in_use: record.in_use || record.shared,
                    description: record.description,
                    id: record.id,
                })
            })
            .collect();
        found.sort_by(|a, b| (b.used_at, &a.id).cmp(&(a.used_at, &b.id)));
        Ok(found)
    }

    async fn remove_caches(&self, ids: &[String]) -> Result<Removed> {
        self.settle().await;
        let mut wanted: BTreeSet<&str> = {
            let ledger = self.0.ledger.lock().await;
            ids.iter()
                .filter(|id| ledger.known.contains_key(*id))
                .map(String::as_str)
                .collect()
        };
        let mut removed = Removed::default();
        // What others stand on goes after them: the leaves first, again and
        // again, until nothing more can go.
        while !wanted.is_empty() {
            let records = self.usage().await?.build_cache.unwrap_or_default();
            let by_id: HashMap<&str, &CacheRecord> = records.iter().map(|r| (r.id.as_str(), r)).collect();
            let below: BTreeSet<&str> = records.iter().flat_map(CacheRecord::parents).collect();
            wanted.retain(|id| by_id.contains_key(id));
            let leaves: Vec<&str> = wanted
                .iter()
                .copied()
                .filter(|id| !below.contains(id))
                .filter(|id| {
                    by_id
                        .get(id)
                        .is_some_and(|record| !record.in_use && !record.shared)
                })
                .collect();
            let mut progress = false;
            for id in leaves {
                let (gone, bytes) = self.0.engine.prune_cache(id).await?;
                progress |= !gone.is_empty();
                removed.names.extend(gone);
                removed.bytes = removed.bytes.saturating_add(bytes);
            }
            if !progress {
                break;
            }
        }
        Ok(removed)
    }

    async fn retain_contexts(&self, digests: &[String], grace: Duration, dry_run: bool) -> Result<Removed> {
        let contexts = self.0.contexts.clone();
        let digests = digests.to_vec();
        let freed = beside(move || contexts.retain(&digests, grace, dry_run)).await?;
        Ok(Removed {
            names: freed.contexts,
            bytes: freed.bytes,
        })
    }

    async fn disks(&self) -> Result<Vec<Disk>> {
        let mut places: BTreeMap<&str, PathBuf> = BTreeMap::new();
        places.insert("data folder", self.0.contexts.data_dir().to_owned());
        if self.0.engine.is_local()
            && let Some(root) = &self.0.engine.info().await?.docker_root_dir
        {
            places.insert("container engine", root.into());
        }
        Ok(places
            .into_iter()
            .filter_map(|(name, path)| disk_at(name, &path))
            .collect())
    }
}

fn disk_at(name: &str, path: &Path) -> Option<Disk> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Disk {
        name: name.to_owned(),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

fn is_status(error: &bollard::errors::Error, status: u16) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}
