//! `mix.exs`, as far as it can be read without running it.

use nonna_engine::Result;

use super::super::compiled::{is_plain, line_of};
use super::super::tree::{Tree, unclear};

/// What a project says of itself.
#[derive(Debug, Default)]
pub(super) struct Project {
    /// The name of the app; none in an umbrella.
    pub(super) app: Option<String>,
    /// The requirement of Elixir's version, and its line.
    pub(super) elixir: Option<(String, usize)>,
    /// The releases that are named.
    pub(super) releases: Vec<String>,
    pub(super) is_phoenix: bool,
    pub(super) has_dependencies: bool,
    /// Whether there is an alias `assets.deploy`.
    pub(super) has_assets_deploy: bool,
    /// Whether dependencies or apps are folders of the source.
    pub(super) needs_source: bool,
}

impl Project {
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let text = tree.text("mix.exs")?.unwrap_or_default();
        if !text.contains("use Mix.Project") {
            return Err(unclear(
                "mix.exs",
                "it is no Mix project",
                "`mix new NAME` writes one: a module with `use Mix.Project`.",
            ));
        }
        // Comments are blanked, so that lines keep their numbers.
        let plain: String = text
            .lines()
            .map(|line| {
                if line.trim_start().starts_with('#') {
                    ""
                } else {
                    line
                }
            })
            .collect::<Vec<_>>()
            .join("\n");
        let is_umbrella = plain.contains("apps_path:");
        let mut dependencies = plain.clone();
        if is_umbrella {
            for file in tree.files() {
                let parts: Vec<&str> = file.split('/').collect();
                if let ["apps", _, "mix.exs"] = parts.as_slice() {
                    dependencies.push_str(&tree.text(file)?.unwrap_or_default());
                }
            }
        }
        let atom = |key: &str| {
            let (_, rest) = plain.split_once(key)?;
            let name = rest.trim_start().strip_prefix(':')?;
            let end = name
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(name.len());
            name.get(..end).filter(|name| is_plain(name)).map(str::to_owned)
        };
        let elixir = plain.split_once("elixir:").and_then(|(_, rest)| {
            let rest = rest.trim_start().strip_prefix('"')?;
            let (version, _) = rest.split_once('"')?;
            Some((version.to_owned(), line_of(&plain, "elixir:")))
        });
        Ok(Self {
            app: atom("app:").filter(|_| !is_umbrella),
            elixir,
            releases: releases(&plain),
            is_phoenix: dependencies.contains("{:phoenix,"),
            has_dependencies: dependencies.split("{:").skip(1).any(|rest| {
                rest.split([',', '}'])
                    .nth(1)
                    .is_some_and(|second| second.contains(['"', ':']))
            }),
            has_assets_deploy: plain.contains("\"assets.deploy\""),
            needs_source: is_umbrella || dependencies.contains("path:") && dependencies.contains("{:"),
        })
    }

    /// The release that is built, and why; `None` if that is not clear.
    pub(super) fn release(&self) -> Option<(String, String)> {
        match (self.releases.as_slice(), &self.app) {
            ([only], _) => Some((only.clone(), format!("`{only}` is the only release of mix.exs"))),
            ([], Some(app)) => Some((app.clone(), format!("the release of `{app}` in mix.exs"))),
            (several, Some(app)) if several.contains(app) => Some((
                app.clone(),
                format!("of several releases, `{app}` is called like the app"),
            )),
            _ => None,
        }
    }
}

/// The names in `releases: [name: […], other: […]]`, or in the function that
/// `releases: releases()` calls.
fn releases(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("releases:") else {
        return Vec::new();
    };
    let rest = rest.trim_start();
    let list = if rest.starts_with('[') {
        Some(rest)
    } else {
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        ["defp", "def"].iter().find_map(|keyword| {
            let (_, body) = text.split_once(&format!("{keyword} {name}"))?;
            body.find('[').and_then(|at| body.get(at..))
        })
    };
    let Some(list) = list else { return Vec::new() };
    let mut depth = 0_i32;
    let mut names = Vec::new();
    let mut word = String::new();
    for c in list.chars() {
        match c {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => {
                depth -= 1;
                if depth <= 0 {
                    break;
                }
            }
            ':' if depth == 1 && is_plain(&word) => names.push(std::mem::take(&mut word)),
            _ => {}
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            word.clear();
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::releases;

    #[test]
    fn the_names_of_releases_are_found() {
        assert_eq!(
            releases("releases: [\n web: [include: [a: 1]],\n jobs: []\n ]"),
            ["web", "jobs"]
        );
        assert_eq!(
            releases("releases: releases()\n defp releases do\n [shop: [steps: [:assemble]]]\n end"),
            ["shop"]
        );
        assert!(releases("deps: deps()").is_empty());
        assert!(releases("releases: [[[[").is_empty());
    }
}
