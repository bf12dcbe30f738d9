//! SQLite passes the suite that every store passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::sync::Arc;

use nonna_store::{SealKey, SqliteStore, Store};
use tempfile::TempDir;

fn fixture() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let key = SealKey::generate().unwrap();
    let store = SqliteStore::open(&folder.path().join("nonna.db"), key).unwrap();
    (Arc::new(store), folder)
}

nonna_testkit::store_suite!(fixture());
