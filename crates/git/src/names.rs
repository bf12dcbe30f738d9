//! Object ids and references, judged before they reach anything.

use std::fmt;
use std::str::FromStr;

/// The id of a commit or another object: 40 or 64 lower-case hexadecimal
/// digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(String);

/// A text that is no object id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidObjectId;

impl fmt::Display for InvalidObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object id has 40 or 64 lower-case hexadecimal digits")
    }
}

impl FromStr for ObjectId {
    type Err = InvalidObjectId;

    fn from_str(text: &str) -> Result<Self, InvalidObjectId> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidObjectId)
        }
    }
}

impl ObjectId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first ones, as people read them.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }

    /// Whether it stands for nothing: a reference that is made or deleted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a reference is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `refs/heads/…`
    Branch(String),
    /// `refs/tags/…`
    Tag(String),
}

impl Reference {
    /// Reads a full name. `None`: neither branch nor tag, or a name that git
    /// would not make.
    #[must_use]
    pub fn parse(full: &str) -> Option<Self> {
        if let Some(name) = full.strip_prefix("refs/heads/") {
            return is_name(name).then(|| Self::Branch(name.to_owned()));
        }
        let name = full.strip_prefix("refs/tags/")?;
        is_name(name).then(|| Self::Tag(name.to_owned()))
    }
}

/// Whether a branch or tag may have this name: the rules of
/// `git check-ref-format`, and none that looks like an option.
#[must_use]
pub(crate) fn is_name(name: &str) -> bool {
    nonna_model::manifest::value::check_branch(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_git_judges_them() {
        for good in ["main", "feature/x", "v1.2", "ünï", "a-b", "a@b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=touch",
            "a..b",
            "a.lock",
            "a/.b",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "@",
            "a@{1}",
            "a.",
            "a\u{7}",
            "x/-y",
            "a/b.lock/c",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&"a".repeat(300)));
        assert_eq!(
            Reference::parse("refs/heads/main"),
            Some(Reference::Branch("main".into()))
        );
        for full in [
            "HEAD",
            "refs/notes/x",
            "refs/heads/",
            "refs/heads/../../x",
            "main",
        ] {
            assert_eq!(Reference::parse(full), None, "{full}");
        }
    }

    #[test]
    fn object_ids_are_digits_only() {
        assert!("0".repeat(40).parse::<ObjectId>().unwrap().is_zero());
        assert!("a".repeat(64).parse::<ObjectId>().is_ok());
        for bad in ["", "abc", "HEAD", "--help", &"A".repeat(40), &"g".repeat(40)] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }
}
