//! The Runtime port on a container engine's HTTP API.
