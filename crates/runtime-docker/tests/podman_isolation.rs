//! On Podman too, environments do not reach each other.
//!
//! In a test binary of its own, so that no other network comes or goes beside
//! it: when an isolated network is removed, netavark 1.4 (Debian 12) takes the
//! isolation of all others away until the next replica is started.

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

nonna_testkit::runtime_suite_isolation!(fixture());
