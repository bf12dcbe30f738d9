//! `composer.json` and `composer.lock`, as far as a build has to know them.

use std::collections::BTreeSet;

use nonna_engine::Result;
use nonna_model::context::printable;
use serde_json::Value;

use super::super::tree::{Tree, unclear};
use super::super::version::{Dialect, Range};

const MANIFEST: &str = "composer.json";
const LOCK: &str = "composer.lock";

/// What Composer's files say.
#[derive(Debug, Default)]
pub(super) struct Composer {
    /// The names of the packages: all of the lock, or those that are asked for.
    packages: BTreeSet<String>,
    /// The extensions of PHP that they and the app need, without `ext-`.
    extensions: BTreeSet<String>,
    /// What the app asks of PHP, as it stands there.
    pub(super) php: Option<String>,
    /// What the app and its packages ask of PHP.
    pub(super) ranges: Vec<Range>,
    /// Whether there is a composer.json.
    pub(super) exists: bool,
    /// Whether there is a lock.
    pub(super) is_locked: bool,
    /// Whether packages are folders of the source.
    pub(super) needs_source: bool,
    /// Whether packages come from repositories of git.
    pub(super) needs_git: bool,
    /// Whether any package is installed, or an autoloader is to be written.
    pub(super) has_work: bool,
}

impl Composer {
    /// Reads what there is.
    ///
    /// # Errors
    /// A file that is no JSON.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let mut composer = Self::default();
        let Some(manifest) = json(tree, MANIFEST)? else {
            return Ok(composer);
        };
        composer.exists = true;
        composer.needs(&manifest["require"]);
        composer.php = manifest["require"]["php"].as_str().map(str::to_owned);
        for repository in items(&manifest["repositories"]) {
            match repository["type"].as_str() {
                Some("path") => composer.needs_source = true,
                Some("vcs" | "git" | "github" | "gitlab") => composer.needs_git = true,
                _ => {}
            }
        }
        composer.has_work = manifest["require"]
            .as_object()
            .is_some_and(|all| all.keys().any(|name| name.contains('/')))
            || manifest["autoload"].is_object()
            || manifest["scripts"].is_object();
        if let Some(lock) = json(tree, LOCK)? {
            composer.is_locked = true;
            for package in items(&lock["packages"]) {
                composer
                    .packages
                    .extend(package["name"].as_str().map(str::to_owned));
                composer.needs(&package["require"]);
                // Without an archive it can only be cloned.
                let cloned = package["dist"].is_null() && package["type"] != "metapackage";
                composer.needs_git |= cloned && package["source"]["type"] == "git";
            }
        }
        Ok(composer)
    }

    /// Takes what a list of requirements asks for.
    fn needs(&mut self, require: &Value) {
        for (name, range) in require.as_object().into_iter().flatten() {
            if let Some(extension) = name.strip_prefix("ext-") {
                self.extensions.insert(extension.to_ascii_lowercase());
            } else if name == "php" {
                let range = range
                    .as_str()
                    .and_then(|text| Range::parse(text, Dialect::Composer));
                self.ranges.extend(range);
            } else if name.contains('/') {
                self.packages.insert(name.clone());
            }
        }
    }

    /// Whether a package is needed.
    pub(super) fn has(&self, package: &str) -> bool {
        self.packages.contains(package)
    }

    /// The extensions that are named, whatever has them.
    pub(super) fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions.iter().map(String::as_str)
    }

    /// The files that decide what is installed.
    pub(super) fn files(tree: &Tree<'_>) -> Vec<&'static str> {
        [MANIFEST, LOCK, "symfony.lock", "auth.json"]
            .into_iter()
            .filter(|file| tree.has(file))
            .collect()
    }
}

fn json(tree: &Tree<'_>, file: &str) -> Result<Option<Value>> {
    let Some(text) = tree.text(file)? else {
        return Ok(None);
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        unclear(
            file,
            &printable(&error.to_string()),
            "`composer validate` says whether Composer can read it.",
        )
    })?;
    Ok(Some(value))
}

/// The values of a list, or of an object whose keys say nothing.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        Value::Object(all) => all.values().collect(),
        _ => Vec::new(),
    }
}
