//! The `nonna` command.
fn main() {}
