//! The fake passes the suite that every runtime passes.

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
