//! The edge: the proxy that stands between people and replicas.
//!
//! It routes by host and path, speaks HTTP/1.1, HTTP/2, WebSocket and gRPC,
//! ends TLS, sets the headers that tell a service who asks, and switches a
//! service to new replicas without losing a request.
//!
//! [`Edge::start`] binds the listeners and starts the worker threads;
//! [`EdgeHandle`] changes routes, drains replicas, reads the metrics and ends
//! it all. The engine knows it as its [`Router`](nonna_engine::ports::Router)
//! port.

#![forbid(unsafe_code)]

mod config;
mod conn;
mod edge;
mod error;
pub mod observe;
mod proxy;
mod route;
mod router;
pub mod tls;
mod upstream;
mod worker;

pub use config::{EdgeConfig, Limits, Listen, Network, Timeouts};
pub use edge::{Edge, EdgeHandle};
pub use error::EdgeError;
pub use nonna_model::service::Protocol;
pub use route::{Route, ServiceConfig};
