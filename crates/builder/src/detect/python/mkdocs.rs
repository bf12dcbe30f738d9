//! MkDocs: documentation whose generator is a package of Python.

use nonna_engine::Result;

use super::super::procfile::Procfile;
use super::super::tree::Tree;
use super::super::web_server;
use super::super::writer::Writer;
use super::super::{Detector, Plan, Reference, Settings, Sign, Strength};
use super::{Packages, SCRIPTS, app};

const FILES: [&str; 2] = ["mkdocs.yml", "mkdocs.yaml"];
/// Plugins and themes, and the packages that have them, where the package has
/// another name than `mkdocs-NAME`.
const PACKAGES: [(&str, &str); 17] = [
    ("material", "mkdocs-material"),
    ("awesome-nav", "mkdocs-awesome-nav"),
    ("awesome-pages", "mkdocs-awesome-pages-plugin"),
    ("exclude", "mkdocs-exclude"),
    ("gen-files", "mkdocs-gen-files"),
    ("git-authors", "mkdocs-git-authors-plugin"),
    ("git-revision-date", "mkdocs-git-revision-date-plugin"),
    (
        "git-revision-date-localized",
        "mkdocs-git-revision-date-localized-plugin",
    ),
    ("glightbox", "mkdocs-glightbox"),
    ("include-markdown", "mkdocs-include-markdown-plugin"),
    ("literate-nav", "mkdocs-literate-nav"),
    ("macros", "mkdocs-macros-plugin"),
    ("mermaid2", "mkdocs-mermaid2-plugin"),
    ("minify", "mkdocs-minify-plugin"),
    ("mkdocstrings", "mkdocstrings[python]"),
    ("redirects", "mkdocs-redirects"),
    ("section-index", "mkdocs-section-index"),
];

/// A `mkdocs.yml`.
pub(in super::super) struct MkDocs;

/// What a mkdocs.yml says, as far as a build has to know it. It is not parsed:
/// tags of Python's own are usual in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Config {
    site_dir: Option<String>,
    /// The theme and the plugins.
    uses: Vec<String>,
}

impl Config {
    fn read(text: &str) -> Self {
        let mut config = Self::default();
        let mut section = "";
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let entry = line.trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let plain = |value: &str| {
                let value = value.trim().trim_matches(['"', '\'']);
                let harmless = !value.is_empty()
                    && !value.starts_with('/')
                    && value.split('/').all(|part| part != "..")
                    && value
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
                harmless.then(|| value.trim_end_matches('/').to_owned())
            };
            if !line.starts_with([' ', '-']) {
                let (key, value) = entry.split_once(':').unwrap_or((entry, ""));
                section = match key {
                    "theme" | "plugins" => key,
                    _ => "",
                };
                match key {
                    "site_dir" => config.site_dir = plain(value),
                    "theme" => config.uses.extend(plain(value)),
                    _ => {}
                }
            } else if section == "theme" {
                config.uses.extend(entry.strip_prefix("name:").and_then(plain));
            } else if section == "plugins"
                && let Some(item) = entry.strip_prefix("- ")
            {
                config.uses.extend(plain(
                    item.trim_end_matches(':').split(':').next().unwrap_or_default(),
                ));
            }
        }
        config
    }

    /// The packages that have what it uses.
    fn packages(&self) -> String {
        let all: Vec<&str> = PACKAGES
            .iter()
            .filter(|(name, _)| self.uses.iter().any(|used| used == name))
            .map(|(_, package)| *package)
            .collect();
        std::iter::once("mkdocs<2")
            .chain(all)
            .map(|package| format!("{package}\n"))
            .collect()
    }
}

