//! Nonna's engine: observe, plan, journal, apply, undo.
//!
//! A library with no I/O beyond its [`ports`]. It is handed what should be
//! ([`nonna_model::plan::DesiredEnvironment`]), asks the runtime what is
//! ([`nonna_model::observed::Observed`]), and [`plan`]s the way between, a pure
//! function. [`apply`] then carries a plan out, step by step, each written to
//! the journal before the world is touched, so that a process that dies at any
//! moment is followed by one that goes on or undoes.

#![forbid(unsafe_code)]

pub mod apply;
pub mod error;
pub mod event;
pub mod plan;
pub mod ports;
pub mod standalone;
pub mod words;

pub use error::{Code, Error, Result};
