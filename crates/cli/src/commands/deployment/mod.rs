//! Plans and deployments.

mod apply;
mod desired;
mod draw;
mod follow;
mod plain;
mod progress;
mod secrets;
mod show;
mod words;

pub(crate) use apply::deploy;
pub(crate) use desired::{Purpose, chosen, desired};
pub(crate) use follow::{follow, take};
pub(crate) use show::plan;
