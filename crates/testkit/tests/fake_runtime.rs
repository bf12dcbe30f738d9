//! The fake passes the suite that every runtime passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::sync::Arc;

use nonna_testkit::runtime::FakeRuntime;
use nonna_testkit::runtime::suite::Fixture;

async fn fixture() -> Fixture {
    Fixture {
        runtime: Arc::new(FakeRuntime::new()),
        image: "nonna-test/app:latest".into(),
    }
}

nonna_testkit::runtime_suite!(fixture());
