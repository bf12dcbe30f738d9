//! Deployments: what was asked for becomes a desired state, a plan, a row in
//! the store and a task that carries it out, one at a time an environment.

mod build;
mod declared;
mod desired;
mod events;
mod follow;
mod health;
mod host_access;
mod intent;
mod manager;
mod monitor;
mod probe;
mod provisional;
mod queue;
mod reconcile;
mod resume;
mod routes;

pub(crate) use declared::mistakes;
pub(crate) use desired::{no_environment, unknown_service};
pub(crate) use intent::{Destroy, Intent};
pub(crate) use manager::{Deployments, Parts, Request};
pub(crate) use routes::RouteTable;
