//! The edge proxy: routes, TLS, draining.
