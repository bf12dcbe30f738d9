//! The control plane: HTTP API, authentication, deployments, status page.
