//! Removing what builds left and nobody needs: by hand (`nonna gc`), once an
//! hour, and as soon as a disk is nearly full.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nonna_api::{DiskAnswer, GcAnswer, GcItem};
use nonna_engine::Result;
use nonna_engine::ports::BuildStorage;
use nonna_engine::ports::storage::{CacheKind, Disk, StoredCache, StoredImage};
use nonna_model::plan::PlannedService;
use nonna_model::release::ReleaseState;
use nonna_model::service::Source;
use nonna_model::{ServiceId, release::Release};
use nonna_store::Store;
use tokio::sync::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use self::policy::{Decision, Facts, Policy, ReleaseFacts, ServiceFacts, decide};
use crate::build::log;
use crate::config::Config;

/// How often the disks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often all is gone through where there is room.
const RUN_EVERY: Duration = Duration::from_secs(3600);
/// How often it is gone through where there is none.
const RUN_IN_NEED: Duration = Duration::from_secs(600);
/// How many releases of a service are looked at.
const RELEASES: u32 = 1000;
/// What is younger than this is left: somebody may be about to use it.
const GRACE: Duration = Duration::from_secs(3600);

/// The one who removes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Collector(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    storage: Arc<dyn BuildStorage>,
    /// Held, shared, from the moment a deployment looks for an image until the
    /// store knows that it needs it; and alone while something is removed.
    keeping: Arc<RwLock<()>>,
    /// One run at a time.
    turn: Mutex<()>,
}

