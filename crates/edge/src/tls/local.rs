//! The local authority: certificates for `*.localhost`, and for hosts that
//! have none yet.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::sign::CertifiedKey;

use super::CertificateStore;
use super::certificates::certified;
use crate::error::EdgeError;

const NAME: &str = "local-authority";
const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority lasts, and a certificate of it.
const AUTHORITY: Duration = Duration::from_secs(10 * 365 * 86_400);
const CERTIFICATE: Duration = Duration::from_secs(90 * 86_400);

/// An authority of this installation alone.
pub struct LocalAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    /// When what was issued must be issued again.
    stale_at: Mutex<SystemTime>,
}

impl std::fmt::Debug for LocalAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalAuthority").finish_non_exhaustive()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an adaptor for map_err")]
fn wrong(reason: impl ToString) -> EdgeError {
    EdgeError::Certificate {
        host: "local authority".to_owned(),
        reason: reason.to_string(),
    }
}

impl LocalAuthority {
    /// Loads the installation's authority from the store, or makes and saves
    /// it.
    ///
    /// # Errors
    /// [`EdgeError::Store`]; [`EdgeError::Certificate`] where what was saved is
    /// not usable.
    pub async fn load(store: &dyn CertificateStore) -> Result<Self, EdgeError> {
        if let Some(saved) = store.load(NAME).await? {
            let text = String::from_utf8(saved).map_err(wrong)?;
            return Self::from_pem(&text);
        }
        let key = KeyPair::generate().map_err(wrong)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Nonna local authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + AUTHORITY).into();
        let certificate = params.self_signed(&key).map_err(wrong)?;
        let text = format!("{}{}", certificate.pem(), key.serialize_pem());
        store.save(NAME, text.as_bytes()).await?;
        Self::from_pem(&text)
    }

    fn from_pem(text: &str) -> Result<Self, EdgeError> {
        let key_at = text
            .find("-----BEGIN PRIVATE KEY")
            .ok_or_else(|| wrong("the key is missing"))?;
        let (certificate, key) = text.split_at(key_at);
        let key = KeyPair::from_pem(key).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(wrong)?;
        Ok(Self {
            issuer,
            certificate_pem: certificate.to_owned(),
            stale_at: Mutex::new(SystemTime::now() + CERTIFICATE / 2),
        })
    }

    /// Its certificate, for people who want to trust it.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Whether what was issued gets old.
    pub(super) fn is_stale(&self) -> bool {
        let mut stale_at = self.stale_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if now < *stale_at {
            return false;
        }
        *stale_at = now + CERTIFICATE / 2;
        true
    }

    pub(super) fn issue(&self, host: &str) -> Result<CertifiedKey, EdgeError> {
        let key = KeyPair::generate().map_err(wrong)?;
        let mut names = vec![host.to_owned()];
        if host == "localhost" {
            names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
        }
        let mut params = CertificateParams::new(names).map_err(wrong)?;
        params.distinguished_name = name(host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + CERTIFICATE).into();
        let certificate = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        let chain = format!("{}{}", certificate.pem(), self.certificate_pem);
        certified(host, chain.as_bytes(), key.serialize_pem().as_bytes())
    }
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // A common name has 64 characters at most; the real name is in the SAN.
    name.push(DnType::CommonName, &text[..text.floor_char_boundary(64)]);
    name
}
