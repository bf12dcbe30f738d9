//! Node.js, with npm.

use std::collections::BTreeMap;

use nonna_engine::Result;
use nonna_model::context::printable;
use serde::Deserialize;

use super::base_images::{self, NODES};
use super::procfile::Procfile;
use super::start::Start;
use super::tree::{Tree, unclear};
use super::version::{self, Dialect, Range, asked, is_numbers};
use super::writer::{Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, Version, given_start, incomplete};

/// What an app is started from when `package.json` does not say it.
const ENTRIES: [&str; 6] = [
    "server.js",
    "index.js",
    "app.js",
    "main.js",
    "server.mjs",
    "index.mjs",
];
const NPM: Cache = Cache::shared("npm", "/root/.npm");
const LOCKFILES: [&str; 2] = ["package-lock.json", "npm-shrinkwrap.json"];
/// Lockfiles of other package managers, which are said not to be used.
const FOREIGN_LOCKFILES: [&str; 4] = ["yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"];

/// A `package.json`.
pub(super) struct Node;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Package {
    scripts: BTreeMap<String, String>,
    main: Option<String>,
    engines: serde_json::Value,
    dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "devDependencies")]
    dev_dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "optionalDependencies")]
    optional_dependencies: BTreeMap<String, serde_json::Value>,
    workspaces: Option<serde_json::Value>,
}

impl Package {
    fn read(tree: &Tree<'_>) -> Result<Self> {
        let text = tree.text("package.json")?.unwrap_or_default();
        serde_json::from_str(&text).map_err(|error| {
            unclear(
                "package.json",
                &error.to_string(),
                "Mend the file: `npm pkg get` says whether npm can read it.",
            )
        })
    }

    fn has_dependencies(&self) -> bool {
        !(self.dependencies.is_empty()
            && self.dev_dependencies.is_empty()
            && self.optional_dependencies.is_empty())
    }

    /// The start command, and the rule that chose it.
    fn start(&self, tree: &Tree<'_>) -> Option<(Start, String)> {
        if let Some(script) = self.scripts.get("start") {
            let rule = "`scripts.start` in package.json".to_owned();
            if self.scripts.contains_key("prestart") || self.scripts.contains_key("poststart") {
                return Some((Start::exec(&["npm", "start"]), rule));
            }
            return Some((Start::from_line(script), rule));
        }
        if let Some(main) = self.main.as_deref().map(|main| main.trim_start_matches("./"))
            && tree.has(main)
        {
            return Some((Start::exec(&["node", main]), "`main` in package.json".to_owned()));
        }
        let entry = tree.first(&ENTRIES)?;
        Some((Start::exec(&["node", entry]), format!("there is {entry}")))
    }
}

impl Detector for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    fn looks_for(&self) -> &'static str {
        "package.json"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Node.js",
            ..Reference::default()
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        if !tree.has("package.json") {
            return Ok(None);
        }
        // Beside another language a package.json often only has its tools.
        let starts = Package::read(tree).map_or(true, |package| package.start(tree).is_some());
        let strength = if starts { Strength::App } else { Strength::Packages };
        Ok(Some(Sign::new(strength, "package.json")))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let package = Package::read(tree)?;
        let version = version(tree, &package)?;
        let mut notes = Vec::new();
        let procfile = Procfile::read(tree)?;
        if let Some(procfile) = &procfile {
            notes.extend(procfile.notes());
        }
        let web = procfile
            .and_then(|procfile| procfile.web)
            .map(|web| (web, "`web` in the Procfile".to_owned()));
        let (start, rule) = web
            .or_else(|| package.start(tree))
            .or_else(|| given_start(settings))
            .ok_or_else(|| {
                incomplete(
                    "This is Node.js (package.json), but nothing says how to start it.",
                    format!(
                        "Add a `start` script to package.json, a line `web: COMMAND` to a Procfile, or one of {}.",
                        ENTRIES.join(", ")
                    ),
                )
            })?;
        let lockfile = tree.first(&LOCKFILES);
        if lockfile.is_none() {
            if let Some(foreign) = tree.first(&FOREIGN_LOCKFILES) {
                notes.push(format!("npm does not read {foreign}: versions may differ from yours; a Dockerfile can use your package manager"));
            } else if package.has_dependencies() {
                notes.push("no package-lock.json: every build may get other versions".to_owned());
            }
        }
        let image = base_images::node(&version.version);
        let written = dockerfile(tree, &package, settings, &image, lockfile, start, rule);
        let found = lockfile.map_or_else(
            || "package.json".to_owned(),
            |lock| format!("package.json, {lock}"),
        );
        let mut plan = Plan::new(self.name(), found, written);
        plan.versions = vec![version];
        plan.notes = notes;
        Ok(plan)
    }
}

