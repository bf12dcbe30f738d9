//! Node.js, with npm.

use std::collections::BTreeMap;

use nonna_engine::Result;
use serde::Deserialize;

use super::base_images::{self, NODE, NODES};
use super::procfile::Procfile;
use super::start::Start;
use super::tree::{Tree, unclear};
use super::{Detector, Plan, SOURCE_FOLDER, Settings, incomplete};

/// What an app is started from when `package.json` does not say it.
const ENTRIES: [&str; 6] = [
    "server.js",
    "index.js",
    "app.js",
    "main.js",
    "server.mjs",
    "index.mjs",
];
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

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<String>> {
        if !tree.has("package.json") {
            return Ok(None);
        }
        // Beside another language a package.json often only has its tools.
        let package = Package::read(tree)?;
        let has_other = tree.has("manage.py") || tree.has("requirements.txt") || tree.has("pyproject.toml");
        if has_other && package.start(tree).is_none() {
            return Ok(None);
        }
        Ok(Some("package.json".to_owned()))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let package = Package::read(tree)?;
        let (version, why) = version(tree, &package)?;
        let mut notes = vec![format!("Node.js {version}: {why}")];
        let procfile = Procfile::read(tree)?;
        if let Some(procfile) = &procfile {
            notes.extend(procfile.notes());
        }
        let web = procfile
            .and_then(|procfile| procfile.web)
            .map(|web| (web, "`web` in the Procfile".to_owned()));
        let (start, rule) = web.or_else(|| package.start(tree)).ok_or_else(|| {
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
        let image = base_images::node(&version);
        let dockerfile = dockerfile(tree, &package, settings, &image, lockfile, &start);
        Ok(Plan {
            name: self.name(),
            found: lockfile.map_or_else(
                || "package.json".to_owned(),
                |lock| format!("package.json, {lock}"),
            ),
            rule,
            start,
            port: settings.port(),
            dockerfile,
            base_images: vec![image],
            files: Vec::new(),
            without_hidden: false,
            notes,
        })
    }
}

fn dockerfile(
    tree: &Tree<'_>,
    package: &Package,
    settings: &Settings,
    image: &str,
    lockfile: Option<&str>,
    start: &Start,
) -> String {
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
    let mounts = settings.mounts("npm", "/root/.npm");
    let install = if lockfile.is_some() {
        "npm ci"
    } else {
        "npm install"
    };
    let omit = if builds { "" } else { " --omit=dev" };
    let mut text = format!(
        "FROM {image} AS build\n\
         WORKDIR /app\n\
         ENV npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false\n\
         {}",
        settings.ca_environment()
    );
    if early {
        text.push_str(&format!("COPY {SOURCE_FOLDER}/ ./\n"));
    } else {
        let files: Vec<String> = std::iter::once("package.json")
            .chain(lockfile)
            .chain(tree.first(&[".npmrc"]))
            .map(|file| format!("{SOURCE_FOLDER}/{file}"))
            .collect();
        text.push_str(&format!("COPY {} ./\n", files.join(" ")));
    }
    if package.has_dependencies() || early {
        text.push_str(&format!("RUN {mounts} {install}{omit}\n"));
    }
    if !early {
        text.push_str(&format!("COPY {SOURCE_FOLDER}/ ./\n"));
    }
    if builds {
        text.push_str(&format!("RUN {mounts} npm run build\n"));
        if package.has_dependencies() {
            text.push_str(&format!("RUN {mounts} npm prune --omit=dev\n"));
        }
    }
    let port = settings.port();
    text.push_str(&format!(
        "FROM {image}\n\
         ENV NODE_ENV=production PORT={port} PATH=/app/node_modules/.bin:$PATH\n\
         WORKDIR /app\n\
         COPY --from=build --chown=node:node /app ./\n\
         USER node\n\
         EXPOSE {port}\n\
         {}\n",
        start.cmd()
    ));
    text
}

/// The tag's version, and why.
fn version(tree: &Tree<'_>, package: &Package) -> Result<(String, String)> {
    for file in [".nvmrc", ".node-version"] {
        if let Some(line) = tree.first_line(file)? {
            let version = from_file(&line).ok_or_else(|| {
                unclear(
                    file,
                    &format!(
                        "`{}` is no version of Node.js",
                        nonna_model::context::printable(&line)
                    ),
                    "Write a version such as `22` or `22.11.0`, or `lts/*`.",
                )
            })?;
            return Ok((version, format!("{file} asks for it")));
        }
    }
    let range = package.engines.get("node").and_then(serde_json::Value::as_str);
    let Some(range) = range.map(str::trim).filter(|range| !range.is_empty()) else {
        return Ok((NODE.to_string(), "nothing asks for another".to_owned()));
    };
    let why = format!("`engines.node` is `{range}`");
    if let Some(major) = NODES.iter().find(|major| allows(range, **major)) {
        return Ok((major.to_string(), why));
    }
    // None of the supported ones: the one that is named, whatever it is.
    numbers(range)
        .map(|numbers| (numbers.0.to_string(), why))
        .ok_or_else(|| {
            unclear(
                "package.json",
                &format!(
                    "`engines.node` is `{}`, which no Node.js fits",
                    nonna_model::context::printable(range)
                ),
                "Write a range such as `>=22` or `22.x`.",
            )
        })
}

fn from_file(line: &str) -> Option<String> {
    let line = line.trim();
    match line {
        "node" | "stable" | "lts/*" | "lts" => return Some(NODE.to_string()),
        "lts/krypton" => return Some("24".to_owned()),
        "lts/jod" => return Some("22".to_owned()),
        "lts/iron" => return Some("20".to_owned()),
        "lts/hydrogen" => return Some("18".to_owned()),
        _ => {}
    }
    let version = line.trim_start_matches('v');
    let parts: Vec<&str> = version.split('.').collect();
    let ok = parts.len() <= 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.len() < 5 && part.bytes().all(|b| b.is_ascii_digit()));
    ok.then(|| version.to_owned())
}

