//! What an image is made of: the packages that its own files tell of, as an
//! SPDX or a CycloneDX document.
//!
//! The image is read once, layer by layer, as the container engine exports it.
//! Nothing is unpacked but one executable or archive at a time; memory does
//! not grow with the image.

mod archives;
mod binaries;
mod cyclonedx;
mod databases;
mod image;
mod manifests;
mod package;
mod spdx;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use cyclonedx::document as cyclonedx;
pub use image::read;
pub use package::{Kind, Package};
pub use spdx::document as spdx;

/// The largest text that is read of an image.
const MAX_TEXT: u64 = 32 * 1024 * 1024;

/// What an image is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The distribution and its version, as the image's `os-release` has them:
    /// `debian`, `12`.
    pub distribution: Option<(String, String)>,
    /// The packages, each once, in order.
    pub packages: Vec<Package>,
    /// What was seen and could not be read: a document that keeps silent of it
    /// would be believed to be whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

/// What a document is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The image's name, for people: `shop/production/web`.
    pub name: String,
    /// Its version, for people: `v7`.
    pub version: String,
    /// The image as the engine knows it: `sha256:…`.
    pub image: String,
    /// Where a registry has it.
    pub reference: Option<String>,
    /// When the document is made: milliseconds since 1970, UTC.
    pub at: i64,
}

impl Subject {
    fn time(&self) -> String {
        // Both formats take whole seconds.
        jiff::Timestamp::from_second(self.at.div_euclid(1000))
            .unwrap_or_default()
            .to_string()
    }

    /// An id that is the same for the same image and release.
    fn uuid(&self) -> String {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(format!("{}\0{}\0{}", self.name, self.version, self.image));
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&hash[..16]);
        // Version 8 of RFC 9562: made in a way of one's own.
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

/// Packages by where they were found, while layers are laid over each other.
type Found = BTreeMap<String, Vec<Package>>;

/// Licences by their SPDX identifiers, as far as they are common: what is not
/// among them is passed on in its own words.
pub(crate) const LICENSES: &[&str] = &[
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Ruby",
    "Unicode-3.0",
    "Unlicense",
    "WTFPL",
    "Zlib",
];
