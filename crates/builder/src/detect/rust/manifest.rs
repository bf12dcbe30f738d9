//! `Cargo.toml`: the packages of a source, and the programs that they make.

use std::collections::{BTreeMap, BTreeSet};

use nonna_engine::Result;
use nonna_model::context::printable;
use serde::Deserialize;

use super::super::compiled::is_plain;
use super::super::tree::{Tree, unclear};

/// Crates that answer requests.
const SERVERS: [&str; 16] = [
    "axum",
    "actix-web",
    "rocket",
    "warp",
    "poem",
    "salvo",
    "tide",
    "ntex",
    "gotham",
    "loco-rs",
    "leptos_axum",
    "tonic",
    "hyper",
    "viz",
    "rouille",
    "tiny_http",
];

/// A package that makes programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Where it is; empty for the top.
    pub(super) folder: String,
    /// Its programs, sorted.
    pub(super) programs: Vec<String>,
    /// The one that `cargo run` runs.
    pub(super) default_run: Option<String>,
    /// A crate that it needs and that answers requests.
    pub(super) serves_with: Option<String>,
}

/// All that the manifests say.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// Those that make programs, the top one first.
    pub(super) all: Vec<Package>,
    /// Whether the top is a workspace.
    pub(super) is_workspace: bool,
    /// The oldest release of Rust that the top or a member names, and where.
    pub(super) rust_version: Option<(String, String)>,
    /// Crates that are linked into programs of a web page.
    pub(super) needs_wasm: Option<&'static str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Manifest {
    package: Option<PackageTable>,
    workspace: Option<Workspace>,
    bin: Vec<Bin>,
    dependencies: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct PackageTable {
    name: String,
    default_run: Option<String>,
    rust_version: Option<toml::Value>,
    autobins: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Workspace {
    members: Vec<String>,
    exclude: Vec<String>,
    package: Option<PackageTable>,
    metadata: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Bin {
    name: Option<String>,
    path: Option<String>,
    required_features: Vec<String>,
}

impl Packages {
    /// Reads the manifest at the top, and those of the members.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let top = read(tree, "Cargo.toml")?.unwrap_or_default();
        let mut packages = Self {
            is_workspace: top.workspace.is_some(),
            ..Self::default()
        };
        let mut folders: BTreeSet<String> = BTreeSet::new();
        if let Some(workspace) = &top.workspace {
            let version = workspace.package.as_ref().and_then(rust_version);
            packages.oldest(version, "Cargo.toml");
            if workspace.metadata.contains_key("leptos") {
                packages.needs_wasm = Some("leptos");
            }
            for file in tree.files().filter(|file| file.ends_with("/Cargo.toml")) {
                let folder = file.trim_end_matches("/Cargo.toml");
                let is_in = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, folder));
                if is_in(&workspace.members) && !is_in(&workspace.exclude) {
                    folders.insert(folder.to_owned());
                }
            }
        }
        packages.add(tree, &top, "");
        for folder in folders {
            let path = format!("{folder}/Cargo.toml");
            if let Some(manifest) = read(tree, &path)? {
                packages.add(tree, &manifest, &folder);
            }
        }
        Ok(packages)
    }

    fn add(&mut self, tree: &Tree<'_>, manifest: &Manifest, folder: &str) {
        let Some(package) = &manifest.package else { return };
        let file = join(folder, "Cargo.toml");
        self.oldest(rust_version(package), &file);
        let programs = programs(tree, manifest, package, folder);
        if programs.is_empty() || !is_plain(&package.name) {
            return;
        }
        let serves_with = SERVERS
            .iter()
            .find(|name| manifest.dependencies.contains_key(**name))
            .map(|name| (*name).to_owned());
        self.all.push(Package {
            name: package.name.clone(),
            folder: folder.to_owned(),
            default_run: package.default_run.clone().filter(|name| programs.contains(name)),
            programs,
            serves_with,
        });
    }

    /// Of several the newest decides: it is the least that all need.
    fn oldest(&mut self, version: Option<String>, file: &str) {
        let Some(version) = version else { return };
        let newer = self
            .rust_version
            .as_ref()
            .is_none_or(|(known, _)| numbers(&version) > numbers(known));
        if newer {
            self.rust_version = Some((version, file.to_owned()));
        }
    }
}

