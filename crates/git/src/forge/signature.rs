//! HMAC-SHA256, compared in constant time.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER_PERMISSIVE;

/// Whether this is the body's HMAC under the secret, in hexadecimal.
pub(super) fn is_right(secret: &str, body: &[u8], hex: &str) -> bool {
    let Ok(tag) = HEXLOWER_PERMISSIVE.decode(hex.trim().as_bytes()) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    !secret.is_empty() && hmac::verify(&key, body, &tag).is_ok()
}

/// Whether two secrets are the same. What is compared are their HMACs, so that
/// not even their lengths tell.
pub(super) fn is_same(secret: &str, given: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, given.as_bytes());
    !secret.is_empty() && hmac::verify(&key, secret.as_bytes(), tag.as_ref()).is_ok()
}
