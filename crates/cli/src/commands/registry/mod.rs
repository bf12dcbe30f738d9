//! Registries, and what of releases is in them.

mod credentials;
mod release;

pub(crate) use credentials::{key, list, login, logout};
pub(crate) use release::{push, sbom, verify};
