//! The routes as Nonna keeps them right: switched by deployments, and brought
//! up to date when replicas come and go by themselves.
//!
//! Both go through here, so that bringing up to date from an older observation
//! never takes back what a deployment has switched meanwhile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::Result;
use nonna_engine::ports::Router;
use nonna_engine::ports::router::ServiceRoutes;
use nonna_model::ServiceId;
use nonna_model::service::RouteSpec;
use tokio::sync::Mutex;

/// When a service was last switched by a deployment, in switches counted.
pub(super) type Generation = u64;

#[derive(Default)]
struct Entry {
    generation: Generation,
    last: Option<ServiceRoutes>,
}

/// A router that knows who changed what last.
pub(crate) struct RouteTable {
    inner: Arc<dyn Router>,
    count: AtomicU64,
    entries: Mutex<HashMap<ServiceId, Entry>>,
}

impl RouteTable {
    pub(crate) fn new(inner: Arc<dyn Router>) -> Self {
        Self {
            inner,
            count: AtomicU64::new(0),
            entries: Mutex::new(HashMap::new()),
        }
    }

    /// The number of the last switch.
    pub(super) fn now(&self) -> Generation {
        self.count.load(Ordering::SeqCst)
    }

    /// Brings a service's routes up to date unless a deployment switched it
    /// after `seen`. Answers whether something changed.
    pub(super) async fn refresh(&self, seen: Generation, routes: ServiceRoutes) -> Result<bool> {
        let mut entries = self.entries.lock().await;
        let entry = entries.entry(routes.service.clone()).or_default();
        if entry.generation > seen || entry.last.as_ref() == Some(&routes) {
            return Ok(false);
        }
        self.inner.set_routes(routes.clone()).await?;
        entry.last = Some(routes);
        Ok(true)
    }
}

#[async_trait]
impl Router for RouteTable {
    async fn set_routes(&self, routes: ServiceRoutes) -> Result<Duration> {
        let mut entries = self.entries.lock().await;
        let took = self.inner.set_routes(routes.clone()).await?;
        let generation = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        entries.insert(
            routes.service.clone(),
            Entry {
                generation,
                last: Some(routes),
            },
        );
        Ok(took)
    }

    async fn drain(&self, upstreams: &[SocketAddr], deadline: Duration) -> Result<usize> {
        self.inner.drain(upstreams, deadline).await
    }

    async fn remove_routes(&self, service: &ServiceId) -> Result<()> {
        let mut entries = self.entries.lock().await;
        self.inner.remove_routes(service).await?;
        let generation = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        entries.insert(
            service.clone(),
            Entry {
                generation,
                last: None,
            },
        );
        Ok(())
    }

    fn url(&self, route: &RouteSpec) -> String {
        self.inner.url(route)
    }
}
