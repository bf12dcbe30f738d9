//! `.dockerignore`, as the docker client and BuildKit read it.

use nonna_engine::error::{Code, Error, Result};

use super::pattern::{Pattern, clean};

/// The rules of a `.dockerignore`. The last line that matches a path, or a
/// folder above it, decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct DockerIgnore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// `!`: what matches belongs to the context after all.
    keeps: bool,
}

/// Which rules matched a folder: what is in it inherits them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched(Vec<bool>);

impl DockerIgnore {
    /// Reads the file's text; `name` is for the messages.
    ///
    /// # Errors
    /// `InvalidInput` with the line that is no pattern.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut rules = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (keeps, body) = match line.strip_prefix('!') {
                Some(body) => (true, body.trim()),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            let wrong = |why: &str| {
                Error::user(
                    Code::InvalidInput,
                    format!("`{line}` in {name}, line {}, is no pattern: {why}.", number + 1),
                )
                .hint("See https://docs.docker.com/build/concepts/context/#dockerignore-files for what a pattern may be.")
            };
            if body.is_empty() {
                return Err(wrong("nothing follows the `!`"));
            }
            let body = clean(body);
            let body = body.strip_prefix('/').unwrap_or(&body);
            if body.is_empty() {
                // `/` alone names the folder itself, which no rule leaves out.
                continue;
            }
            rules.push(Rule {
                pattern: Pattern::new(body).map_err(wrong)?,
                keeps,
            });
        }
        Ok(Self { rules })
    }

    /// Whether this path is left out, given what matched the folder it is in.
    pub(crate) fn leaves_out(&self, path: &str, above: &Matched) -> (bool, Matched) {
        let mut out = false;
        let mut matched = Vec::with_capacity(self.rules.len());
        for (number, rule) in self.rules.iter().enumerate() {
            let hit = above.0.get(number) == Some(&true) || rule.pattern.matches(path);
            if hit {
                out = !rule.keeps;
            }
            matched.push(hit);
        }
        (out, Matched(matched))
    }

    /// Whether a folder that is left out may still hold something that is not.
    pub(crate) fn may_keep_below(&self, folder: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.keeps && rule.pattern.could_match_below(folder))
    }

    /// Whether a line asks for exactly this path.
    pub(crate) fn keeps_by_name(&self, path: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.keeps && rule.pattern.is_exactly(path))
    }
}
