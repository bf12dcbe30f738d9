//! What every [`BuildStorage`] must do, as tests.
//!
//! A storage's crate makes a [`Workshop`] and calls [`storage_suite!`] in an
//! integration test: each case becomes a test of its own.
//!
//! [`storage_suite!`]: crate::storage_suite
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "these are tests, named for what they show"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::ports::BuildStorage;
use nonna_engine::ports::storage::CacheKind;
use nonna_model::ServiceId;

/// What was built.
#[derive(Debug, Clone)]
pub struct Made {
    /// The image.
    pub image: String,
    /// The digest of the context it was built of.
    pub context: String,
}

/// A place where things are built, of an installation of its own.
#[async_trait]
pub trait Workshop: Send + Sync {
    /// What its builds leave.
    fn storage(&self) -> Arc<dyn BuildStorage>;

    /// Builds an image with a step that keeps something in a cache of
    /// dependencies; another text is another image.
    async fn build(&self, service: &ServiceId, text: &str) -> Made;

    /// Makes a container of an image, or removes it again.
    async fn hold(&self, image: &str, held: bool);
}

/// Two installations on one engine.
pub struct Fixture {
    /// Ours.
    pub ours: Arc<dyn Workshop>,
    /// Somebody else's.
    pub theirs: Arc<dyn Workshop>,
}

fn names(images: &[nonna_engine::ports::storage::StoredImage]) -> Vec<&str> {
    images.iter().map(|image| image.image.as_str()).collect()
}

pub async fn images_are_listed_and_removed_unless_in_use(fixture: Fixture) {
    let service = ServiceId::generate();
    let first = fixture.ours.build(&service, "first").await;
    let second = fixture.ours.build(&service, "second").await;
    let storage = fixture.ours.storage();
    let images = storage.images().await.unwrap();
    assert_eq!(images.len(), 2, "{images:?}");
    assert!(
        names(&images).contains(&first.image.as_str()) && names(&images).contains(&second.image.as_str())
    );
    let now = jiff::Timestamp::now().as_millisecond();
    for image in &images {
        assert_eq!(image.service, service);
        assert!((now - image.created_at).abs() < 600_000, "{image:?}");
        assert!(!image.in_use);
    }
    fixture.ours.hold(&first.image, true).await;
    let held = storage.images().await.unwrap();
    assert!(
        held.iter()
            .any(|image| image.image == first.image && image.in_use)
    );
    assert!(!storage.remove_image(&first.image).await.unwrap(), "it is in use");
    assert_eq!(storage.images().await.unwrap().len(), 2);
    fixture.ours.hold(&first.image, false).await;
    assert!(storage.remove_image(&first.image).await.unwrap());
    assert!(
        storage.remove_image(&first.image).await.unwrap(),
        "what is gone is gone"
    );
    assert_eq!(names(&storage.images().await.unwrap()), [second.image.as_str()]);
    assert!(storage.remove_image(&second.image).await.unwrap());
}

pub async fn what_others_made_is_neither_listed_nor_removed(fixture: Fixture) {
    let (service, other) = (ServiceId::generate(), ServiceId::generate());
    let own = fixture.ours.build(&service, "same").await;
    let foreign = fixture.theirs.build(&other, "same").await;
    let (ours, theirs) = (fixture.ours.storage(), fixture.theirs.storage());
    assert_eq!(names(&ours.images().await.unwrap()), [own.image.as_str()]);
    if own.image != foreign.image {
        assert!(!ours.remove_image(&foreign.image).await.unwrap());
    }
    assert_eq!(names(&theirs.images().await.unwrap()), [foreign.image.as_str()]);
    let caches = theirs.caches().await.unwrap();
    assert!(caches.iter().any(|cache| cache.kind == CacheKind::Dependencies));
    let ids: Vec<String> = caches.iter().map(|cache| cache.id.clone()).collect();
    for cache in ours.caches().await.unwrap() {
        assert!(!ids.contains(&cache.id), "{cache:?} is theirs");
    }
    assert!(ours.remove_caches(&ids).await.unwrap().names.is_empty());
    assert_eq!(theirs.caches().await.unwrap().len(), caches.len());
    assert!(ours.remove_image(&own.image).await.unwrap());
    assert!(theirs.remove_image(&foreign.image).await.unwrap());
    theirs.remove_caches(&ids).await.unwrap();
}

