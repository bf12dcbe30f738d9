//! The control plane's state in SQLite, and the sealing of secrets.
