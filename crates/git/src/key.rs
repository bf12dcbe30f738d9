//! Deploy keys: Ed25519, in OpenSSH's own format (its PROTOCOL.key).

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use nonna_engine::{Code, Error, Result};
use zeroize::Zeroizing;

const KIND: &[u8] = b"ssh-ed25519";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const SEED: usize = 32;
/// How long a line of a key's file is.
const LINE: usize = 70;

/// A key pair.
pub struct DeployKey {
    /// The line that a forge is given: `ssh-ed25519 AAAA… comment`.
    pub public: String,
    /// What `ssh` reads, PEM.
    pub private: Zeroizing<String>,
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl DeployKey {
    /// A new one. The comment tells people where it is from; it has no spaces
    /// and no control characters.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn generate(comment: &str) -> Result<Self> {
        let random = |error: &dyn std::fmt::Display| {
            Error::provider(Code::Bug, "The system gives no random numbers.").said(error.to_string())
        };
        let mut seed = Zeroizing::new([0_u8; SEED]);
        getrandom::fill(seed.as_mut()).map_err(|error| random(&error))?;
        let mut check = [0_u8; 4];
        getrandom::fill(&mut check).map_err(|error| random(&error))?;
        Self::of(&seed, check, comment)
    }

    fn of(seed: &[u8; SEED], check: [u8; 4], comment: &str) -> Result<Self> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::bug("a seed makes no key"))?;
        let point = pair.public_key().as_ref();
        let mut public = Vec::new();
        text(&mut public, KIND);
        text(&mut public, point);

        let mut secret = Zeroizing::new(Vec::with_capacity(256));
        // The same number twice: how ssh sees that it was decrypted rightly.
        secret.extend_from_slice(&check);
        secret.extend_from_slice(&check);
        text(&mut secret, KIND);
        text(&mut secret, point);
        let mut both = Zeroizing::new([0_u8; SEED * 2]);
        let (first, second) = both.split_at_mut(SEED);
        first.copy_from_slice(seed);
        second.copy_from_slice(point);
        text(&mut secret, both.as_ref());
        text(&mut secret, comment.as_bytes());
        for padding in 1_u8.. {
            if secret.len() % 8 == 0 {
                break;
            }
            secret.push(padding);
        }

        let mut file = Zeroizing::new(Vec::with_capacity(512));
        file.extend_from_slice(MAGIC);
        text(&mut file, b"none");
        text(&mut file, b"none");
        text(&mut file, b"");
        file.extend_from_slice(&1_u32.to_be_bytes());
        text(&mut file, &public);
        text(&mut file, &secret);
        let encoded = Zeroizing::new(BASE64.encode(&file));
        let mut private = Zeroizing::new(String::with_capacity(600));
        private.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n");
        for at in (0..encoded.len()).step_by(LINE) {
            let end = encoded.len().min(at + LINE);
            private.push_str(encoded.get(at..end).unwrap_or_default());
            private.push('\n');
        }
        private.push_str("-----END OPENSSH PRIVATE KEY-----\n");
        Ok(Self {
            public: format!("ssh-ed25519 {} {comment}", BASE64.encode(&public)),
            private,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn openssh_reads_the_key_and_finds_the_same_public_half() {
        let folder = tempfile::tempdir().unwrap();
        // Comments of several lengths: each padding happens.
        for comment in ["nonna", "nonna@a", "nonna@ab", "nonna@abc", "nonna@abcdefg"] {
            let key = DeployKey::generate(comment).unwrap();
            let path = folder.path().join(comment);
            let mut file = std::fs::OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .unwrap();
            file.write_all(key.private.as_bytes()).unwrap();
            let output = Command::new("ssh-keygen")
                .arg("-y")
                .arg("-f")
                .arg(&path)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), key.public);
        }
    }

    #[test]
    fn keys_differ() {
        let (a, b) = (
            DeployKey::generate("x").unwrap(),
            DeployKey::generate("x").unwrap(),
        );
        assert_ne!(a.public, b.public);
        assert_ne!(*a.private, *b.private);
    }
}
