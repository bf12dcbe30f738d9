//! Source to image: contexts, detection of languages, builds.

#![forbid(unsafe_code)]

pub mod context;
