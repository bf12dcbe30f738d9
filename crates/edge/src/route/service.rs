//! A service at the edge: its replicas, what is in flight to each, and how one
//! is chosen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{Protocol, ServiceConfig};
use crate::observe::metrics::ServiceMetrics;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One replica.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Never used again in this process: what pools are keyed by.
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    in_flight: AtomicUsize,
    retired: AtomicBool,
    /// The tick until which nothing is sent there because it refused.
    ejected_until: AtomicU32,
    refusals: AtomicU32,
    quiet: Notify,
}

impl Upstream {
    fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            address,
            in_flight: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            ejected_until: AtomicU32::new(0),
            refusals: AtomicU32::new(0),
            quiet: Notify::new(),
        })
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Takes it out of the choice for a while that doubles with every refusal
    /// in a row: 0.5 s to 8 s. `now` is in ticks of a tenth of a second.
    pub(crate) fn refused(&self, now: u32) {
        let so_far = self.refusals.fetch_add(1, Ordering::Relaxed).min(4);
        self.ejected_until
            .store(now.saturating_add(5 << so_far), Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self) {
        if self.refusals.load(Ordering::Relaxed) != 0 {
            self.refusals.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// Returns when nothing is in flight.
    pub(crate) async fn quiet(&self) {
        loop {
            let notified = self.quiet.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// Something in flight to a replica: counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Upstream>);

impl InFlight {
    /// `None` where the replica was retired in the meantime: whoever waits for
    /// it to be quiet must not be surprised afterwards.
    fn begin(upstream: &Arc<Upstream>) -> Option<Self> {
        upstream.in_flight.fetch_add(1, SeqCst);
        let guard = Self(Arc::clone(upstream));
        (!upstream.retired.load(SeqCst)).then_some(guard)
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, SeqCst) == 1 && self.0.retired.load(SeqCst) {
            self.0.quiet.notify_waiters();
        }
    }
}

/// What may change of a service while requests run.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) protocol: Protocol,
    pub(crate) paused: bool,
    pub(crate) body_bytes: Option<u64>,
    label: Arc<str>,
}

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) backend: ArcSwap<Backend>,
    pub(crate) metrics: ServiceMetrics,
}

impl Service {
    pub(crate) fn new(key: &str, config: &ServiceConfig, workers: usize) -> Arc<Self> {
        let upstreams = config
            .upstreams
            .iter()
            .map(|address| Upstream::new(*address))
            .collect();
        Arc::new(Self {
            backend: ArcSwap::from_pointee(Backend::new(key, config, upstreams)),
            metrics: ServiceMetrics::new(workers),
        })
    }

    pub(crate) fn label(&self) -> Arc<str> {
        Arc::clone(&self.backend.load().label)
    }

    /// Makes these its replicas at once. Those that stay keep their
    /// connections; those that go are returned.
    pub(crate) fn update(&self, key: &str, config: &ServiceConfig) -> Vec<Arc<Upstream>> {
        let before = self.backend.load_full();
        // Another protocol means other connections, so new replicas.
        let same_protocol = before.protocol == config.protocol;
        let mut upstreams: Vec<Arc<Upstream>> = Vec::with_capacity(config.upstreams.len());
        for address in &config.upstreams {
            if upstreams.iter().any(|upstream| upstream.address == *address) {
                continue;
            }
            let known = before
                .upstreams
                .iter()
                .find(|upstream| upstream.address == *address && same_protocol);
            upstreams.push(known.map_or_else(|| Upstream::new(*address), Arc::clone));
        }
        let gone: Vec<_> = before
            .upstreams
            .iter()
            .filter(|old| !upstreams.iter().any(|new| new.id == old.id))
            .map(Arc::clone)
            .collect();
        self.backend.store(Arc::new(Backend::new(key, config, upstreams)));
        retire(&gone);
        gone
    }

    /// Takes every replica out of use.
    pub(crate) fn retire(&self) -> Vec<Arc<Upstream>> {
        let before = self.backend.load_full();
        let gone = before.upstreams.clone();
        self.backend.store(Arc::new(Backend {
            upstreams: Vec::new(),
            protocol: before.protocol,
            paused: before.paused,
            body_bytes: before.body_bytes,
            label: Arc::clone(&before.label),
        }));
        retire(&gone);
        gone
    }

    /// Chooses the replica with the least in flight among those that are not
    /// ejected and were not tried yet for this request; where all are ejected,
    /// among all. `turn` makes equals take turns.
    pub(crate) fn pick(&self, turn: usize, now: u32, tried: &[u64]) -> Option<InFlight> {
        // A replica retired between choice and count is not used: choose again.
        for _ in 0..8 {
            let backend = self.backend.load();
            let upstreams = &backend.upstreams;
            let untried = |upstream: &&Arc<Upstream>| !tried.contains(&upstream.id);
            let choice = match upstreams.len() {
                0 => return None,
                1 => upstreams.first().filter(untried),
                length => {
                    let turned = || {
                        upstreams
                            .iter()
                            .cycle()
                            .skip(turn % length)
                            .take(length)
                            .filter(untried)
                    };
                    turned()
                        .filter(|upstream| upstream.ejected_until.load(Ordering::Relaxed) <= now)
                        .min_by_key(|upstream| upstream.in_flight.load(Ordering::Relaxed))
                        .or_else(|| {
                            turned().min_by_key(|upstream| upstream.ejected_until.load(Ordering::Relaxed))
                        })
                }
            };
            if let Some(guard) = InFlight::begin(choice?) {
                return Some(guard);
            }
        }
        None
    }
}

impl Backend {
    fn new(key: &str, config: &ServiceConfig, upstreams: Vec<Arc<Upstream>>) -> Self {
        let label = if config.label.is_empty() {
            key
        } else {
            &config.label
        };
        Self {
            upstreams,
            protocol: config.protocol,
            paused: config.paused,
            body_bytes: config.body_bytes,
            label: label.into(),
        }
    }
}

fn retire(gone: &[Arc<Upstream>]) {
    for upstream in gone {
        upstream.retired.store(true, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[u16]) -> ServiceConfig {
        ServiceConfig {
            upstreams: ports
                .iter()
                .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))
                .collect(),
            ..ServiceConfig::default()
        }
    }

    #[test]
    fn the_least_busy_replica_is_chosen_and_refusing_ones_are_left_out() {
        let service = Service::new("s", &config(&[1, 2, 3]), 1);
        let guards: Vec<_> = (0..3).filter_map(|turn| service.pick(turn, 0, &[])).collect();
        let mut ports: Vec<_> = guards
            .iter()
            .map(|guard| guard.upstream().address.port())
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3]);
        drop(guards);
        let first = service.pick(0, 0, &[]).unwrap();
        first.upstream().refused(0);
        let refusing = first.upstream().id;
        drop(first);
        for turn in 0..6 {
            assert_ne!(service.pick(turn, 1, &[]).unwrap().upstream().id, refusing);
        }
        assert!((0..6).any(|turn| service.pick(turn, 10, &[]).unwrap().upstream().id == refusing));
    }

    #[test]
    fn a_tried_replica_is_not_tried_again() {
        let service = Service::new("s", &config(&[1, 2]), 1);
        let first = service.pick(0, 0, &[]).unwrap();
        let second = service.pick(0, 0, &[first.upstream().id]).unwrap();
        assert_ne!(first.upstream().id, second.upstream().id);
        assert!(
            service
                .pick(0, 0, &[first.upstream().id, second.upstream().id])
                .is_none()
        );
    }

    #[tokio::test]
    async fn a_retired_replica_gets_nothing_new_and_becomes_quiet() {
        let service = Service::new("s", &config(&[1]), 1);
        let guard = service.pick(0, 0, &[]).unwrap();
        let gone = service.update("s", &config(&[2]));
        assert_eq!(gone.len(), 1);
        assert!(InFlight::begin(&gone[0]).is_none());
        assert_eq!(service.pick(0, 0, &[]).unwrap().upstream().address.port(), 2);
        let waiting = tokio::spawn({
            let upstream = Arc::clone(&gone[0]);
            async move { upstream.quiet().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(guard);
        waiting.await.unwrap();
    }
}