fn dockerfile(
    tree: &Tree<'_>,
    package: &Package,
    settings: &Settings,
    image: &str,
    lockfile: Option<&str>,
    start: Start,
    rule: String,
) -> Written {
    let builds = package.scripts.contains_key("build");
    // What runs while dependencies are installed may be a file of the app's.
    let early = ["preinstall", "install", "postinstall", "prepare"]
        .iter()
        .any(|script| package.scripts.contains_key(*script))
        || package.workspaces.is_some()
        || package.dependencies.values().any(|version| {
            version
                .as_str()
                .is_some_and(|v| v.starts_with("file:") || v.starts_with("link:"))
        });
    let install = if lockfile.is_some() {
        "npm ci"
    } else {
        "npm install"
    };
    let omit = if builds { "" } else { " --omit=dev" };
    let mut writer = Writer::new(settings);
    writer
        .build_stage(image, "build")
        .line("WORKDIR /app")
        .environment(&[
            ("npm_config_update_notifier", "false"),
            ("npm_config_fund", "false"),
            ("npm_config_audit", "false"),
        ]);
    if early {
        writer.copy_source();
    } else {
        let files: Vec<&str> = std::iter::once("package.json")
            .chain(lockfile)
            .chain(tree.first(&[".npmrc"]))
            .collect();
        writer.copy_files(&files, "./");
    }
    if package.has_dependencies() || early {
        writer.install(&[NPM], &format!("{install}{omit}"), "npm's lockfile");
    }
    if !early {
        writer.copy_source();
    }
    if builds {
        writer.build(&[NPM], "npm run build", "`scripts.build` in package.json");
        if package.has_dependencies() {
            writer.run(&[NPM], "npm prune --omit=dev");
        }
    }
    let port = settings.port().to_string();
    writer
        .final_stage(image)
        .environment(&[
            ("NODE_ENV", "production"),
            ("PORT", &port),
            ("PATH", "/app/node_modules/.bin:$PATH"),
        ])
        .line("WORKDIR /app")
        .copy_from("build", "/app", "./", Some("node"));
    writer.finish("node", start, rule)
}

/// The release of Node.js.
fn version(tree: &Tree<'_>, package: &Package) -> Result<Version> {
    const WHAT: &str = "Node.js";
    if let Some(asked) = asked(tree, &[".nvmrc", ".node-version"], &["node", "nodejs"])? {
        let version = from_file(&asked.version).ok_or_else(|| {
            asked.is_no_version_of(WHAT, "Write a version such as `22` or `22.11.0`, or `lts/*`.")
        })?;
        return Ok(Version::new(WHAT, version, asked.why()));
    }
    let range = package.engines.get("node").and_then(serde_json::Value::as_str);
    let Some(text) = range.map(str::trim).filter(|range| !range.is_empty()) else {
        return Ok(Version::new(WHAT, NODES[0], "nothing asks for another"));
    };
    let why = format!("`engines.node` in package.json is `{}`", printable(text));
    // Where none of the supported lines fits: the one that is named, whatever it is.
    let range = Range::parse(text, Dialect::Npm);
    let version = range.as_ref().and_then(|range| {
        version::choose(&NODES, range)
            .map(str::to_owned)
            .or_else(|| range.named())
    });
    version
        .map(|version| Version::new(WHAT, version, why))
        .ok_or_else(|| {
            unclear(
                "package.json",
                &format!("`engines.node` is `{}`, which no Node.js fits", printable(text)),
                "Write a range such as `>=22` or `22.x`.",
            )
        })
}

/// A version as `.nvmrc` and the version managers have it.
fn from_file(line: &str) -> Option<String> {
    let line = line.trim();
    match line {
        "node" | "stable" | "lts/*" | "lts" | "latest" => return Some(NODES[0].to_owned()),
        "lts/krypton" | "lts-krypton" => return Some("24".to_owned()),
        "lts/jod" | "lts-jod" => return Some("22".to_owned()),
        "lts/iron" | "lts-iron" => return Some("20".to_owned()),
        "lts/hydrogen" | "lts-hydrogen" => return Some("18".to_owned()),
        _ => {}
    }
    let version = line.trim_start_matches('v').trim_end_matches(".x");
    (is_numbers(version) && version.split('.').count() <= 3).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_files_are_read_as_nvm_does() {
        for (line, expected) in [
            ("22", Some("22")),
            ("v20.11.0", Some("20.11.0")),
            ("20.x", Some("20")),
            ("lts/*", Some("22")),
            ("lts/iron", Some("20")),
            ("22; rm -rf /", None),
            ("", None),
            ("1.2.3.4", None),
        ] {
            assert_eq!(from_file(line).as_deref(), expected, "{line}");
        }
    }
}
