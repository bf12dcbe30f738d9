//! The fake storage of builds passes the suite that every storage passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::sync::Arc;

use nonna_testkit::builds::FakeBuildStorage;
use nonna_testkit::builds::suite::Fixture;

async fn fixture() -> Fixture {
    let ours = FakeBuildStorage::new();
    Fixture {
        theirs: Arc::new(ours.beside()),
        ours: Arc::new(ours),
    }
}

nonna_testkit::storage_suite!(fixture());
