//! Names, ids, specs, releases and plans: plain data, parsing and validation.
