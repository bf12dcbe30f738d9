//! A certificate as it is kept in the store.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::refused;
use crate::error::EdgeError;
use crate::tls::CertificateStore;

/// A certificate, its key, and where it is from.
#[derive(Clone)]
pub(super) struct Saved {
    pub(super) directory: String,
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) begins: SystemTime,
    pub(super) expires: SystemTime,
    /// The authority suggests when to renew it.
    pub(super) suggests: bool,
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        f.debug_struct("Saved")
            .field("directory", &self.directory)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    directory: String,
    chain: String,
    key: String,
}

fn name_of(host: &str) -> String {
    format!("acme/certificate/{host}")
}

impl Saved {
    pub(super) fn new(directory: String, chain: String, key: String) -> Result<Self, EdgeError> {
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).map_err(refused)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).map_err(refused)?;
        let time = |at: x509_parser::time::ASN1Time| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or(0))
        };
        let validity = parsed.validity();
        let (begins, expires) = (time(validity.not_before), time(validity.not_after));
        Ok(Self {
            directory,
            chain,
            key,
            begins,
            expires,
            suggests: false,
        })
    }

    pub(super) async fn load(store: &dyn CertificateStore, host: &str) -> Result<Option<Self>, EdgeError> {
        let Some(bytes) = store.load(&name_of(host)).await? else {
            return Ok(None);
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(refused)?;
        Self::new(stored.directory, stored.chain, stored.key).map(Some)
    }

    pub(super) async fn save(&self, store: &dyn CertificateStore, host: &str) -> Result<(), EdgeError> {
        let stored = Stored {
            directory: self.directory.clone(),
            chain: self.chain.clone(),
            key: self.key.clone(),
        };
        store
            .save(&name_of(host), &serde_json::to_vec(&stored).map_err(refused)?)
            .await
    }

    /// The host's own certificate.
    pub(super) fn leaf(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).ok()
    }

    /// When it is renewed if nobody suggests otherwise: after two thirds of its
    /// life.
    pub(super) fn usual_renewal(&self) -> SystemTime {
        self.begins + self.life() * 2 / 3
    }

    /// When it is renewed at the latest, whatever is suggested: with a tenth of
    /// its life left.
    pub(super) fn latest_renewal(&self) -> SystemTime {
        self.begins + self.life() * 9 / 10
    }

    fn life(&self) -> Duration {
        self.expires.duration_since(self.begins).unwrap_or_default()
    }
}
