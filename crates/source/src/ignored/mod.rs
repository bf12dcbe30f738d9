//! Which paths are left out of a build context.

mod docker;
mod git;
mod pattern;

pub(super) use docker::{DockerIgnore, Matched};
pub(super) use git::GitIgnore;
