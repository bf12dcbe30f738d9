//! Podman's Docker-compatible API passes the suite that every runtime passes.
//!
//! The test starts Podman's own service, on a socket and with a storage of its
//! own, and gives it the test app's image out of the Docker engine. Where
//! Podman cannot run at all, set `NONNA_TEST_SKIP_PODMAN`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod common;

use common::podman::fixture;

nonna_testkit::runtime_suite!(fixture());
nonna_testkit::runtime_suite_real!(fixture());
