//! What Nonna itself asks of image registries, beside the container engine
//! that fetches and pushes images: whether credentials are good, signatures
//! (as cosign makes and checks them), and lists of what an image is made of.

#![forbid(unsafe_code)]

pub mod attach;
pub mod client;
pub mod sbom;
pub mod sign;

pub use client::{Registries, Repository};
pub use sign::SigningKey;
