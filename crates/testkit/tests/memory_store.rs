//! The store in memory passes the suite that every store passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::sync::Arc;

use nonna_store::Store;
use nonna_testkit::store::MemoryStore;

fn fixture() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

nonna_testkit::store_suite!(fixture());
