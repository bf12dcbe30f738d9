//! A router in memory: remembers where requests would go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::ports::Router;
use nonna_engine::ports::router::ServiceRoutes;
use nonna_engine::{Code, Error, Result};
use nonna_model::ServiceId;
use nonna_model::service::RouteSpec;

/// A router in memory. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct FakeRouter {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    routes: BTreeMap<ServiceId, ServiceRoutes>,
    drained: Vec<SocketAddr>,
}

impl FakeRouter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the service's requests go now.
    #[must_use]
    pub fn routes(&self, service: &ServiceId) -> Option<ServiceRoutes> {
        self.state().routes.get(service).cloned()
    }

    /// Every address that was drained so far, in order.
    #[must_use]
    pub fn drained(&self) -> Vec<SocketAddr> {
        self.state().drained.clone()
    }
}

#[async_trait]
impl Router for FakeRouter {
    async fn set_routes(&self, routes: ServiceRoutes) -> Result<Duration> {
        let mut state = self.state();
        let taken = state.routes.values().find_map(|other| {
            let clash = other.routes.iter().find(|route| routes.routes.contains(route))?;
            (other.service != routes.service).then(|| (other.label.clone(), clash.clone()))
        });
        if let Some((owner, route)) = taken {
            return Err(Error::user(
                Code::Conflict,
                format!("{}{} leads to {owner} already.", route.host, route.path),
            ));
        }
        state.routes.insert(routes.service.clone(), routes);
        Ok(Duration::ZERO)
    }

    async fn drain(&self, upstreams: &[SocketAddr], _deadline: Duration) -> Result<usize> {
        self.state().drained.extend_from_slice(upstreams);
        Ok(0)
    }

    async fn remove_routes(&self, service: &ServiceId) -> Result<()> {
        self.state().routes.remove(service);
        Ok(())
    }

    fn url(&self, route: &RouteSpec) -> String {
        format!("http://{}{}", route.host, route.path)
    }
}
