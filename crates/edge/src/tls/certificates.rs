//! The certificate that a client gets: by the name that it asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::LocalAuthority;
use crate::error::EdgeError;
use crate::route::Table;

/// How many locally issued certificates are kept ready.
const LOCAL: usize = 1024;

/// The certificates of all hosts; swapped whole.
#[derive(Debug)]
pub struct Certificates {
    by_host: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    table: ArcSwap<Table>,
    local: Option<LocalAuthority>,
    issued: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    writing: Mutex<()>,
}

impl Certificates {
    pub(crate) fn new(local: Option<LocalAuthority>) -> Self {
        Self {
            by_host: ArcSwap::default(),
            table: ArcSwap::default(),
            local,
            issued: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    pub(crate) fn set_table(&self, table: Arc<Table>) {
        self.table.store(table);
    }

    /// Serves this certificate (a chain in PEM, the host's own first) to those
    /// who ask for `host`, or for a host under `*.domain`.
    ///
    /// # Errors
    /// [`EdgeError::Certificate`] where chain and key are not usable.
    pub fn set(&self, host: &str, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), EdgeError> {
        let key = certified(host, chain_pem, key_pem)?;
        self.change(|all| drop(all.insert(host.to_owned(), Arc::new(key))));
        Ok(())
    }

    /// Serves no certificate of its own for `host` any more.
    pub fn remove(&self, host: &str) {
        self.change(|all| drop(all.remove(host)));
    }

    /// Whether a host has a certificate that was not issued locally.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        self.find(host).is_some()
    }

    /// The local authority's certificate in PEM, for people who want to trust
    /// it.
    #[must_use]
    pub fn local_authority_pem(&self) -> Option<&str> {
        self.local.as_ref().map(LocalAuthority::certificate_pem)
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Arc<CertifiedKey>>)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = HashMap::clone(&self.by_host.load());
        change(&mut all);
        self.by_host.store(Arc::new(all));
    }

    fn find(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let all = self.by_host.load();
        if all.is_empty() {
            return None;
        }
        if let Some(key) = all.get(host) {
            return Some(Arc::clone(key));
        }
        // A wildcard certificate covers one label.
        let (_, domain) = host.split_once('.')?;
        all.get(&format!("*.{domain}")).map(Arc::clone)
    }

    fn resolve(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let host = host.unwrap_or("localhost");
        let lower;
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        self.find(host).or_else(|| self.issue(host))
    }

    fn issue(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let local = self.local.as_ref()?;
        // Unknown names get one answer, so that nobody can make us sign for
        // ever.
        let known = host == "localhost" || host.ends_with(".localhost") || self.table.load().knows(host);
        let host = if known { host } else { "localhost" };
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = issued.get(host).filter(|_| !local.is_stale()) {
            return Some(Arc::clone(key));
        }
        if issued.len() >= LOCAL || local.is_stale() {
            issued.clear();
        }
        let key = match local.issue(host) {
            Ok(key) => Arc::new(key),
            Err(error) => {
                tracing::error!(%error, host, "the local authority cannot issue a certificate");
                return None;
            }
        };
        issued.insert(host.to_owned(), Arc::clone(&key));
        Some(key)
    }
}

/// Reads a chain and a key, and checks that they belong together.
pub(crate) fn certified(host: &str, chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, EdgeError> {
    let wrong = |reason: String| EdgeError::Certificate {
        host: host.to_owned(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("the chain is not valid PEM: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|_| wrong("the key is not a valid PEM private key".to_owned()))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| wrong(error.to_string()))
}

/// What rustls asks.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.resolve(hello.server_name())
    }
}
