//! Sealing: secrets, certificates and account keys are kept encrypted under a
//! key that is not in the database.
//!
//! AES-256-GCM-SIV with a random nonce: should a nonce ever come twice, all
//! that shows is whether two texts are equal. What a text is for (whose, which
//! name, which version) is bound to it as associated data, so that one sealed
//! text cannot be put in the place of another.

mod file;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use nonna_engine::{Code, Error, Result};
use zeroize::{Zeroize, Zeroizing};

const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
/// The first byte of everything sealed: which form the rest has.
const FORM: u8 = 1;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;

/// The key that secrets are sealed under. Cleared from memory when dropped;
/// never printed.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl PartialEq for SealKey {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&*self.0, &*other.0).is_ok()
    }
}

impl Eq for SealKey {}

/// What a sealed text is for; it opens for nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// A version of a secret.
    Secret {
        owner: &'a str,
        name: &'a str,
        version: u64,
    },
    /// A blob.
    Blob { kind: &'a str, key: &'a str },
    /// The text by which a store knows its key.
    Check,
}

impl Purpose<'_> {
    fn associated_data(self) -> Vec<u8> {
        let mut out = Vec::new();
        // Lengths before the parts: ("a", "bc") is not ("ab", "c").
        let mut part = |bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        match self {
            Self::Secret { owner, name, version } => {
                part(b"secret");
                part(owner.as_bytes());
                part(name.as_bytes());
                part(&version.to_be_bytes());
            }
            Self::Blob { kind, key } => {
                part(b"blob");
                part(kind.as_bytes());
                part(key.as_bytes());
            }
            Self::Check => part(b"check"),
        }
        out
    }
}

impl SealKey {
    /// A new random key.
    ///
    /// # Errors
    /// `Bug` where the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        getrandom::fill(&mut *key).map_err(|error| {
            Error::bug("The system gave no random bytes for a key.").said(error.to_string())
        })?;
        Ok(Self(key))
    }

    /// Reads a key as [`SealKey::to_text`] writes it; white space around it is
    /// ignored.
    ///
    /// # Errors
    /// `SealBroken` where the text is no key.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = || {
            Error::user(Code::SealBroken, "The seal key is not a key.")
                .hint("A seal key is 32 bytes in base 64: 44 characters that end with `=`.")
        };
        let mut bytes = BASE64.decode(text.trim().as_bytes()).map_err(|_| refused())?;
        let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| refused());
        bytes.zeroize();
        Ok(Self(Zeroizing::new(key?)))
    }

    /// The key as text: base 64.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&*self.0))
    }

    /// Tells keys apart without saying anything of them.
    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut input = Zeroizing::new(b"nonna seal key id".to_vec());
        input.extend_from_slice(&*self.0);
        let hash = digest(&SHA256, &input);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash.as_ref()[..KEY_ID_BYTES]);
        id
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM_SIV, &*self.0)
            .map(LessSafeKey::new)
            .map_err(|_| Error::bug("The seal key was not accepted by the cipher."))
    }

    pub(crate) fn seal(&self, purpose: Purpose<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0_u8; NONCE_LEN];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::bug("The system gave no random bytes.").said(error.to_string()))?;
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.associated_data()),
                &mut text,
            )
            .map_err(|_| Error::bug("Sealing failed."))?;
        let mut out = Vec::with_capacity(HEADER_BYTES + text.len() + tag.as_ref().len());
        out.push(FORM);
        out.extend_from_slice(&self.id());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&text);
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    pub(crate) fn open(&self, purpose: Purpose<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let broken = || {
            Error::provider(
                Code::SealBroken,
                "Something sealed was damaged or put in the wrong place.",
            )
            .hint("Restore Nonna's state from a backup, or set the secret again.")
        };
        let (header, text) = sealed.split_at_checked(HEADER_BYTES).ok_or_else(broken)?;
        if header[0] != FORM {
            return Err(broken());
        }
        if header[1..=KEY_ID_BYTES] != self.id() {
            return Err(wrong_key());
        }
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&header[1 + KEY_ID_BYTES..]);
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .cipher()?
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.associated_data()),
                &mut text,
            )
            .map_err(|_| broken())?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

