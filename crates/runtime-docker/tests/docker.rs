//! Docker Engine passes the suite that every runtime passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod common;

use common::fixture;

nonna_testkit::runtime_suite!(fixture(None));
nonna_testkit::runtime_suite_real!(fixture(None));
nonna_testkit::runtime_suite_isolation!(fixture(None));
