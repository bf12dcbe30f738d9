//! Requests from outside to replicas.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use nonna_model::ServiceId;
use nonna_model::service::{Protocol, RouteSpec};

use crate::error::Result;

/// Everything the edge knows of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoutes {
    /// Which service.
    pub service: ServiceId,
    /// Its name as people know it, for access logs and error pages:
    /// `shop/production/web`.
    pub label: String,
    /// The hosts and paths that lead to it.
    pub routes: Vec<RouteSpec>,
    /// The replicas' addresses. None: 503.
    pub upstreams: Vec<SocketAddr>,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// Paused by its owner: the 503 page says so.
    pub paused: bool,
}

/// Routes requests to replicas. All calls are idempotent.
#[async_trait]
pub trait Router: Send + Sync {
    /// Makes these the service's routes, at once and for every new request.
    /// Requests under way go on where they are. Returns how long the switch
    /// itself took.
    ///
    /// # Errors
    /// `Conflict` where another service has one of the routes.
    async fn set_routes(&self, routes: ServiceRoutes) -> Result<Duration>;

    /// Waits until no request or connection is under way to these addresses,
    /// or the deadline passed. Returns how many were still under way.
    async fn drain(&self, upstreams: &[SocketAddr], deadline: Duration) -> Result<usize>;

    /// Takes the service's routes away.
    async fn remove_routes(&self, service: &ServiceId) -> Result<()>;

    /// The URL that people reach a route at (`https://shop.example.org`).
    fn url(&self, route: &RouteSpec) -> String;
}