impl Detector for MkDocs {
    fn name(&self) -> &'static str {
        "mkdocs"
    }

    fn looks_for(&self) -> &'static str {
        "mkdocs.yml"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "MkDocs",
            managers: vec![[
                "as for [Python](#python)".into(),
                "a manifest that names `mkdocs` or a theme of it".into(),
                "the same way; without one: `mkdocs`, and the packages of the theme and of common plugins"
                    .into(),
            ]],
            start: vec!["the pages, by nginx: `site_dir`, else `site`".into()],
            images: "`python:VERSION-slim` builds; nginx serves.".into(),
            caches: "The downloads and wheels of pip, uv, Poetry and Pipenv.".into(),
            notes: vec![
                "`mkdocs build` builds.".into(),
                "Documentation beside an app is no site: what starts the app goes first.".into(),
            ],
            ..Reference::default()
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        let Some(file) = tree.first(&FILES) else {
            return Ok(None);
        };
        let is_app = tree.has("manage.py")
            || tree.first(&SCRIPTS).is_some()
            || Procfile::read(tree).map_or(true, |procfile| procfile.is_some())
            || Packages::read(tree)
                .and_then(|packages| app::find(tree, &packages.requirements))
                .map_or(true, |found| found.is_some());
        let strength = if is_app { Strength::Packages } else { Strength::App };
        Ok(Some(Sign::new(strength, file)))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let file = tree.first(&FILES).unwrap_or(FILES[0]);
        let config = Config::read(&tree.text(file)?.unwrap_or_default());
        let mut packages = Packages::read(tree)?;
        let named = ["mkdocs", "mkdocs-material", "zensical"]
            .iter()
            .any(|name| packages.requirements.installs(name));
        if !named {
            packages.only_these(config.packages(), file);
        }
        let version = packages.version(tree)?;
        let mut writer = Writer::new(settings);
        packages.stage(&mut writer, &version);
        writer.copy_source();
        writer.build(&[], "/opt/venv/bin/mkdocs build", &format!("there is {file}"));
        let folder = config.site_dir.unwrap_or_else(|| "site".to_owned());
        let (written, page_server) = web_server::serve_site(writer, settings, &folder, "MkDocs");
        let found = packages.requirements.found.as_deref().filter(|_| named);
        let found = found.map_or_else(|| file.to_owned(), |found| format!("{file}, {found}"));
        let mut plan = Plan::new(self.name(), found, written);
        plan.framework = Some("MkDocs".to_owned());
        plan.versions = vec![version];
        plan.files = packages.generated().into_iter().chain([page_server]).collect();
        plan.notes = packages.notes();
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{golden, plan};

    #[test]
    fn themes_and_plugins_are_installed_without_a_manifest() {
        insta::assert_snapshot!(golden(&[
            (
                "mkdocs.yml",
                "site_name: Docs\nsite_dir: out # here\ntheme:\n  name: material\n  features:\n    - x\nplugins:\n  - search\n  - minify:\n      minify_html: true\nmarkdown_extensions:\n  - pymdownx.emoji:\n      emoji_index: !!python/name:material.extensions.emoji.twemoji\n"
            ),
            ("docs/index.md", "# Docs\n"),
        ]));
    }

    #[test]
    fn a_manifest_that_names_it_is_what_is_installed() {
        let plan = plan(&[
            ("mkdocs.yml", "site_name: Docs\ntheme: readthedocs\n"),
            ("requirements.txt", "mkdocs==1.6.1\n"),
        ])
        .unwrap();
        assert_eq!(plan.name, "mkdocs");
        assert!(
            plan.dockerfile.contains("install -r requirements.txt"),
            "{}",
            plan.dockerfile
        );
        assert!(
            plan.dockerfile.contains("/app/site/ /srv/"),
            "{}",
            plan.dockerfile
        );
    }

    #[test]
    fn an_app_with_documentation_is_an_app() {
        let name = |files: &[(&str, &str)]| {
            let mut all = vec![("mkdocs.yml", "site_name: Docs\n")];
            all.extend(files);
            plan(&all).unwrap().name
        };
        assert_eq!(
            name(&[
                (
                    "pyproject.toml",
                    "[project]\nname='x'\ndependencies=['fastapi','uvicorn']\n"
                ),
                ("src/x/main.py", "app = FastAPI()\n"),
            ]),
            "python"
        );
        assert_eq!(
            name(&[("go.mod", "module x\n"), ("main.go", "package main\n")]),
            "go"
        );
        assert_eq!(
            name(&[("package.json", r#"{"devDependencies":{"prettier":"3"}}"#)]),
            "mkdocs"
        );
    }
}
