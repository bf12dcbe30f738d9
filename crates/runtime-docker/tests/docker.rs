//! Docker Engine passes the suite that every runtime passes.

mod common;

use common::fixture;

nonna_testkit::runtime_suite!(fixture(None));
nonna_testkit::runtime_suite_real!(fixture(None));
nonna_testkit::runtime_suite_isolation!(fixture(None));
