//! What a failure's explanation needs of a Dockerfile: its lines.

/// A Dockerfile, as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Dockerfile {
    /// Its path in the context.
    pub(super) path: String,
    /// Whether it is ours.
    pub(super) generated: bool,
    /// Which versions it uses, and which files ask for them, if it is ours.
    pub(super) versions: Vec<String>,
    lines: Vec<String>,
}

impl Dockerfile {
    pub(super) fn new(path: &str, text: &str, generated: bool) -> Self {
        Self {
            path: path.to_owned(),
            generated,
            versions: Vec::new(),
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The same with the versions that it uses.
    pub(super) fn using(mut self, versions: impl Iterator<Item = String>) -> Self {
        self.versions = versions.collect();
        self
    }

    /// The line of this number, from 1.
    pub(super) fn line(&self, number: usize) -> Option<&str> {
        self.lines.get(number.checked_sub(1)?).map(|line| line.trim())
    }

    /// The `FROM` line whose image the engine's words are about, with its
    /// number and the image.
    pub(super) fn base_line_in(&self, words: &str) -> Option<(usize, &str)> {
        self.lines
            .iter()
            .enumerate()
            .filter_map(|(number, line)| Some((number + 1, image_of(line)?)))
            .find(|(_, image)| {
                let full = full_reference(image);
                words.contains(&full)
                    || full
                        .strip_suffix(":latest")
                        .is_some_and(|short| words.contains(short))
            })
    }

    /// The `# syntax=` line, if it begins with one.
    pub(super) fn syntax(&self) -> Option<&str> {
        let first = self.lines.first()?.trim().strip_prefix('#')?.trim_start();
        Some(
            first
                .strip_prefix("syntax")?
                .trim_start()
                .strip_prefix('=')?
                .trim(),
        )
    }
}

/// The image of a `FROM` line.
fn image_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if !first.eq_ignore_ascii_case("from") {
        return None;
    }
    words.find(|word| !word.starts_with("--"))
}

/// A reference as engines write it: with registry and tag.
fn full_reference(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let is_registry = first.contains('.') || first.contains(':') || first == "localhost";
    let named = match (is_registry, first.is_empty()) {
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/library/{rest}"),
        (false, false) => format!("docker.io/{image}"),
    };
    let name = named.rsplit('/').next().unwrap_or_default();
    if name.contains(':') || name.contains('@') {
        named
    } else {
        format!("{named}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_from_line_is_found_by_what_the_engine_calls_it() {
        let file = Dockerfile::new(
            "Dockerfile",
            "# syntax = docker/dockerfile:1\nARG X\nFROM --platform=linux/amd64 node:22 AS build\nFROM me/app\nfrom 127.0.0.1:5000/x:1\n",
            false,
        );
        let from = |words: &str| file.base_line_in(words);
        assert_eq!(from("docker.io/library/node:22: not found"), Some((3, "node:22")));
        assert_eq!(from("docker.io/me/app:latest: not found"), Some((4, "me/app")));
        assert_eq!(
            from("pull access denied for docker.io/me/app"),
            Some((4, "me/app"))
        );
        assert_eq!(
            from("127.0.0.1:5000/x:1: not found"),
            Some((5, "127.0.0.1:5000/x:1"))
        );
        assert_eq!(from("something else"), None);
        assert_eq!(file.syntax(), Some("docker/dockerfile:1"));
        assert_eq!(file.line(2), Some("ARG X"));
        assert_eq!(file.line(0), None);
    }
}
