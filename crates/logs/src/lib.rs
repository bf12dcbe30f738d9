//! The log proxy: intake, files, tail.
