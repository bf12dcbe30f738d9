//! Which request goes to which service, and to which of its replicas.

mod service;
mod table;

use std::net::SocketAddr;

pub(crate) use nonna_model::service::Protocol;

pub(crate) use service::{InFlight, Service, Upstream};
pub(crate) use table::{Routes, Table, host_of};

/// A host and a path prefix that lead to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `example.org`, `*.example.org` (one label or more), or `*` for any.
    pub host: String,
    /// Begins with `/`; matches at segment boundaries.
    pub path: String,
    /// Overrides the edge's setting for redirects to HTTPS.
    pub redirect_https: Option<bool>,
}

impl Route {
    /// A route with the edge's own settings.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            path: path.into(),
            redirect_https: None,
        }
    }
}

/// All that the edge knows of a service.
#[derive(Debug, Clone, Default)]
pub struct ServiceConfig {
    /// The name people know, for access records and metrics. Empty: the key
    /// that the service is set under.
    pub label: String,
    /// What leads to it.
    pub routes: Vec<Route>,
    /// The replicas. None: 503.
    pub upstreams: Vec<SocketAddr>,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// Paused by its owner: 503, and the page says so.
    pub paused: bool,
    /// Overrides the edge's limit on request bodies.
    pub body_bytes: Option<u64>,
}
