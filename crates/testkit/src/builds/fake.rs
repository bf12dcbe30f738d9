//! A storage in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::Result;
use nonna_engine::ports::BuildStorage;
use nonna_engine::ports::storage::{CacheKind, CacheOwner, Disk, Removed, StoredCache, StoredImage};
use nonna_model::ServiceId;

use super::suite::{Made, Workshop};

#[derive(Default)]
struct Engine {
    next: u64,
    /// By installation.
    images: BTreeMap<String, (u64, StoredImage)>,
    caches: BTreeMap<String, (u64, StoredCache)>,
}

/// What builds leave, in memory. Those that share an engine see nothing of
/// each other. Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeBuildStorage {
    engine: Arc<Mutex<Engine>>,
    installation: u64,
    contexts: Arc<Mutex<BTreeMap<String, i64>>>,
    disks: Arc<Mutex<Vec<Disk>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl FakeBuildStorage {
    /// With an engine of its own.
    #[must_use]
    pub fn new() -> Self {
        let this = Self::default();
        this.set_free(90);
        this
    }

    /// Of another installation on the same engine.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            installation: self.installation + 1,
            contexts: Arc::default(),
            disks: Arc::clone(&self.disks),
        }
    }

    /// How much of the disk is free, in percent.
    pub fn set_free(&self, percent: u64) {
        *lock(&self.disks) = vec![Disk {
            name: "container engine".to_owned(),
            free: percent,
            total: 100,
        }];
    }

    /// Adds an image as if it had been built at this moment.
    pub fn add_image(&self, service: &ServiceId, image: &str, created_at: i64) {
        let stored = StoredImage {
            image: image.to_owned(),
            service: service.clone(),
            created_at,
            size: 1000,
            in_use: false,
        };
        lock(&self.engine)
            .images
            .insert(image.to_owned(), (self.installation, stored));
    }
}

#[async_trait]
impl BuildStorage for FakeBuildStorage {
    async fn images(&self) -> Result<Vec<StoredImage>> {
        let engine = lock(&self.engine);
        let own = engine.images.values().filter(|(of, _)| *of == self.installation);
        let mut images: Vec<StoredImage> = own.map(|(_, image)| image.clone()).collect();
        images.sort_by(|a, b| (b.created_at, &a.image).cmp(&(a.created_at, &b.image)));
        Ok(images)
    }

    async fn remove_image(&self, image: &str) -> Result<bool> {
        let mut engine = lock(&self.engine);
        match engine.images.get(image) {
            None => return Ok(true),
            Some((of, stored)) if *of != self.installation || stored.in_use => return Ok(false),
            Some(_) => {}
        }
        engine.images.remove(image);
        Ok(true)
    }

    async fn caches(&self) -> Result<Vec<StoredCache>> {
        let engine = lock(&self.engine);
        let own = engine.caches.values().filter(|(of, _)| *of == self.installation);
        Ok(own.map(|(_, cache)| cache.clone()).collect())
    }

    async fn remove_caches(&self, ids: &[String]) -> Result<Removed> {
        let mut engine = lock(&self.engine);
        let mut removed = Removed::default();
        for id in ids {
            let is_own = engine
                .caches
                .get(id)
                .is_some_and(|(of, cache)| *of == self.installation && !cache.in_use);
            if is_own && let Some((_, cache)) = engine.caches.remove(id) {
                removed.names.push(cache.id);
                removed.bytes += cache.size;
            }
        }
        Ok(removed)
    }

    async fn retain_contexts(&self, digests: &[String], grace: Duration, dry_run: bool) -> Result<Removed> {
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let keep: BTreeSet<&String> = digests.iter().collect();
        let mut contexts = lock(&self.contexts);
        let now = now();
        let gone: Vec<String> = contexts
            .iter()
            .filter(|(digest, at)| !keep.contains(digest) && now - **at >= grace)
            .map(|(digest, _)| digest.clone())
            .collect();
        if !dry_run {
            contexts.retain(|digest, _| !gone.contains(digest));
        }
        Ok(Removed {
            bytes: gone.len() as u64,
            names: gone,
        })
    }

    async fn disks(&self) -> Result<Vec<Disk>> {
        Ok(lock(&self.disks).clone())
    }
}

#[async_trait]
impl Workshop for FakeBuildStorage {
    fn storage(&self) -> Arc<dyn BuildStorage> {
        Arc::new(self.clone())
    }

    async fn build(&self, service: &ServiceId, text: &str) -> Made {
        let number = {
            let mut engine = lock(&self.engine);
            engine.next += 1;
            engine.next
        };
        let image = format!("image {number} of {text}");
        self.add_image(service, &image, now());
        let id = format!("cache of {service}");
        let cache = StoredCache {
            id: id.clone(),
            kind: CacheKind::Dependencies,
            owner: CacheOwner::Service(service.clone()),
            service: service.clone(),
            description: "a cache".to_owned(),
            size: 10,
            used_at: now(),
            in_use: false,
        };
        lock(&self.engine).caches.insert(id, (self.installation, cache));
        let context = format!("context of {text}");
        lock(&self.contexts).insert(context.clone(), now());
        Made { image, context }
    }

    async fn hold(&self, image: &str, held: bool) {
        if let Some((_, stored)) = lock(&self.engine).images.get_mut(image) {
            stored.in_use = held;
        }
    }
}
