//! What of a build's output nobody may read: the values of its secrets.

use secrecy::{ExposeSecret, SecretString};

/// What stands in the place of a secret.
const MASK: &str = "***";
/// A value that is shorter is no secret that could be told from words.
const SHORTEST: usize = 4;
/// A line of a value of several lines that is shorter says nothing by itself.
const SHORTEST_LINE: usize = 8;

/// The values of secrets, the longest first.
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// What these values are seen as: whole, and line by line.
    pub(super) fn of<'s>(values: impl Iterator<Item = &'s SecretString>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for value in values {
            let value = value.expose_secret().trim();
            if value.len() < SHORTEST {
                continue;
            }
            if value.contains('\n') {
                let lines = value.lines().map(str::trim);
                all.extend(
                    lines
                        .filter(|line| line.len() >= SHORTEST_LINE)
                        .map(str::to_owned),
                );
            } else {
                all.push(value.to_owned());
            }
        }
        all.sort_by_key(|value| std::cmp::Reverse(value.len()));
        all.dedup();
        Self(all)
    }

    /// Nothing is hidden.
    #[cfg(test)]
    pub(super) const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// The longest value: so much of a line that is not over may be the
    /// beginning of one.
    pub(super) fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }

    /// A line without them.
    pub(super) fn mask(&self, line: &str) -> String {
        let mut out = line.to_owned();
        for value in &self.0 {
            if out.contains(value.as_str()) {
                out = out.replace(value.as_str(), MASK);
            }
        }
        out
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(values: &[&str]) -> Hidden {
        let values: Vec<SecretString> = values.iter().map(|value| SecretString::from(*value)).collect();
        Hidden::of(values.iter())
    }

    #[test]
    fn every_value_is_masked_the_longer_ones_first() {
        let hidden = hidden(&["abcd", "abcdef", "x", " spaced \n"]);
        assert_eq!(hidden.mask("abcdef-abcd-x"), format!("{MASK}-{MASK}-x"));
        assert_eq!(hidden.mask("spaced"), MASK);
        assert_eq!(hidden.longest(), 6);
        assert!(!format!("{hidden:?}").contains("abcd"));
    }

    #[test]
    fn a_key_of_several_lines_is_masked_line_by_line() {
        let hidden = hidden(&["-----BEGIN KEY-----\nMIIBVgIBADAN\nab\n-----END KEY-----\n"]);
        assert_eq!(hidden.mask("key MIIBVgIBADAN ab"), format!("key {MASK} ab"));
    }
}
