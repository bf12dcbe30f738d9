//! The control plane's store: a fake in memory, and the suite that every
//! store passes.

pub mod memory;
pub mod suite;

pub use memory::MemoryStore;
