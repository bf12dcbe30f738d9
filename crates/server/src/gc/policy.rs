//! What is removed and why: a pure function of what is there.

use std::collections::{BTreeMap, BTreeSet};

use nonna_engine::ports::storage::{CacheKind, StoredCache, StoredImage};
use nonna_model::{ReleaseNumber, ServiceId};

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The images and sources of so many releases of each service, counted
    /// from the newest.
    pub(crate) releases: usize,
    /// The build logs of so many releases of each service.
    pub(crate) logs: usize,
    /// Caches that were not used for this long go: milliseconds.
    pub(crate) cache_age: i64,
    /// The most that caches may take, in bytes.
    pub(crate) cache_size: u64,
    /// What is younger than this stays, whatever it is: milliseconds.
    pub(crate) grace: i64,
}

/// How few releases are kept where the disk is nearly full: enough to go back.
const RELEASES_IN_NEED: usize = 3;
/// How long unused caches are kept where the disk is nearly full.
const CACHE_AGE_IN_NEED: i64 = 24 * 3600 * 1000;

impl Policy {
    /// The same where the disk is nearly full.
    pub(crate) fn in_need(&self) -> Self {
        Self {
            releases: self.releases.min(RELEASES_IN_NEED),
            cache_age: self.cache_age.min(CACHE_AGE_IN_NEED),
            cache_size: self.cache_size / 4,
            ..self.clone()
        }
    }
}

/// A release as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseFacts {
    pub(crate) number: ReleaseNumber,
    pub(crate) image: Option<String>,
    /// The digest of its build context.
    pub(crate) context: Option<String>,
    /// It became current once: it can be gone back to.
    pub(crate) succeeded: bool,
}

/// A service as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    /// Its releases, newest first.
    pub(crate) releases: Vec<ReleaseFacts>,
    pub(crate) current: Option<ReleaseNumber>,
    /// A deployment of it is under way or waits.
    pub(crate) busy: bool,
}

/// All that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) now: i64,
    pub(crate) services: BTreeMap<ServiceId, ServiceFacts>,
    pub(crate) images: Vec<StoredImage>,
    pub(crate) caches: Vec<StoredCache>,
    /// Build logs that are kept.
    pub(crate) logs: Vec<(ServiceId, ReleaseNumber)>,
    /// Contexts that deployments which are not over need.
    pub(crate) contexts_in_use: BTreeSet<String>,
}

/// What goes, each with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) images: Vec<(StoredImage, String)>,
    pub(crate) caches: Vec<(StoredCache, String)>,
    pub(crate) logs: Vec<(ServiceId, ReleaseNumber)>,
    /// The contexts that stay; all others that are old enough go.
    pub(crate) contexts: Vec<String>,
}

impl ServiceFacts {
    /// The releases that can be gone back to, and the current one.
    pub(crate) fn kept(&self, most: usize) -> impl Iterator<Item = &ReleaseFacts> {
        let newest: BTreeSet<ReleaseNumber> = self
            .releases
            .iter()
            .filter(|release| release.succeeded)
            .take(most)
            .map(|release| release.number)
            .collect();
        self.releases
            .iter()
            .filter(move |release| newest.contains(&release.number) || Some(release.number) == self.current)
    }
}

/// Decides. What is in use, being built or deployed, or could be gone back to
/// is never among what goes.
pub(crate) fn decide(facts: &Facts, policy: &Policy) -> Decision {
    let mut decision = Decision::default();
    // One build may be for several services: what any of them needs stays.
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for service in facts.services.values() {
        let most = if service.busy { usize::MAX } else { policy.releases };
        needed.extend(service.kept(most).filter_map(|release| release.image.as_deref()));
    }
    for image in &facts.images {
        if needed.contains(image.image.as_str()) {
            continue;
        }
        if let Some(why) = why_image(facts, policy, image) {
            decision.images.push((image.clone(), why));
        }
    }
    decision.caches = caches(facts, policy);
    for (id, release) in &facts.logs {
        let keep = facts.services.get(id).is_some_and(|service| {
            service.busy
                || service.current == Some(*release)
                || service
                    .releases
                    .iter()
                    .take(policy.logs)
                    .any(|kept| kept.number == *release)
        });
        if !keep {
            decision.logs.push((id.clone(), *release));
        }
    }
    let mut contexts = facts.contexts_in_use.clone();
    for service in facts.services.values() {
        let most = if service.busy { usize::MAX } else { policy.releases };
        contexts.extend(service.kept(most).filter_map(|release| release.context.clone()));
    }
    decision.contexts = contexts.into_iter().collect();
    decision
}

fn why_image(facts: &Facts, policy: &Policy, image: &StoredImage) -> Option<String> {
    if image.in_use || facts.now - image.created_at < policy.grace {
        return None;
    }
    let Some(service) = facts.services.get(&image.service) else {
        return Some("its service is gone".to_owned());
    };
    let is_this = |release: &&ReleaseFacts| release.image.as_deref() == Some(image.image.as_str());
    if service.busy {
        return None;
    }
    Some(match service.releases.iter().find(is_this) {
        Some(release) if release.succeeded => {
            format!(
                "{} is older than the last {} releases",
                release.number, policy.releases
            )
        }
        Some(release) => format!("{} never became current", release.number),
        None => "no release has it".to_owned(),
    })
}