/// Major, minor and patch, as far as they are given.
fn numbers(text: &str) -> Option<(u32, Option<u32>, Option<u32>)> {
    let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let mut parts = text.get(..end)?.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next().flatten(), parts.next().flatten()))
}

/// Whether the newest release of this major version fits an npm range.
fn allows(range: &str, major: u32) -> bool {
    range.split("||").any(|alternative| {
        let alternative = alternative.trim();
        if let Some((from, to)) = alternative.split_once(" - ") {
            return numbers(from).is_none_or(|from| major >= from.0)
                && numbers(to).is_none_or(|to| major <= to.0);
        }
        // `>= 18` is one comparator, however it is spaced.
        let mut glued = alternative.to_owned();
        for operator in [">=", "<=", ">", "<", "=", "^", "~"] {
            while glued.contains(&format!("{operator} ")) {
                glued = glued.replace(&format!("{operator} "), operator);
            }
        }
        glued.split_whitespace().all(|comparator| fits(comparator, major))
    })
}

fn fits(comparator: &str, major: u32) -> bool {
    let Some((number, minor, patch)) = numbers(comparator) else {
        return matches!(comparator, "*" | "x" | "latest" | "lts/*");
    };
    if comparator.starts_with(">=") {
        major >= number
    } else if comparator.starts_with("<=") {
        // `<=20` takes all of 20; `<=20.1.0` does not take its newest.
        major < number || (major == number && minor.is_none())
    } else if comparator.starts_with('>') {
        // The newest of a major is newer than any that is named of it.
        major > number || (major == number && minor.is_some())
    } else if comparator.starts_with('<') {
        major < number
    } else if comparator.starts_with('^') || patch.is_none() && minor.is_none() {
        major == number
    } else {
        // A minor or patch version: only its own image has it.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_ranges_choose_a_supported_major() {
        for (range, expected) in [
            (">=18", Some(22)),
            (">= 18", Some(22)),
            ("^20.1.0", Some(20)),
            ("20.x", Some(20)),
            ("18 || 20", Some(20)),
            (">=18 <21", Some(20)),
            (">=18.0.0 <=20", Some(20)),
            ("18 - 20", Some(20)),
            ("*", Some(22)),
            (">22", Some(24)),
            (">22.1.0", Some(22)),
            ("<20", Some(18)),
            ("16", None),
            ("~20.1.0", None),
        ] {
            assert_eq!(
                NODES.iter().copied().find(|major| allows(range, *major)),
                expected,
                "{range}"
            );
        }
    }

    #[test]
    fn version_files_are_read_as_nvm_does() {
        for (line, expected) in [
            ("22", Some("22")),
            ("v20.11.0", Some("20.11.0")),
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
