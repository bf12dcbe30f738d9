//! Which release of a language an app asks for: the version files that all
//! languages share, and ranges of versions.
//!
//! The order is the same for every language: the language's own version file
//! (`.nvmrc`, `.python-version`, `.ruby-version` …), then `mise.toml`, then
//! `.tool-versions`, then the range in the language's manifest.

mod files;
mod range;

use std::fmt;

pub(super) use self::files::{Asked, asked};
pub(super) use self::range::{Dialect, Range};

/// The release that a build uses, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Of what: `Node.js`, `pnpm` …
    pub what: &'static str,
    /// The version, as the image's tag or the tool has it.
    pub version: String,
    /// Why this one.
    pub why: String,
}

impl Version {
    pub(super) fn new(what: &'static str, version: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what,
            version: version.into(),
            why: why.into(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.what, self.version, self.why)
    }
}

/// Whether a text is one to four numbers with dots between them, the first of
/// up to four digits: safe in the tag of an image.
pub(super) fn is_numbers(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    (1..=4).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit()))
}

/// The first of these release lines (`22`, `3.13`), best first, whose newest
/// release is in the range.
pub(super) fn choose<'l>(lines: &[&'l str], range: &Range) -> Option<&'l str> {
    lines.iter().copied().find(|line| range.fits_newest_of(line))
}
