//! Signatures of images, in the form that cosign makes and checks
//! (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>):
//! ECDSA on P-256 over a small JSON document that names the image's digest,
//! kept in the image's own repository under the tag `sha256-<digest>.sig`.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
    UnparsedPublicKey,
};
use data_encoding::{BASE64, HEXLOWER};
use nonna_engine::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::client::{OCI_MANIFEST, Repository, digest_of};

/// The media type of the signed document.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The media type of a manifest's configuration.
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The annotation that holds a signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What the signed document says it is.
const TYPE: &str = "cosign container image signature";
/// The largest signed document that is read.
const MAX_PAYLOAD: usize = 64 * 1024;
/// The most signatures of one image that are looked at.
const MOST_SIGNATURES: usize = 100;

/// A key that signs images. The private half never leaves the store but
/// sealed.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// A bug where there are no random numbers.
    pub fn generate() -> Result<Self> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| Error::bug("No key can be made: there are no random numbers."))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// A key that was made before: PKCS #8, DER.
    ///
    /// # Errors
    /// A bug where it is none.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes)
            .map_err(|_| Error::bug("The key that signs images cannot be read."))?;
        Ok(Self {
            pair,
            pkcs8: Zeroizing::new(bytes.to_vec()),
        })
    }

    /// The key to be sealed: PKCS #8, DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    ///
    /// # Errors
    /// A bug where it cannot be written.
    pub fn public(&self) -> Result<PublicKey> {
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(self.pair.public_key())
            .map_err(|_| Error::bug("A public key cannot be written."))?;
        PublicKey::from_der(der.as_ref())
    }

    fn sign(&self, payload: &[u8]) -> Result<String> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), payload)
            .map_err(|_| Error::bug("An image cannot be signed: there are no random numbers."))?;
        Ok(BASE64.encode(signature.as_ref()))
    }
}

/// The half of a key that checks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    der: Vec<u8>,
}

impl PublicKey {
    fn from_der(der: &[u8]) -> Result<Self> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der)
            .map_err(|_| Error::user(Code::InvalidInput, "This is no public key for ECDSA on P-256."))?;
        Ok(Self { der: der.to_vec() })
    }

    /// As a PEM file, which `cosign verify --key` and OpenSSL read.
    #[must_use]
    pub fn pem(&self) -> String {
        let text = BASE64.encode(&self.der);
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// Its fingerprint: the SHA-256 of its DER form.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&self.der)))
    }

    fn verifies(&self, payload: &[u8], signature: &str) -> bool {
        BASE64.decode(signature.as_bytes()).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.der)
                .verify(payload, &signature)
                .is_ok()
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    optional: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// An OCI image manifest, as far as signatures need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureManifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: serde_json::Value,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    size: u64,
    digest: String,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    annotations: serde_json::Map<String, serde_json::Value>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl Layer {
    fn signature(&self) -> Option<&str> {
        self.annotations.get(SIGNATURE)?.as_str()
    }
}

/// The tag under which the signatures of an image are kept.
fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

async fn signatures(repository: &Repository, digest: &str) -> Result<Option<SignatureManifest>> {
    let Some(found) = repository.manifest(&tag(digest)).await? else {
        return Ok(None);
    };
    serde_json::from_slice(&found.bytes).map(Some).map_err(|error| {
        Error::provider(
            Code::SignatureInvalid,
            format!(
                "What {} keeps as signatures of {digest} is none.",
                repository.name()
            ),
        )
        .said(error.to_string())
    })
}