pub(crate) fn wrong_key() -> Error {
    Error::user(
        Code::SealBroken,
        "The seal key is not the one this state was sealed under.",
    )
    .hint("Give Nonna the key that belongs to this data folder (`seal.key`), or restore a backup.")
}

/// The keys a store works with: it seals under one, and while a rotation is
/// under way it opens what either has sealed.
pub(crate) struct Sealer(RwLock<Keys>);

#[derive(Clone)]
struct Keys {
    current: Arc<SealKey>,
    other: Option<Arc<SealKey>>,
}

impl Sealer {
    pub(crate) fn new(key: SealKey) -> Self {
        Self(RwLock::new(Keys {
            current: Arc::new(key),
            other: None,
        }))
    }

    fn keys(&self) -> Keys {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn current(&self) -> Arc<SealKey> {
        self.keys().current
    }

    /// Also opens what this key sealed.
    pub(crate) fn admit(&self, key: Arc<SealKey>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).other = Some(key);
    }

    /// Seals under this key from now on; the old one still opens, for reads
    /// that began before.
    pub(crate) fn switch(&self, key: Arc<SealKey>) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut keys.current, key);
        keys.other = Some(old);
    }

    pub(crate) fn seal(&self, purpose: Purpose<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        self.current().seal(purpose, plain)
    }

    pub(crate) fn open(&self, purpose: Purpose<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let keys = self.keys();
        let id = sealed.get(1..=KEY_ID_BYTES);
        match keys.other {
            Some(other) if id == Some(other.id().as_slice()) => other.open(purpose, sealed),
            _ => keys.current.open(purpose, sealed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(owner: &str, name: &str, version: u64) -> Vec<u8> {
        Purpose::Secret { owner, name, version }.associated_data()
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_purpose_only() {
        let key = SealKey::generate().unwrap();
        let here = Purpose::Secret {
            owner: "svc-a",
            name: "A",
            version: 1,
        };
        let sealed = key.seal(here, b"hunter2").unwrap();
        assert_eq!(key.open(here, &sealed).unwrap().as_slice(), b"hunter2");
        for there in [
            Purpose::Secret {
                owner: "svc-b",
                name: "A",
                version: 1,
            },
            Purpose::Secret {
                owner: "svc-a",
                name: "B",
                version: 1,
            },
            Purpose::Secret {
                owner: "svc-a",
                name: "A",
                version: 2,
            },
            Purpose::Blob {
                kind: "svc-a",
                key: "A",
            },
            Purpose::Check,
        ] {
            assert_eq!(key.open(there, &sealed).unwrap_err().code, Code::SealBroken);
        }
        assert_ne!(secret("a", "bc", 1), secret("ab", "c", 1));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let key = SealKey::generate().unwrap();
        let sealed = key.seal(Purpose::Check, b"text").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(key.open(Purpose::Check, &damaged).is_err(), "byte {at}");
            assert!(key.open(Purpose::Check, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_key_is_told_apart_from_damage() {
        let sealed = SealKey::generate()
            .unwrap()
            .seal(Purpose::Check, b"text")
            .unwrap();
        let error = SealKey::generate()
            .unwrap()
            .open(Purpose::Check, &sealed)
            .unwrap_err();
        assert!(error.message.contains("not the one"), "{error}");
    }

    #[test]
    fn a_key_survives_text_and_is_never_printed() {
        let key = SealKey::generate().unwrap();
        assert_eq!(SealKey::parse(&format!(" {}\n", *key.to_text())).unwrap(), key);
        assert_eq!(format!("{key:?}"), "SealKey(…)");
        for bad in ["", "x", "AAAA", &"A".repeat(44)] {
            assert_eq!(SealKey::parse(bad).unwrap_err().code, Code::SealBroken, "{bad}");
        }
    }
}
