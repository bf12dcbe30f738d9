//! `nonna.toml`.
