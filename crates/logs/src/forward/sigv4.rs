//! AWS Signature Version 4, as much of it as a PUT needs.
//!
//! Format: AWS, "Signature Version 4 signing process", and its examples for S3,
//! which the tests repeat.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};

/// Who signs.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: SecretString,
    /// The token of a session.
    pub session_token: Option<SecretString>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// What is signed.
#[derive(Debug)]
pub(super) struct Signing<'a> {
    pub(super) method: &'a str,
    /// The path, encoded as it is sent.
    pub(super) path: &'a str,
    /// Names in small letters and values, in the order of the names.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The hash of the body.
    pub(super) body_hash: &'a str,
    pub(super) region: &'a str,
    /// `20260124T083611Z`
    pub(super) time: &'a str,
}

/// SHA-256, in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// The value of `Authorization`.
pub(super) fn authorization(signing: &Signing<'_>, credentials: &Credentials) -> String {
    let names: Vec<&str> = signing.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let headers: String = signing
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let request = format!(
        "{}\n{}\n\n{headers}\n{names}\n{}",
        signing.method, signing.path, signing.body_hash
    );
    let day = signing.time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/s3/aws4_request", signing.region);
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        signing.time,
        hash(request.as_bytes())
    );
    let secret = format!("AWS4{}", credentials.secret_key.expose_secret());
    let key = [day, signing.region, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part));
    let signature = HEXLOWER.encode(&mac(&key, &text));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        credentials.access_key
    )
}

/// A path's part, encoded as S3 wants it.
pub(super) fn encode(part: &str) -> String {
    let mut out = String::new();
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        }
    }

    /// "Example: GET Object" and "Example: PUT Object" of AWS's reference.
    #[test]
    fn the_examples_of_the_reference() {
        let empty = hash(b"");
        let get = Signing {
            method: "GET",
            path: "/test.txt",
            headers: &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", &empty),
                ("x-amz-date", "20130524T000000Z"),
            ],
            body_hash: &empty,
            region: "us-east-1",
            time: "20130524T000000Z",
        };
        assert!(
            authorization(&get, &credentials())
                .ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
        );
        let body = hash(b"Welcome to Amazon S3.");
        let path = encode("/test$file.text");
        let put = Signing {
            method: "PUT",
            path: &path,
            headers: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", &body),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            body_hash: &body,
            region: "us-east-1",
            time: "20130524T000000Z",
        };
        assert!(
            authorization(&put, &credentials())
                .ends_with("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
        );
        assert!(!format!("{:?}", credentials()).contains("wJalr"));
    }
}
