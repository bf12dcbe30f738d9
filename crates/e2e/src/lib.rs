//! What the end-to-end tests and the benchmarks share: a real Nonna in a
//! folder of its own, driven as a user drives it.
//!
//! Nothing here knows the crates of the house: only the `nonna` binary, HTTP,
//! and the container engine.

#![forbid(unsafe_code)]

pub mod disk;
pub mod engine;
pub mod forge;
pub mod git;
pub mod http;
pub mod installation;
pub mod load;
pub mod log_proxy;
pub mod registry;
pub mod second_engine;

pub use installation::{Installation, Options, Ran};
pub use registry::Registry;

use std::path::PathBuf;

/// A program of this workspace that was built beside the running test;
/// `nonna` itself may be named by the variable `NONNA_BIN`.
///
/// # Errors
/// Where it was not built: says how to.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("NONNA_BIN").filter(|_| name == "nonna") {
        return Ok(named.into());
    }
    let test = std::env::current_exe()?;
    let folders = test.ancestors().skip(1).take(2);
    for folder in folders {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    anyhow::bail!(
        "{name} is not built beside {}: run `cargo build --workspace` with the same profile first",
        test.display()
    )
}

/// A port on 127.0.0.1 that nobody listens on now.
///
/// # Errors
/// Where none is free.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
