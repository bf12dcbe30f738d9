//! Compression of bodies, with a bound on what comes out.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952), several members allowed.
    Gzip,
    /// zlib (RFC 1950), which HTTP calls `deflate`.
    Deflate,
    /// Snappy's block format, which Loki's clients use.
    Snappy,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Why a body cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// It would become larger than is taken.
    #[error("the body is larger than {0} bytes once decompressed")]
    TooLarge(usize),
    /// It is not what it says it is.
    #[error("the body is not {0}: {1}")]
    Broken(&'static str, String),
}

impl Encoding {
    /// The encoding that an HTTP header names; `None` for one that is not known.
    #[must_use]
    pub fn from_header(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "snappy" => Self::Snappy,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    /// Decompresses a body that may become `limit` bytes long.
    ///
    /// # Errors
    /// Where it would become longer, or is broken.
    pub fn decode(self, body: &[u8], limit: usize) -> Result<Vec<u8>, Undecodable> {
        match self {
            Self::Identity if body.len() > limit => Err(Undecodable::TooLarge(limit)),
            Self::Identity => Ok(body.to_vec()),
            Self::Gzip => bounded(MultiGzDecoder::new(body), "gzip", limit),
            Self::Deflate => bounded(flate2::read::ZlibDecoder::new(body), "deflate", limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body)
                    .map_err(|e| Undecodable::Broken("zstd", e.to_string()))?;
                // A window is memory too: 8 MiB, as RFC 8878 recommends.
                decoder
                    .window_log_max(23)
                    .map_err(|e| Undecodable::Broken("zstd", e.to_string()))?;
                bounded(decoder, "zstd", limit)
            }
            Self::Snappy => {
                let broken = |e: snap::Error| Undecodable::Broken("snappy", e.to_string());
                let length = snap::raw::decompress_len(body).map_err(broken)?;
                if length > limit {
                    return Err(Undecodable::TooLarge(limit));
                }
                // A block cannot hold more than 64 bytes for three of its own,
                // so that what it claims can be checked before it is believed.
                if length / 32 > body.len() {
                    return Err(Undecodable::Broken(
                        "snappy",
                        "it claims more than it can hold".to_owned(),
                    ));
                }
                snap::raw::Decoder::new().decompress_vec(body).map_err(broken)
            }
        }
    }
}

fn bounded(reader: impl Read, name: &'static str, limit: usize) -> Result<Vec<u8>, Undecodable> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    match reader.take(most).read_to_end(&mut out) {
        Ok(_) if out.len() > limit => Err(Undecodable::TooLarge(limit)),
        Ok(_) => Ok(out),
        Err(error) => Err(Undecodable::Broken(name, error.to_string())),
    }
}

/// Compresses with gzip.
///
/// # Errors
/// Never in practice: memory takes what is written.
pub fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(4));
    encoder.write_all(body)?;
    encoder.finish()
}

/// Compresses into a block of Snappy.
///
/// # Errors
/// Where the body has 4 GiB or more.
pub fn snappy(body: &[u8]) -> io::Result<Vec<u8>> {
    snap::raw::Encoder::new()
        .compress_vec(body)
        .map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bomb_stays_small() {
        let zeros = vec![0; 10 << 20];
        let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
        for (encoding, body) in [
            (Encoding::Gzip, gzip(&zeros).unwrap()),
            (Encoding::Snappy, snappy(&zeros).unwrap()),
            (Encoding::Zstd, zstd),
        ] {
            assert!(
                matches!(encoding.decode(&body, 1 << 20), Err(Undecodable::TooLarge(_))),
                "{encoding:?}"
            );
            assert_eq!(encoding.decode(&body, 10 << 20).unwrap().len(), 10 << 20);
        }
        // Claims 2 GiB.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0];
        assert!(Encoding::Snappy.decode(&lie, usize::MAX).is_err());
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(body in prop::collection::vec(any::<u8>(), 0..5000)) {
            for (encoding, packed) in [
                (Encoding::Gzip, gzip(&body).unwrap()),
                (Encoding::Snappy, snappy(&body).unwrap()),
                (Encoding::Zstd, zstd::encode_all(&body[..], 1).unwrap()),
                (Encoding::Identity, body.clone()),
            ] {
                prop_assert_eq!(&encoding.decode(&packed, 5000).unwrap(), &body);
            }
        }

        #[test]
        fn anything_is_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Snappy, Encoding::Zstd] {
                let _ = encoding.decode(&body, 10_000);
            }
        }
    }
}
