//! `Gemfile` and `Gemfile.lock`, as far as a build has to know them.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::super::tree::{Tree, unclear_at};
use super::super::version::{Dialect, Range, Version, asked, choose, is_numbers};

/// Releases of Ruby; the first one is what apps get that do not ask for one.
pub(super) const RUBIES: [&str; 7] = ["3.4", "4.0", "3.3", "3.2", "3.1", "3.0", "2.7"];

/// What the Gemfile and its lock say.
#[derive(Debug, Default)]
pub(super) struct Gems {
    /// The names of the gems: all of the lock, or those that the Gemfile names.
    names: Vec<String>,
    /// The requirement of the Gemfile's `ruby` line, and the line.
    ruby: Option<(String, usize)>,
    /// The release that the lock was made with.
    locked_ruby: Option<(String, usize)>,
    /// Files that the Gemfile reads: what is copied before gems are installed.
    pub(super) reads: Vec<String>,
    /// A Gemfile beside the Dockerfile, where the source has none.
    pub(super) generated: Option<&'static str>,
    /// Whether gems are folders of the source, or the Gemfile reads Ruby files.
    pub(super) needs_source: bool,
    /// Whether the lock has a platform that the image is of.
    pub(super) has_linux: bool,
    /// Whether there is a lock.
    pub(super) is_locked: bool,
}

