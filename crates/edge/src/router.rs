//! The edge as the engine knows it.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::error::Result;
use nonna_engine::ports::Router;
use nonna_engine::ports::router::ServiceRoutes;
use nonna_model::ServiceId;
use nonna_model::service::RouteSpec;

use crate::{EdgeHandle, Route, ServiceConfig};

#[async_trait]
impl Router for EdgeHandle {
    async fn set_routes(&self, routes: ServiceRoutes) -> Result<Duration> {
        let config = ServiceConfig {
            label: routes.label,
            routes: routes
                .routes
                .iter()
                .map(|route| Route::new(&route.host, &route.path))
                .collect(),
            upstreams: routes.upstreams,
            protocol: routes.protocol,
            paused: routes.paused,
            body_bytes: None,
        };
        Ok(self.set_service(&routes.service.to_string(), &config)?)
    }

    async fn drain(&self, upstreams: &[SocketAddr], deadline: Duration) -> Result<usize> {
        Ok(Self::drain(self, upstreams, deadline).await)
    }

    async fn remove_routes(&self, service: &ServiceId) -> Result<()> {
        self.remove(&service.to_string());
        Ok(())
    }

    fn url(&self, route: &RouteSpec) -> String {
        self.url_of(&route.host, &route.path)
    }
}
