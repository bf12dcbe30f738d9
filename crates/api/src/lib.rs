//! The control plane's wire types, shared by the server and its client.