/// Signs an image that the repository has under this digest. Signatures by
/// others stay; one by this key that is there already is enough.
///
/// # Errors
/// `RegistryAuth`, `RegistryUnavailable`.
pub async fn sign(repository: &Repository, digest: &str, key: &SigningKey) -> Result<()> {
    // What cannot be read is written over: it verifies for nobody.
    let before = signatures(repository, digest).await.or_else(|error| {
        if error.code == Code::SignatureInvalid {
            Ok(None)
        } else {
            Err(error)
        }
    })?;
    if let Some(before) = &before
        && good(repository, digest, before, &key.public()?).await? > 0
    {
        return Ok(());
    }
    let payload = Payload {
        critical: Critical {
            identity: Identity {
                reference: repository.name(),
            },
            image: Image {
                digest: digest.to_owned(),
            },
            kind: TYPE.to_owned(),
        },
        optional: None,
    };
    let payload = serde_json::to_vec(&payload)
        .map_err(|e| Error::bug(format!("a signature's text cannot be written: {e}")))?;
    let mut layers = before.map(|manifest| manifest.layers).unwrap_or_default();
    let signature = key.sign(&payload)?;
    layers.push(Layer {
        media_type: SIMPLE_SIGNING.to_owned(),
        size: payload.len() as u64,
        digest: repository.put_blob(payload).await?,
        annotations: serde_json::Map::from_iter([(SIGNATURE.to_owned(), signature.into())]),
        other: serde_json::Map::new(),
    });
    let config = serde_json::json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "os": "",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>(),
        },
    });
    let config = config.to_string().into_bytes();
    let manifest = SignatureManifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: serde_json::json!({
            "mediaType": OCI_CONFIG,
            "size": config.len(),
            "digest": digest_of(&config),
        }),
        layers,
    };
    repository.put_blob(config).await?;
    let manifest = serde_json::to_vec(&manifest)
        .map_err(|e| Error::bug(format!("a manifest cannot be written: {e}")))?;
    repository
        .put_manifest(&tag(digest), OCI_MANIFEST, manifest)
        .await?;
    Ok(())
}

/// How many signatures of the image by this key are good; at least one.
///
/// # Errors
/// `SignatureInvalid` where there is none, or none that is good;
/// `RegistryAuth`, `RegistryUnavailable`.
pub async fn verify(repository: &Repository, digest: &str, key: &PublicKey) -> Result<usize> {
    let name = repository.name();
    let Some(found) = signatures(repository, digest).await? else {
        return Err(Error::user(
            Code::SignatureInvalid,
            format!("{name}@{digest} is not signed."),
        )
        .hint("It may have been pushed by somebody else, or its signature was removed. Push it again: `nonna release push`."));
    };
    match good(repository, digest, &found, key).await? {
        0 => Err(Error::user(
            Code::SignatureInvalid,
            format!(
                "None of the {} signatures of {name}@{digest} is by this installation's key.",
                found.layers.len()
            ),
        )
        .hint("Do not run it before you know who signed it, or who changed the signature.")),
        count => Ok(count),
    }
}

async fn good(
    repository: &Repository,
    digest: &str,
    manifest: &SignatureManifest,
    key: &PublicKey,
) -> Result<usize> {
    let mut count = 0;
    for layer in manifest.layers.iter().take(MOST_SIGNATURES) {
        if layer.media_type != SIMPLE_SIGNING {
            continue;
        }
        let Some(signature) = layer.signature() else {
            continue;
        };
        let payload = match repository.blob(&layer.digest, MAX_PAYLOAD).await {
            Ok(payload) => payload,
            Err(error) if error.retryable || error.code == Code::RegistryAuth => return Err(error),
            // One that is broken does not spoil the others.
            Err(_) => continue,
        };
        if key.verifies(&payload, signature) && says(&payload, digest) {
            count += 1;
        }
    }
    Ok(count)
}

/// Whether a signed document is about the image of this digest.
fn says(payload: &[u8], digest: &str) -> bool {
    serde_json::from_slice::<Payload>(payload)
        .is_ok_and(|payload| payload.critical.kind == TYPE && payload.critical.image.digest == digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_it_verifies_and_nothing_else() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(key.public().unwrap(), again.public().unwrap());
        let signature = key.sign(b"text").unwrap();
        let public = again.public().unwrap();
        assert!(public.verifies(b"text", &signature));
        assert!(!public.verifies(b"texT", &signature));
        assert!(!public.verifies(b"text", "bm8="));
        assert!(!public.verifies(b"text", "!"));
        let other = SigningKey::generate().unwrap().public().unwrap();
        assert!(!other.verifies(b"text", &signature));
        assert!(
            public
                .pem()
                .starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
        );
        assert!(!format!("{key:?}").contains("30"));
    }

    #[test]
    fn a_document_is_about_one_image() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{TYPE}"}},"optional":null}}"#
        );
        assert!(says(text.as_bytes(), &digest));
        assert!(!says(text.as_bytes(), "sha256:00"));
        assert!(!says(text.replace(TYPE, "another").as_bytes(), &digest));
        assert!(!says(b"{}", &digest));
    }
}