impl Gems {
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let mut gems = Self {
            has_linux: true,
            ..Self::default()
        };
        if let Some(text) = tree.text("Gemfile")? {
            gems.gemfile(tree, &text)?;
        }
        if let Some(text) = tree.text("Gemfile.lock")? {
            gems.is_locked = true;
            gems.lock(&text);
        }
        Ok(gems)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|gem| gem == name)
    }

    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    fn gemfile(&mut self, tree: &Tree<'_>, text: &str) -> Result<()> {
        self.reads.push("Gemfile".to_owned());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix("gem ").and_then(quoted) {
                self.names.push(name.to_owned());
            }
            // A gem, a group or a part of the Gemfile that is elsewhere in the source.
            let reads_source = line.starts_with("gemspec")
                || line.starts_with("eval_gemfile")
                || line.starts_with("path ")
                || line.starts_with("path(")
                || (line.starts_with("gem ") && (line.contains("path:") || line.contains(":path")))
                || line.contains("require_relative")
                || line.contains("File.read");
            self.needs_source |= reads_source && !line.starts_with('#');
            let Some(rest) = line.strip_prefix("ruby ").or_else(|| line.strip_prefix("ruby(")) else {
                continue;
            };
            if line.contains("engine:") || line.contains(":engine") {
                return Err(unclear_at(
                    "Gemfile",
                    number + 1,
                    "it asks for another engine than Ruby's own",
                    "Add a Dockerfile, which may begin from that engine's image.",
                ));
            }
            if let Some((_, file)) = rest.split_once("file:") {
                // `ruby file: ".ruby-version"`, which is read anyway.
                if let Some(file) = quoted(file)
                    && tree.has(file)
                {
                    self.reads.push(file.to_owned());
                }
                continue;
            }
            // Several requirements stand in one range.
            let all: Vec<&str> = rest
                .split(',')
                .filter_map(quoted)
                .filter(|text| !text.is_empty())
                .collect();
            if !all.is_empty() {
                self.ruby = Some((all.join(", "), number + 1));
            }
        }
        Ok(())
    }

    fn lock(&mut self, text: &str) {
        let mut section = "";
        let mut platforms: Vec<&str> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if !line.starts_with(' ') {
                section = line.trim();
                continue;
            }
            let entry = line.trim();
            match section {
                // Four spaces: the gem itself; six: what it needs.
                "GEM" | "GIT" | "PATH" if line.starts_with("    ") && !line.starts_with("     ") => {
                    let name = entry.split(' ').next().unwrap_or_default();
                    self.names.push(name.to_owned());
                }
                "PLATFORMS" => platforms.push(entry),
                "RUBY VERSION" => {
                    let version = entry.strip_prefix("ruby ").unwrap_or(entry);
                    let version = version.split(['p', ' ']).next().unwrap_or_default();
                    self.locked_ruby = Some((version.to_owned(), number + 1));
                }
                _ => {}
            }
        }
        self.has_linux = platforms.is_empty()
            || platforms
                .iter()
                .any(|platform| *platform == "ruby" || platform.contains("linux"));
    }

    /// The release of Ruby, and why.
    pub(super) fn version(&self, tree: &Tree<'_>) -> Result<Version> {
        const HINT: &str = "Write a version such as `3.4` or `3.4.2`.";
        let range = match &self.ruby {
            None => None,
            Some((text, line)) => Some(Range::parse(text, Dialect::Ruby).ok_or_else(|| {
                unclear_at(
                    "Gemfile",
                    *line,
                    &format!("`{}` is no version of Ruby", printable(text)),
                    "Write a requirement such as `ruby \"~> 3.4\"`.",
                )
            })?),
        };
        if let Some(asked) = asked(tree, &[".ruby-version"], &["ruby"])? {
            let version = asked.version.trim_start_matches("ruby-").to_owned();
            // A pre-release has an image of its own too.
            let numbers = version.split('-').next().unwrap_or_default();
            if !is_numbers(numbers) || !is_tag(&version) {
                return Err(asked.is_no_version_of("Ruby", HINT));
            }
            if let (Some(range), Some((text, line))) = (&range, &self.ruby)
                && !range.fits_newest_of(numbers)
            {
                return Err(unclear_at(
                    &asked.file,
                    asked.line,
                    &format!(
                        "it asks for Ruby {}, but the Gemfile (line {line}) for `{}`",
                        printable(&version),
                        printable(text)
                    ),
                    "Let both say the same: Bundler refuses any other than the Gemfile's.",
                ));
            }
            return Ok(Version::new("Ruby", version, asked.why()));
        }
        if let (Some(range), Some((text, line))) = (range, &self.ruby) {
            let why = format!("Gemfile, line {line}, asks for `{}`", printable(text));
            let exact = text.trim().trim_start_matches(['=', ' ']);
            if is_numbers(exact) {
                return Ok(Version::new("Ruby", exact, why));
            }
            let version = choose(&RUBIES, &range)
                .map(str::to_owned)
                .or_else(|| range.named())
                .filter(|version| is_numbers(version));
            return version
                .map(|version| Version::new("Ruby", version, why))
                .ok_or_else(|| {
                    unclear_at(
                        "Gemfile",
                        *line,
                        &format!(
                            "no Ruby fits `{}` (there are {})",
                            printable(text),
                            RUBIES.join(", ")
                        ),
                        HINT,
                    )
                });
        }
        if let Some((version, line)) = &self.locked_ruby
            && is_numbers(version)
        {
            return Ok(Version::new(
                "Ruby",
                version,
                format!("Gemfile.lock, line {line}, was made with it"),
            ));
        }
        Ok(Version::new("Ruby", RUBIES[0], "nothing asks for another"))
    }
}

fn is_tag(version: &str) -> bool {
    version.len() < 30
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

/// The first text in quotes.
fn quoted(line: &str) -> Option<&str> {
    let start = line.find(['"', '\''])?;
    let quote = line.get(start..=start)?;
    line.get(start + 1..)?.split(quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_names_every_gem_the_platforms_and_ruby() {
        let mut gems = Gems::default();
        gems.lock("GEM\n  remote: https://rubygems.org/\n  specs:\n    puma (6.4.2)\n      nio4r (~> 2.0)\n    sinatra (4.0.0)\n\nPLATFORMS\n  arm64-darwin-23\n\nDEPENDENCIES\n  puma\n\nRUBY VERSION\n   ruby 3.3.1p55\n\nBUNDLED WITH\n   2.5.6\n");
        assert_eq!(gems.names, ["puma", "sinatra"]);
        assert!(!gems.has_linux);
        assert_eq!(gems.locked_ruby, Some(("3.3.1".into(), 15)));
    }
}
