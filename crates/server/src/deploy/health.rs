//! Which replicas failed their health checks after they had been healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use nonna_model::ServiceId;
use nonna_model::observed::ObservedReplica;
use nonna_model::plan::Plan;

use super::manager::lock;

/// One life of a replica: a restart makes it another one.
pub(super) type Life = (String, Option<i64>);

pub(super) fn life(replica: &ObservedReplica) -> Life {
    (replica.id.clone(), replica.started_at)
}

/// The replicas that get no requests.
#[derive(Debug, Default)]
pub(super) struct Health {
    unhealthy: Mutex<BTreeMap<ServiceId, BTreeSet<Life>>>,
}

impl Health {
    /// Notes how a replica is; answers whether that is news.
    pub(super) fn note(&self, service: &ServiceId, life: &Life, healthy: bool) -> bool {
        let mut unhealthy = lock(&self.unhealthy);
        if healthy {
            let Some(lives) = unhealthy.get_mut(service) else {
                return false;
            };
            let was = lives.remove(life);
            if lives.is_empty() {
                unhealthy.remove(service);
            }
            was
        } else {
            unhealthy.entry(service.clone()).or_default().insert(life.clone())
        }
    }

    /// Those of the replicas that should get requests: the healthy ones, or
    /// all where none is, since an answer of the app's own, even a bad one,
    /// says more than none.
    pub(super) fn routable<'a>(
        &self,
        service: &ServiceId,
        replicas: Vec<&'a ObservedReplica>,
    ) -> Vec<&'a ObservedReplica> {
        let unhealthy = lock(&self.unhealthy);
        let Some(lives) = unhealthy.get(service) else {
            return replicas;
        };
        let healthy: Vec<_> = replicas
            .iter()
            .copied()
            .filter(|r| !lives.contains(&life(r)))
            .collect();
        if healthy.is_empty() { replicas } else { healthy }
    }

    /// Forgets lives that are over.
    pub(super) fn keep_only(&self, service: &ServiceId, lives: &BTreeSet<Life>) {
        let mut unhealthy = lock(&self.unhealthy);
        if let Some(known) = unhealthy.get_mut(service) {
            known.retain(|l| lives.contains(l));
            if known.is_empty() {
                unhealthy.remove(service);
            }
        }
    }

    /// Forgets the services that a plan removed.
    pub(super) fn forget_removed(&self, plan: &Plan) {
        let mut unhealthy = lock(&self.unhealthy);
        for (id, service) in &plan.services {
            if service.release.is_none() {
                unhealthy.remove(id);
            }
        }
    }

    /// How many replicas get no requests.
    pub(super) fn count(&self) -> usize {
        lock(&self.unhealthy).values().map(BTreeSet::len).sum()
    }
}