pub async fn caches_are_listed_by_owner_and_removed(fixture: Fixture) {
    let service = ServiceId::generate();
    let made = fixture.ours.build(&service, "cached").await;
    let storage = fixture.ours.storage();
    let caches = storage.caches().await.unwrap();
    let kept: Vec<_> = caches
        .iter()
        .filter(|c| c.kind == CacheKind::Dependencies)
        .collect();
    assert_eq!(kept.len(), 1, "{caches:?}");
    assert_eq!(kept[0].service, service);
    assert!(!kept[0].in_use);
    let ids = vec![kept[0].id.clone()];
    let removed = storage.remove_caches(&ids).await.unwrap();
    assert_eq!(removed.names, ids);
    let left = storage.caches().await.unwrap();
    assert!(left.iter().all(|cache| cache.id != ids[0]), "{left:?}");
    assert!(
        storage.remove_caches(&ids).await.unwrap().names.is_empty(),
        "twice is once"
    );
    // Layers go with their image.
    assert!(storage.remove_image(&made.image).await.unwrap());
    let layers: Vec<String> = storage
        .caches()
        .await
        .unwrap()
        .into_iter()
        .map(|c| c.id)
        .collect();
    storage.remove_caches(&layers).await.unwrap();
    assert!(storage.caches().await.unwrap().is_empty());
}

pub async fn contexts_that_are_not_kept_go_and_a_dry_run_tells_which(fixture: Fixture) {
    let service = ServiceId::generate();
    let first = fixture.ours.build(&service, "kept").await;
    let second = fixture.ours.build(&service, "gone").await;
    let storage = fixture.ours.storage();
    let keep = vec![first.context.clone()];
    let young = storage
        .retain_contexts(&[], Duration::from_secs(3600), false)
        .await
        .unwrap();
    assert!(young.names.is_empty(), "the grace: {young:?}");
    let would = storage
        .retain_contexts(&keep, Duration::ZERO, true)
        .await
        .unwrap();
    assert_eq!(would.names, std::slice::from_ref(&second.context));
    let gone = storage
        .retain_contexts(&keep, Duration::ZERO, false)
        .await
        .unwrap();
    assert_eq!(gone, would);
    let nothing = storage
        .retain_contexts(&keep, Duration::ZERO, false)
        .await
        .unwrap();
    assert!(nothing.names.is_empty());
    for made in [first, second] {
        assert!(storage.remove_image(&made.image).await.unwrap());
    }
}

pub async fn disks_are_told(fixture: Fixture) {
    let disks = fixture.ours.storage().disks().await.unwrap();
    assert!(!disks.is_empty());
    for disk in disks {
        assert!(disk.total > 0 && disk.free <= disk.total, "{disk:?}");
    }
}

/// The cases, each as a test. Takes an expression that gives a future of a
/// [`Fixture`](crate::builds::suite::Fixture).
#[macro_export]
macro_rules! storage_suite {
    ($fixture:expr) => {
        $crate::storage_suite!(@tests $fixture;
            images_are_listed_and_removed_unless_in_use
            what_others_made_is_neither_listed_nor_removed
            caches_are_listed_by_owner_and_removed
            contexts_that_are_not_kept_go_and_a_dry_run_tells_which
            disks_are_told
        );
    };
    (@tests $fixture:expr; $($case:ident)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::builds::suite::$case($fixture.await).await;
            }
        )+
    };
}
