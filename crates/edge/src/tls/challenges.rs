//! Proofs for certificate authorities that a host is ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivateKeyDer;

use super::{ACME_ALPN, CertificateStore};
use crate::error::EdgeError;

/// The challenges that are open: known here, and in the store for the other
/// processes of this installation.
#[derive(Debug)]
pub(crate) struct Challenges {
    store: Arc<dyn CertificateStore>,
    http: Mutex<HashMap<String, String>>,
    tls: Mutex<HashMap<String, Vec<u8>>>,
}

fn http_name(token: &str) -> String {
    format!("acme/http-01/{token}")
}

fn tls_name(host: &str) -> String {
    format!("acme/tls-alpn-01/{host}")
}

impl Challenges {
    pub(crate) fn new(store: Arc<dyn CertificateStore>) -> Self {
        Self {
            store,
            http: Mutex::default(),
            tls: Mutex::default(),
        }
    }

    /// Answers HTTP-01 for this token with this proof from now on.
    pub(crate) async fn add_http(&self, token: &str, proof: &str) -> Result<(), EdgeError> {
        lock(&self.http).insert(token.to_owned(), proof.to_owned());
        self.store.save(&http_name(token), proof.as_bytes()).await
    }

    /// Answers TLS-ALPN-01 for this host with this digest from now on.
    pub(crate) async fn add_tls(&self, host: &str, digest: &[u8]) -> Result<(), EdgeError> {
        lock(&self.tls).insert(host.to_owned(), digest.to_vec());
        self.store.save(&tls_name(host), digest).await
    }

    pub(crate) async fn remove_http(&self, token: &str) {
        lock(&self.http).remove(token);
        if let Err(error) = self.store.delete(&http_name(token)).await {
            tracing::warn!(%error, "an answered challenge stays in the store");
        }
    }

    pub(crate) async fn remove_tls(&self, host: &str) {
        lock(&self.tls).remove(host);
        if let Err(error) = self.store.delete(&tls_name(host)).await {
            tracing::warn!(%error, "an answered challenge stays in the store");
        }
    }

    /// The proof for a token.
    pub(crate) async fn http(&self, token: &str) -> Option<String> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if token.is_empty() || token.len() > 128 || !token.bytes().all(fine) {
            return None;
        }
        let known = lock(&self.http).get(token).cloned();
        if known.is_some() {
            return known;
        }
        let saved = self.store.load(&http_name(token)).await.ok()??;
        String::from_utf8(saved).ok()
    }

    /// A TLS configuration that proves that a host is ours.
    pub(crate) async fn tls(&self, host: &str) -> Option<Arc<ServerConfig>> {
        if host.len() > 253 {
            return None;
        }
        let known = lock(&self.tls).get(host).cloned();
        let digest = match known {
            Some(digest) => digest,
            None => self.store.load(&tls_name(host)).await.ok()??,
        };
        proof(host, &digest)
    }
}

fn proof(host: &str, digest: &[u8]) -> Option<Arc<ServerConfig>> {
    let key = KeyPair::generate().ok()?;
    let mut params = CertificateParams::new(vec![host.to_owned()]).ok()?;
    if digest.len() != 32 {
        return None;
    }
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).ok()?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).ok()?;
    // Not checked against its key: the checker refuses the critical extension
    // that makes the proof.
    let signing = aws_lc_rs::sign::any_supported_type(&key).ok()?;
    let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ACME_ALPN.to_vec()];
    Some(Arc::new(config))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