fn caches(facts: &Facts, policy: &Policy) -> Vec<(StoredCache, String)> {
    let mut gone = Vec::new();
    let mut left: u64 = 0;
    let mut sorted: Vec<&StoredCache> = facts.caches.iter().collect();
    // What was used last stays longest; dependencies longer than layers, which
    // are quicker made again.
    sorted.sort_by_key(|cache| {
        (
            std::cmp::Reverse(cache.used_at),
            cache.kind == CacheKind::Layer,
            &cache.id,
        )
    });
    for cache in sorted {
        let service = facts.services.get(&cache.service);
        let young = facts.now - cache.used_at < policy.grace;
        if cache.in_use || young || service.is_some_and(|service| service.busy) {
            left = left.saturating_add(cache.size);
            continue;
        }
        let shared = matches!(
            cache.owner,
            nonna_engine::ports::storage::CacheOwner::Organization(_)
        );
        let why = if service.is_none() && !shared {
            "its service is gone"
        } else if facts.now - cache.used_at >= policy.cache_age {
            "it was not used for long"
        } else if left.saturating_add(cache.size) > policy.cache_size {
            "caches take more than they may"
        } else {
            left = left.saturating_add(cache.size);
            continue;
        };
        gone.push((cache.clone(), why.to_owned()));
    }
    gone
}

#[cfg(test)]
mod tests {
    use nonna_engine::ports::storage::CacheOwner;
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    fn policy() -> Policy {
        Policy {
            releases: 2,
            logs: 3,
            cache_age: 30 * DAY,
            cache_size: 100,
            grace: 3_600_000,
        }
    }

    fn service(letter: char) -> ServiceId {
        format!("svc-{}", letter.to_string().repeat(16)).parse().unwrap()
    }

    fn image(name: &str, of: char, age: i64) -> StoredImage {
        StoredImage {
            image: name.to_owned(),
            service: service(of),
            created_at: 100 * DAY - age,
            size: 10,
            in_use: false,
        }
    }

    fn release(number: u32, image: &str, succeeded: bool) -> ReleaseFacts {
        ReleaseFacts {
            number: ReleaseNumber(number),
            image: Some(image.to_owned()),
            context: Some(format!("context of {image}")),
            succeeded,
        }
    }

    fn cache(id: &str, of: char, size: u64, age: i64) -> StoredCache {
        StoredCache {
            id: id.to_owned(),
            kind: CacheKind::Dependencies,
            owner: CacheOwner::Service(service(of)),
            service: service(of),
            description: String::new(),
            size,
            used_at: 100 * DAY - age,
            in_use: false,
        }
    }

    fn facts() -> Facts {
        Facts {
            now: 100 * DAY,
            services: BTreeMap::from([(
                service('a'),
                ServiceFacts {
                    releases: vec![
                        release(5, "five", false),
                        release(4, "four", true),
                        release(3, "three", true),
                        release(2, "two", true),
                        release(1, "one", true),
                    ],
                    current: Some(ReleaseNumber(2)),
                    busy: false,
                },
            )]),
            images: ["five", "four", "three", "two", "one", "never"]
                .into_iter()
                .map(|name| image(name, 'a', DAY))
                .chain([image("gone", 'b', DAY), image("new", 'b', 10)])
                .collect(),
            ..Facts::default()
        }
    }

    fn names(decision: &Decision) -> Vec<(&str, &str)> {
        let images = decision.images.iter();
        images
            .map(|(image, why)| (image.image.as_str(), why.as_str()))
            .collect()
    }

    #[test]
    fn what_runs_and_what_can_be_gone_back_to_stays() {
        let decision = decide(&facts(), &policy());
        assert_eq!(
            names(&decision),
            [
                ("five", "v5 never became current"),
                ("one", "v1 is older than the last 2 releases"),
                ("never", "no release has it"),
                ("gone", "its service is gone"),
            ]
        );
        assert_eq!(
            decision.contexts,
            ["context of four", "context of three", "context of two"]
        );
    }

    #[test]
    fn an_image_that_another_service_runs_stays() {
        let mut facts = facts();
        let worker = ServiceFacts {
            releases: vec![release(1, "one", true), release(2, "gone", true)],
            current: Some(ReleaseNumber(1)),
            busy: false,
        };
        facts.services.insert(service('c'), worker);
        let decision = decide(&facts, &policy());
        let gone: Vec<&str> = names(&decision).into_iter().map(|(name, _)| name).collect();
        assert_eq!(gone, ["five", "never"]);
    }

