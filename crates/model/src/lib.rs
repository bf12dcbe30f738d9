//! What Nonna talks about, as plain data: names, identifiers, service
//! specifications, releases, observed state and plans; and the parsing and
//! validation of `nonna.toml`.
//!
//! This crate does no I/O, has no async code and knows no other crate of the
//! house. Everything here can be compared, serialised and generated in a
//! property test.

#![forbid(unsafe_code)]

pub mod build;
pub mod command_line;
pub mod context;
pub mod export;
pub mod folder;
pub mod id;
pub mod image;
pub mod labels;
pub mod manifest;
pub mod name;
pub mod observed;
pub mod plan;
pub mod release;
pub mod service;
pub mod units;

pub use id::{
    ConnectionId, DeploymentId, EnvironmentId, InstallationId, OrganizationId, ProjectId, ServiceId, TokenId,
};
pub use name::{InvalidName, Name};
pub use release::{Release, ReleaseNumber, ReleaseState};
pub use service::ServiceSpec;
