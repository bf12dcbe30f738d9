//! The typed client of the control plane's API.
