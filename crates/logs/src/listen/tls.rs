//! TLS of listeners.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nonna_engine::{Code, Error, Result};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The files of a listener's TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// Authorities whose certificates clients must show, as PEM.
    pub clients: Option<PathBuf>,
}

/// Reads the files.
///
/// # Errors
/// `InvalidInput` with the file that cannot be used, and why.
pub fn server_tls(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable(&files.key, "no private key in PEM", &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("TLS cannot be set up.").said(error.to_string()))?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| unusable(file, "no authority's certificate", &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| unusable(file, "nothing that clients can be checked with", &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.certificate, "no certificate for that key", &error))?;
    Ok(Arc::new(config))
}

/// The certificates of a PEM file; at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let read = read.map_err(|error| unusable(file, "no certificates in PEM", &error))?;
    if read.is_empty() {
        return Err(Error::user(
            Code::InvalidInput,
            format!("{} holds no certificate in PEM.", file.display()),
        ));
    }
    Ok(read)
}

fn unusable(file: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::user(
        Code::InvalidInput,
        format!("{} holds {what}, or cannot be read.", file.display()),
    )
    .said(error.to_string())
}