/// A version in numbers, to compare.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

fn rust_version(package: &PackageTable) -> Option<String> {
    // `rust-version.workspace = true` is a table.
    package
        .rust_version
        .as_ref()
        .and_then(toml::Value::as_str)
        .map(str::to_owned)
}

fn read(tree: &Tree<'_>, path: &str) -> Result<Option<Manifest>> {
    let Some(text) = tree.text(path)? else {
        return Ok(None);
    };
    toml::from_str(&text).map(Some).map_err(|error| {
        unclear(
            path,
            &printable(error.to_string().trim()),
            "Mend the file: `cargo metadata` says whether Cargo can read it.",
        )
    })
}

/// The programs that Cargo finds: those that are named, and those of the usual
/// places. See <https://doc.rust-lang.org/cargo/reference/cargo-targets.html>.
fn programs(tree: &Tree<'_>, manifest: &Manifest, package: &PackageTable, folder: &str) -> Vec<String> {
    let mut programs = BTreeSet::new();
    let mut known: Vec<String> = Vec::new();
    for bin in &manifest.bin {
        let Some(name) = &bin.name else { continue };
        let usual = || {
            [format!("src/bin/{name}.rs"), format!("src/bin/{name}/main.rs")]
                .into_iter()
                .find(|path| tree.has(&join(folder, path)))
                .unwrap_or_else(|| "src/main.rs".to_owned())
        };
        known.push(bin.path.clone().unwrap_or_else(usual));
        // Without its features it is not built.
        if bin.required_features.is_empty() {
            programs.insert(name.clone());
        }
    }
    if package.autobins != Some(false) {
        if tree.has(&join(folder, "src/main.rs")) && !known.iter().any(|path| path == "src/main.rs") {
            programs.insert(package.name.clone());
        }
        let bins = join(folder, "src/bin/");
        for file in tree.files() {
            let Some(rest) = file.strip_prefix(&bins) else {
                continue;
            };
            let name = match rest.split_once('/') {
                Some((name, "main.rs")) => name,
                Some(_) => continue,
                None => match rest.strip_suffix(".rs") {
                    Some(name) => name,
                    None => continue,
                },
            };
            if !known.iter().any(|path| join(folder, path) == file) {
                programs.insert(name.to_owned());
            }
        }
    }
    programs.into_iter().filter(|name| is_plain(name)).collect()
}

pub(super) fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() {
        file.to_owned()
    } else {
        format!("{folder}/{file}")
    }
}

/// Whether a folder fits a pattern of members: `crates/*`, `apps/**`, `api`.
fn fits(pattern: &str, folder: &str) -> bool {
    let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
    let mut folders = folder.split('/');
    for part in pattern.split('/') {
        if part == "**" {
            return true;
        }
        match folders.next() {
            Some(name) if part_fits(part, name) => {}
            _ => return false,
        }
    }
    folders.next().is_none()
}

/// `*` stands for any text within one name.
fn part_fits(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            match rest.find(before) {
                Some(at) => rest = rest.get(at + before.len()..).unwrap_or_default(),
                None => return false,
            }
        }
    }
    match last {
        None => rest.is_empty(),
        Some(last) => rest.ends_with(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_patterns() {
        for (pattern, folder, expected) in [
            ("crates/*", "crates/a", true),
            ("crates/*", "crates/a/b", false),
            ("./api/", "api", true),
            ("apps/**", "apps/a/b", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("a*b*c", "axxbyyc", true),
            ("api", "apis", false),
        ] {
            assert_eq!(fits(pattern, folder), expected, "{pattern} {folder}");
        }
    }
}
