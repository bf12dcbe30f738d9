//! The paths that a service watches.

use nonna_engine::Result;
use nonna_model::context::{ContextEntry, ContextManifest};

use crate::ignored::{DockerIgnore, Matched};

/// Patterns of paths, of which a later one wins over an earlier: as in a
/// `.dockerignore`, only that here what matches is meant and not left out.
#[derive(Debug, Clone)]
pub struct Watch {
    rules: DockerIgnore,
    /// The context's folder below the patterns' own; empty for the same.
    below: String,
    always: Vec<String>,
}

impl Watch {
    /// Reads patterns that are relative to one folder, for a context that is in
    /// `below` of it. `always` are paths of the context that are watched
    /// whatever the patterns say.
    ///
    /// # Errors
    /// `InvalidInput` with what is no pattern.
    pub fn new(patterns: &[String], below: &str, always: &[&str]) -> Result<Self> {
        Ok(Self {
            rules: DockerIgnore::parse("`watch`", &patterns.join("\n"))?,
            below: below.to_owned(),
            always: always.iter().map(|path| (*path).to_owned()).collect(),
        })
    }

    /// Whether two contexts are the same in what is watched.
    #[must_use]
    pub fn sees_no_difference(&self, a: &ContextManifest, b: &ContextManifest) -> bool {
        let seen = |manifest: &ContextManifest| -> Vec<ContextEntry> {
            let entries = manifest.entries.iter();
            entries
                .filter(|entry| self.watches(&entry.path))
                .cloned()
                .collect()
        };
        seen(a) == seen(b)
    }

    fn watches(&self, path: &str) -> bool {
        if self.always.iter().any(|always| always == path) {
            return true;
        }
        let full = if self.below.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.below)
        };
        let mut watched = false;
        let mut matched = Matched::default();
        let ends = full.match_indices('/').map(|(at, _)| at).chain([full.len()]);
        for end in ends {
            (watched, matched) = self
                .rules
                .leaves_out(full.get(..end).unwrap_or_default(), &matched);
        }
        watched
    }
}

#[cfg(test)]
mod tests {
    use nonna_model::context::EntryKind;

    use super::*;

    fn manifest(files: &[(&str, char)]) -> ContextManifest {
        ContextManifest::new(
            files
                .iter()
                .map(|(path, content)| ContextEntry {
                    path: (*path).to_owned(),
                    kind: EntryKind::File {
                        size: 1,
                        sha256: content.to_string().repeat(64),
                        executable: false,
                    },
                })
                .collect(),
        )
    }

    fn watch(patterns: &[&str], below: &str) -> Watch {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Watch::new(&patterns, below, &["Dockerfile"]).unwrap()
    }

    #[test]
    fn only_what_is_watched_makes_a_difference() {
        let before = manifest(&[
            ("api/a", '1'),
            ("api/docs/x", '1'),
            ("web/a", '1'),
            ("Dockerfile", '1'),
        ]);
        let of = |path: &str| {
            let mut files = vec![
                ("api/a", '1'),
                ("api/docs/x", '1'),
                ("web/a", '1'),
                ("Dockerfile", '1'),
            ];
            for file in &mut files {
                if file.0 == path {
                    file.1 = '2';
                }
            }
            manifest(&files)
        };
        let watch = watch(&["api", "!api/docs"], "");
        assert!(watch.sees_no_difference(&before, &of("web/a")));
        assert!(watch.sees_no_difference(&before, &of("api/docs/x")));
        assert!(!watch.sees_no_difference(&before, &of("api/a")));
        assert!(!watch.sees_no_difference(&before, &of("Dockerfile")));
        assert!(!watch.sees_no_difference(&before, &manifest(&[("Dockerfile", '1')])));
    }

    #[test]
    fn patterns_start_from_the_manifests_folder() {
        let watch = watch(&["services/api/**/*.py"], "services/api");
        assert!(watch.watches("deep/a.py"));
        assert!(!watch.watches("README.md"));
        assert!(watch.watches("Dockerfile"));
    }
}