    #[test]
    fn caches_go_by_age_then_by_size_the_longest_unused_first() {
        let mut facts = facts();
        facts.caches = vec![
            cache("old", 'a', 1, 31 * DAY),
            cache("big", 'a', 60, DAY),
            cache("last", 'a', 50, 2 * DAY),
            cache("small", 'a', 40, 3 * DAY),
            cache("gone", 'b', 1, DAY),
            cache("young", 'b', 1, 1000),
        ];
        let decision = decide(&facts, &policy());
        let mut gone: Vec<&str> = decision
            .caches
            .iter()
            .map(|(cache, _)| cache.id.as_str())
            .collect();
        gone.sort_unstable();
        assert_eq!(gone, ["gone", "last", "old", "small"]);
    }

    #[test]
    fn logs_of_the_newest_releases_stay() {
        let mut facts = facts();
        facts.logs = (1..=5).map(|n| (service('a'), ReleaseNumber(n))).collect();
        facts.logs.push((service('b'), ReleaseNumber(1)));
        let gone = decide(&facts, &policy()).logs;
        assert_eq!(
            gone,
            [(service('a'), ReleaseNumber(1)), (service('b'), ReleaseNumber(1))]
        );
    }

    fn any_facts() -> impl Strategy<Value = Facts> {
        let releases = prop::collection::vec((0_u8..12, any::<bool>()), 0..12);
        let services = prop::collection::vec((releases, 0_usize..14, any::<bool>()), 0..4);
        let images = prop::collection::vec((0_u8..12, 0_usize..5, 0..3 * DAY, any::<bool>()), 0..20);
        let caches = prop::collection::vec((0_usize..5, 0_u64..80, 0..40 * DAY, any::<bool>()), 0..12);
        (services, images, caches).prop_map(|(services, images, caches)| {
            let letter = |n: usize| char::from(b'a' + u8::try_from(n).unwrap());
            let services: BTreeMap<ServiceId, ServiceFacts> = services
                .into_iter()
                .enumerate()
                .map(|(at, (releases, current, busy))| {
                    let count = releases.len();
                    let releases: Vec<ReleaseFacts> = releases
                        .into_iter()
                        .enumerate()
                        .map(|(n, (image, ok))| {
                            release(
                                u32::try_from(count - n).unwrap(),
                                &format!("{}{image}", letter(at)),
                                ok,
                            )
                        })
                        .collect();
                    let current = releases.get(current).map(|release| release.number);
                    (
                        service(letter(at)),
                        ServiceFacts {
                            releases,
                            current,
                            busy,
                        },
                    )
                })
                .collect();
            Facts {
                now: 100 * DAY,
                services,
                images: images
                    .into_iter()
                    .map(|(name, of, age, in_use)| StoredImage {
                        in_use,
                        ..image(&format!("{}{name}", letter(of)), letter(of), age)
                    })
                    .collect(),
                caches: caches
                    .into_iter()
                    .enumerate()
                    .map(|(n, (of, size, age, in_use))| StoredCache {
                        in_use,
                        ..cache(&n.to_string(), letter(of), size, age)
                    })
                    .collect(),
                ..Facts::default()
            }
        })
    }

    proptest! {
        /// Nothing that is in use, young, of a busy service, current, or among
        /// the last releases is ever removed; and what is decided once is
        /// decided again the same way, which is what a dry run rests on.
        #[test]
        fn nothing_in_use_is_ever_removed(facts in any_facts(), need in any::<bool>()) {
            let policy = if need { policy().in_need() } else { policy() };
            let decision = decide(&facts, &policy);
            prop_assert_eq!(&decision, &decide(&facts, &policy));
            for (image, _) in &decision.images {
                prop_assert!(!image.in_use);
                prop_assert!(facts.now - image.created_at >= policy.grace);
                if let Some(service) = facts.services.get(&image.service) {
                    prop_assert!(!service.busy);
                    let mut succeeded = service.releases.iter().filter(|r| r.succeeded);
                    for _ in 0..policy.releases {
                        if let Some(release) = succeeded.next() {
                            prop_assert_ne!(release.image.as_ref(), Some(&image.image));
                        }
                    }
                    for release in service.releases.iter().filter(|r| Some(r.number) == service.current) {
                        prop_assert_ne!(release.image.as_ref(), Some(&image.image));
                        prop_assert!(release.context.as_ref().is_some_and(|c| decision.contexts.contains(c)));
                    }
                }
            }
            for (cache, _) in &decision.caches {
                prop_assert!(!cache.in_use);
                prop_assert!(!facts.services.get(&cache.service).is_some_and(|s| s.busy));
            }
            // What stays of the caches that may go is within the size.
            let gone: BTreeSet<&str> = decision.caches.iter().map(|(c, _)| c.id.as_str()).collect();
            let free: u64 = facts.caches.iter().filter(|c| !gone.contains(c.id.as_str())).map(|c| c.size).sum();
            let forced: u64 = facts
                .caches
                .iter()
                .filter(|c| c.in_use
                    || facts.now - c.used_at < policy.grace
                    || facts.services.get(&c.service).is_some_and(|s| s.busy))
                .map(|c| c.size)
                .sum();
            prop_assert!(free <= policy.cache_size + forced);
        }
    }
}
