//! The store in memory passes the suite that every store passes.

use std::sync::Arc;

use nonna_store::Store;
use nonna_testkit::store::MemoryStore;

fn fixture() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

nonna_testkit::store_suite!(fixture());
