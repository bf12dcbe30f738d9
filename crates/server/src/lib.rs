//! The control plane: HTTP API, authentication, deployments, status page, and
//! the wiring of the adapters to the engine.
//!
//! [`run`] is the whole process; [`Server::start`] puts a server together from
//! any parts, which is how a program, or a test, embeds one.

#![deny(unsafe_code)]

mod auth;
mod build;
pub mod config;
mod deploy;
mod doctor;
mod export;
mod forge;
mod gc;
mod git;
mod hosts;
mod http;
mod listen;
pub mod logs;
mod memory;
mod pages;
pub mod parts;
mod registries;
mod server;
pub mod systemd;
mod telemetry;
mod wiring;

pub use auth::request_code as request_login_code;
pub use config::{Config, Sources};
pub use hosts::default_host;
pub use listen::Inherited;
/// Is git's hook, where git runs this program as one.
pub use nonna_git::hook::run_if_asked as run_git_hook;
/// Is the holder of containers' output pipes, where this program was started as
/// one.
pub use nonna_logs::capture::pipe::run_if_asked as run_output_holder;
pub use nonna_store::backup::{Restored, restore as restore_backup};
pub use parts::ServerParts;
pub use server::{Server, ServerHandle};
pub use telemetry::{init as init_logging, init_plain as init_plain_logging};
pub use wiring::{run, run_with};
