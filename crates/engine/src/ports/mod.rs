//! What the engine needs of the world: few ports, coarse ones. Policy is the
//! engine's, mechanism the adapters'. Every adapter of a port passes the same
//! conformance suite (crate `testkit`), the fakes too.

pub mod builder;
pub mod journal;
pub mod output;
pub mod registry;
pub mod router;
pub mod runtime;
pub mod storage;

pub use builder::Builder;
pub use journal::Journal;
pub use output::OutputPipes;
pub use registry::{Credentials, Publisher};
pub use router::Router;
pub use runtime::Runtime;
pub use storage::BuildStorage;