impl Collector {
    pub(crate) fn new(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        storage: Arc<dyn BuildStorage>,
        keeping: Arc<RwLock<()>>,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            store,
            storage,
            keeping,
            turn: Mutex::default(),
        }))
    }

    /// Removes, or only tells what would go.
    pub(crate) async fn run(&self, dry_run: bool) -> Result<GcAnswer> {
        let _turn = self.0.turn.lock().await;
        let disks = self.0.storage.disks().await?;
        let in_need = self.is_low(&disks);
        let mut policy = self.policy();
        if in_need {
            policy = policy.in_need();
        }
        let facts = self.facts().await?;
        let decision = decide(&facts, &policy);
        let grace = Duration::from_millis(u64::try_from(policy.grace).unwrap_or_default());
        let mut answer = GcAnswer {
            dry_run,
            items: Vec::new(),
            bytes: 0,
            disks: disks.into_iter().map(disk_answer).collect(),
        };
        self.images(&decision, dry_run, &mut answer).await?;
        self.caches(&decision, dry_run, &mut answer).await?;
        self.logs(&decision, dry_run, &mut answer).await?;
        self.contexts(&decision, grace, dry_run, &mut answer).await?;
        answer.bytes = answer.items.iter().map(|item| item.bytes).sum();
        if !dry_run && !answer.items.is_empty() {
            tracing::info!(
                items = answer.items.len(),
                bytes = answer.bytes,
                in_need,
                "what builds left and nobody needs was removed"
            );
        }
        Ok(answer)
    }

    fn policy(&self) -> Policy {
        let keep = &self.0.config.retention;
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Policy {
            releases: usize::try_from(keep.releases).unwrap_or(usize::MAX),
            logs: usize::try_from(keep.logs).unwrap_or(usize::MAX),
            cache_age: millis(keep.cache_age),
            cache_size: keep.cache_size,
            grace: millis(keep.grace.min(GRACE)),
        }
    }

    /// Whether a disk is nearly full.
    fn is_low(&self, disks: &[Disk]) -> bool {
        let share = u64::from(self.0.config.retention.free);
        disks.iter().any(|disk| disk.free < disk.total / 100 * share)
    }

    async fn facts(&self) -> Result<Facts> {
        let store = &self.0.store;
        let mut busy: BTreeSet<ServiceId> = BTreeSet::new();
        let mut contexts = BTreeSet::new();
        for deployment in store.unfinished_deployments().await? {
            for (id, planned) in &deployment.plan.services {
                busy.insert(id.clone());
                contexts.extend(planned.release.as_ref().and_then(context));
            }
        }
        let mut services: BTreeMap<ServiceId, ServiceFacts> = BTreeMap::new();
        for snapshot in store.snapshots().await? {
            for service in snapshot.services {
                let releases = store.list_releases(&service.id, None, RELEASES).await?;
                let facts = ServiceFacts {
                    current: service.current.as_ref().map(|current| current.release.number),
                    busy: busy.contains(&service.id),
                    releases: releases
                        .iter()
                        .map(|release| ReleaseFacts {
                            number: release.number,
                            image: release.image.clone(),
                            context: context(release),
                            succeeded: release.state == ReleaseState::Succeeded,
                        })
                        .collect(),
                };
                services.insert(service.id, facts);
            }
        }
        let logs = store.list_blobs(log::KIND).await?;
        Ok(Facts {
            now: jiff::Timestamp::now().as_millisecond(),
            services,
            images: self.0.storage.images().await?,
            caches: self.0.storage.caches().await?,
            logs: logs.iter().filter_map(|blob| log::of_key(&blob.key)).collect(),
            contexts_in_use: contexts,
        })
    }

    /// Whether no deployment that could need the image began since it was
    /// decided. Asked with `keeping` held alone, so none begins before the
    /// answer is used.
    async fn is_free(&self, image: &StoredImage) -> Result<bool> {
        let unfinished = self.0.store.unfinished_deployments().await?;
        let needs = |id: &ServiceId, planned: &PlannedService| {
            *id == image.service
                || planned
                    .release
                    .as_ref()
                    .and_then(|release| release.image.as_ref())
                    .is_some_and(|needed| *needed == image.image)
        };
        Ok(!unfinished
            .iter()
            .flat_map(|deployment| &deployment.plan.services)
            .any(|(id, planned)| needs(id, planned)))
    }

    async fn images(&self, decision: &Decision, dry_run: bool, answer: &mut GcAnswer) -> Result<()> {
        for (image, why) in &decision.images {
            if !dry_run {
                let _alone = self.0.keeping.write().await;
                if !self.is_free(image).await? || !self.0.storage.remove_image(&image.image).await? {
                    continue;
                }
            }
            answer.items.push(GcItem {
                kind: "image".to_owned(),
                name: image.image.clone(),
                service: Some(image.service.to_string()),
                bytes: image.size,
                why: why.clone(),
            });
        }
        Ok(())
    }

    async fn caches(&self, decision: &Decision, dry_run: bool, answer: &mut GcAnswer) -> Result<()> {
        let ids: Vec<String> = decision
            .caches
            .iter()
            .map(|(cache, _)| cache.id.clone())
            .collect();
        let gone: Option<BTreeSet<String>> = if dry_run {
            None
        } else {
            let removed = self.0.storage.remove_caches(&ids).await?;
            Some(removed.names.into_iter().collect())
        };
        for (cache, why) in &decision.caches {
            if gone.as_ref().is_some_and(|gone| !gone.contains(&cache.id)) {
                continue;
            }
            answer.items.push(GcItem {
                kind: kind(cache.kind).to_owned(),
                name: cache.id.clone(),
                service: Some(cache.service.to_string()),
                bytes: cache.size,
                why: why.clone(),
            });
        }
        Ok(())
    }

    async fn logs(&self, decision: &Decision, dry_run: bool, answer: &mut GcAnswer) -> Result<()> {
        for (service, release) in &decision.logs {
            if !dry_run {
                self.0
                    .store
                    .delete_blob(log::KIND, &log::key(service, *release))
                    .await?;
            }
            answer.items.push(GcItem {
                kind: "build_log".to_owned(),
                name: release.to_string(),
                service: Some(service.to_string()),
                bytes: 0,
                why: "the releases since have logs of their own".to_owned(),
            });
        }
        Ok(())
    }

    async fn contexts(
        &self,
        decision: &Decision,
        grace: Duration,
        dry_run: bool,
        answer: &mut GcAnswer,
    ) -> Result<()> {
        // A deployment that begins now needs one that was sent a moment ago,
        // which the grace keeps, or that of a release: those are decided again
        // with nobody planning.
        let mut keep = decision.contexts.clone();
        let _alone = self.0.keeping.write().await;
        for deployment in self.0.store.unfinished_deployments().await? {
            let releases = deployment
                .plan
                .services
                .values()
                .filter_map(|s| s.release.as_ref());
            keep.extend(releases.filter_map(context));
        }
        let removed = self.0.storage.retain_contexts(&keep, grace, dry_run).await?;
        let count = u64::try_from(removed.names.len()).unwrap_or_default().max(1);
        for (at, name) in removed.names.iter().enumerate() {
            // Contents are shared between contexts: what goes is known of all
            // together, and told with the first.
            let bytes = if at == 0 { removed.bytes } else { 0 };
            answer.items.push(GcItem {
                kind: "context".to_owned(),
                name: name.clone(),
                service: None,
                bytes,
                why: format!("no release that is kept was built of it ({count} together)"),
            });
        }
        Ok(())
    }

    /// The caches there are.
    pub(crate) async fn list_caches(&self) -> Result<Vec<StoredCache>> {
        self.0.storage.caches().await
    }

    /// Removes these caches.
    pub(crate) async fn clear_caches(&self, caches: &[StoredCache]) -> Result<Vec<StoredCache>> {
        let _turn = self.0.turn.lock().await;
        let ids: Vec<String> = caches.iter().map(|cache| cache.id.clone()).collect();
        let removed = self.0.storage.remove_caches(&ids).await?;
        Ok(caches
            .iter()
            .filter(|cache| removed.names.contains(&cache.id))
            .cloned()
            .collect())
    }

    /// Runs by itself until the server stops.
    pub(crate) async fn keep_running(self, closing: CancellationToken) {
        let mut last = Instant::now();
        // The first time that a disk is found nearly full does not wait.
        let mut was_in_need = false;
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                _ = tick.tick() => {}
            }
            let in_need = match self.0.storage.disks().await {
                Ok(disks) => self.is_low(&disks),
                // The engine is not there: there is nothing to do.
                Err(_) => continue,
            };
            let pause = match (in_need, was_in_need) {
                (true, false) => Duration::ZERO,
                (true, true) => RUN_IN_NEED,
                (false, _) => RUN_EVERY,
            };
            was_in_need = in_need;
            if last.elapsed() < pause {
                continue;
            }
            last = Instant::now();
            if let Err(error) = self.run(false).await {
                tracing::warn!(%error, "what builds left could not be removed");
            }
        }
    }
}

fn context(release: &Release) -> Option<String> {
    match &release.spec.source {
        Source::Build(build) => Some(build.context.clone()),
        Source::Image { .. } => None,
    }
}

/// As the API names it.
pub(crate) fn kind(kind: CacheKind) -> &'static str {
    match kind {
        CacheKind::Dependencies => "dependencies",
        CacheKind::Layer => "layer",
    }
}

fn disk_answer(disk: Disk) -> DiskAnswer {
    DiskAnswer {
        name: disk.name,
        free: disk.free,
        total: disk.total,
    }
}
