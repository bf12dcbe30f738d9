//! The [`Runtime`](nonna_engine::ports::Runtime) port on a container engine's
//! HTTP API: Docker Engine 20.10 (API 1.41) and later, and Podman's
//! Docker-compatible API. No `docker` command is ever run.
//!
//! - One bridge network an environment, named by its id; a service's name is the
//!   network alias of its replicas, so that the engine's own name server
//!   spreads requests between services over them.
//! - No port is published: the edge reaches a replica at its address on the
//!   bridge, from the host.
//! - Replicas are restarted by the engine itself, also while Nonna is down.
//! - Whether a replica is healthy is found out from the host; the
//!   engine's own health checks are not used, for they are slow to begin.
//! - All that was made is found again by its labels, and nothing that does not
//!   carry this installation's label is ever touched.

#![forbid(unsafe_code)]

mod client;
mod config;
mod diagnose;
mod error;
mod files;
mod health;
mod image;
mod job;
mod kernel_log;
mod labels;
mod launch;
mod listeners;
mod logs;
mod names;
mod network;
mod observe;
mod output;
mod podman;
mod push;
mod raw;
mod runtime;
mod session;
mod start;
mod stats;
mod stop;
mod text;
mod volume;
mod watch;

pub use config::DockerConfig;
pub use runtime::DockerRuntime;
