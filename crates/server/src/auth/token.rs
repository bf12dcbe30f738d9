//! Bearer tokens: 160 random bits, of which only the SHA-256 is kept.

use data_encoding::BASE32_NOPAD;
use nonna_engine::{Code, Error, Result};
use nonna_store::Store;
use nonna_store::records::TokenHash;
use sha2::{Digest, Sha256};

use super::Identity;

/// What tokens begin with, so that scanners of source code know them.
const PREFIX: &str = "nonna_";
const RANDOM_BYTES: usize = 20;
const LENGTH: usize = PREFIX.len() + 32;

pub(super) fn random_base32<const N: usize>() -> Result<String> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::provider(Code::Bug, "The system gives no random numbers.").said(e.to_string()))?;
    Ok(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// The hash that is kept of a token or a code.
pub(super) fn hash(text: &str) -> TokenHash {
    TokenHash(Sha256::digest(text.as_bytes()).into())
}

/// A new token and what is kept of it.
pub(crate) fn new_token() -> Result<(String, TokenHash)> {
    let token = format!("{PREFIX}{}", random_base32::<RANDOM_BYTES>()?);
    let kept = hash(&token);
    Ok((token, kept))
}

/// Whose token this is.
///
/// The store finds it by its hash: what a caller can learn from the time that
/// takes is about a hash they cannot choose, never about the token.
pub(crate) async fn identify(store: &dyn Store, token: &str) -> Result<Identity> {
    let refused = || {
        Error::user(Code::Unauthenticated, "The token is not valid.")
            .hint("Log in: `nonna login`. On the server, `nonna server login-code` makes a one-time code.")
    };
    if token.len() != LENGTH || !token.starts_with(PREFIX) {
        return Err(refused());
    }
    let now = jiff::Timestamp::now().as_millisecond();
    match store.use_token(&hash(token), now).await? {
        Some(found) => Ok(Identity { name: found.name }),
        None => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_have_one_length() {
        let (a, kept) = new_token().unwrap();
        let (b, _) = new_token().unwrap();
        assert_ne!(a, b);
        assert_eq!(a.len(), LENGTH);
        assert_eq!(hash(&a), kept);
        assert!(!format!("{kept:?}").contains(&a));
    }
}
