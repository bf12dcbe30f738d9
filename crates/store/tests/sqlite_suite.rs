//! SQLite passes the suite that every store passes.

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
