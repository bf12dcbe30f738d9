//! The operations, one file a noun.

mod answers;
mod builds;
mod contexts;
mod deployments;
mod environments;
mod forges;
mod git;
mod logs;
mod meta;
mod registries;
mod services;
mod sessions;
mod variables;

use super::registry::Registry;

pub(crate) use answers::{deployment as deployment_answer, service as service_answer};

pub(super) fn all(registry: Registry) -> Registry {
    let registry = meta::register(registry);
    let registry = contexts::register(registry);
    let registry = environments::register(registry);
    let registry = variables::register(registry);
    let registry = deployments::register(registry);
    let registry = services::register(registry);
    let registry = registries::register(registry);
    let registry = logs::register(registry);
    let registry = builds::register(registry);
    let registry = git::register(registry);
    let registry = forges::register(registry);
    sessions::register(registry)
}
