//! Names that people give: of projects, environments, services and volumes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is safe as a DNS label, in a path, in a URL and in a container's
/// name: 1 to 40 characters of `a-z`, `0-9` and `-`, that begins with a letter
/// and does not end with `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The longest name, in characters. Three of them and two dashes still fit
/// where a host name's label may have 63 characters only in pairs, so longer
/// joined names are cut and hashed by whoever joins them.
pub const MAX_LEN: usize = 40;

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot be a name: {reason}")]
pub struct InvalidName {
    /// What was given, shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// A name that would do, where one can be made of the text.
    pub suggestion: Option<Name>,
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a name of any text (a folder's name, say) by lowering letters and
    /// turning all else into single dashes; `None` where no letter is left.
    #[must_use]
    pub fn slug(text: &str) -> Option<Self> {
        let mut out = String::new();
        for c in text.chars() {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_lowercase() || (c.is_ascii_digit() && !out.is_empty()) {
                out.push(c);
            } else if !out.is_empty() && !out.ends_with('-') {
                out.push('-');
            }
            if out.len() == MAX_LEN {
                break;
            }
        }
        let out = out.trim_end_matches('-');
        // Not by parsing: a refusal asks for a slug in turn.
        reason(out).is_none().then(|| Self(out.to_owned()))
    }
}

fn reason(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX_LEN {
        return Some("it is longer than 40 characters");
    }
    if !text
        .bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    {
        return Some("only the letters a-z, digits and `-` may stand in it");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("it must begin with a letter");
    }
    if text.ends_with('-') {
        return Some("it must not end with `-`");
    }
    None
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match reason(text) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => Err(InvalidName {
                text: text.chars().take(64).collect(),
                reason,
                suggestion: Self::slug(text).filter(|name| name.as_str() != text),
            }),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_more_than_names_are_refused() {
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a b",
            "../x",
            "a;rm -rf /",
            "x' OR 1=1--",
            "é",
            "1a",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        for good in ["a", "web", "my-app-2", &"a".repeat(40)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_folder_name_becomes_a_name() {
        assert_eq!(Name::slug("My App (v2)").unwrap().as_str(), "my-app-v2");
        assert_eq!(Name::slug("42"), None);
        assert_eq!(Name::slug("2048-game").unwrap().as_str(), "game");
    }

    #[test]
    fn an_invalid_name_suggests_a_valid_one() {
        let err = "My_App".parse::<Name>().unwrap_err();
        assert_eq!(err.suggestion.unwrap().as_str(), "my-app");
    }
}
