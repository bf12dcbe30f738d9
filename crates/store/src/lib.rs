//! The control plane's state: what is wanted, what was done, who may do what.
//!
//! [`Store`] is the port; [`records`] is what goes through it.

#![forbid(unsafe_code)]

pub mod records;
mod store;

pub use store::Store;
