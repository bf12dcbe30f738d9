//! Builds and what they leave.

mod alone;
mod cache;
mod collect;
mod explain;
mod list;
mod log;
mod plan;

pub(crate) use alone::build;
pub(crate) use cache::{cache, clear};
pub(crate) use collect::gc;
pub(crate) use explain::{explain, plan_of};
pub(crate) use list::builds;
pub(crate) use log::log;
pub(crate) use plan::plan;
