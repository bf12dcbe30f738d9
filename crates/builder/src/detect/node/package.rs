//! `package.json`.

use std::collections::BTreeMap;

use nonna_engine::Result;
use serde::Deserialize;

use super::super::start::Start;
use super::super::tree::{Place, Tree, unclear};

/// What an app is started from when `package.json` does not say it.
pub(super) const ENTRIES: [&str; 6] = [
    "server.js",
    "index.js",
    "app.js",
    "main.js",
    "server.mjs",
    "index.mjs",
];
/// What answers requests by itself: an app that has one of these is no mere
/// folder of files, whatever builds its pages.
const SERVERS: [&str; 9] = [
    "express",
    "fastify",
    "koa",
    "@hapi/hapi",
    "hono",
    "polka",
    "restify",
    "@nestjs/core",
    "elysia",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Package {
    pub(super) name: Option<String>,
    pub(super) scripts: BTreeMap<String, String>,
    pub(super) main: Option<String>,
    pub(super) engines: serde_json::Value,
    pub(super) dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "devDependencies")]
    pub(super) dev_dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "optionalDependencies")]
    pub(super) optional_dependencies: BTreeMap<String, serde_json::Value>,
    pub(super) workspaces: Option<serde_json::Value>,
    /// `pnpm@9.12.0+sha512.…`, as corepack reads it.
    #[serde(rename = "packageManager")]
    pub(super) package_manager: Option<String>,
}

impl Package {
    /// That of a folder.
    ///
    /// # Errors
    /// A file that is no `package.json`.
    pub(in super::super) fn read(place: &Place<'_>) -> Result<Self> {
        let text = place.text("package.json")?.unwrap_or_default();
        serde_json::from_str(&text).map_err(|error| {
            unclear(
                &place.at("package.json"),
                &error.to_string(),
                "Mend the file: `npm pkg get` says whether npm can read it.",
            )
        })
    }

    pub(super) fn has_dependencies(&self) -> bool {
        !(self.dependencies.is_empty()
            && self.dev_dependencies.is_empty()
            && self.optional_dependencies.is_empty())
    }

    /// Whether it depends on this package, to run or to be built.
    pub(in super::super) fn needs(&self, package: &str) -> bool {
        self.dependencies.contains_key(package) || self.dev_dependencies.contains_key(package)
    }

    /// Whether it has a web server among its dependencies.
    pub(super) fn is_server(&self) -> bool {
        SERVERS
            .iter()
            .any(|server| self.dependencies.contains_key(*server))
    }

    pub(in super::super) fn script(&self, name: &str) -> Option<&str> {
        self.scripts.get(name).map(String::as_str)
    }

    /// Whether installing runs files of the app's own, so that they must be
    /// there before.
    pub(in super::super) fn installs_with_source(&self) -> bool {
        let hooks = ["preinstall", "install", "postinstall", "prepare"];
        hooks.iter().any(|script| self.scripts.contains_key(*script))
            || self.workspaces.is_some()
            || [
                &self.dependencies,
                &self.dev_dependencies,
                &self.optional_dependencies,
            ]
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter_map(serde_json::Value::as_str)
            .any(|v| {
                ["file:", "link:", "portal:", "workspace:", "patch:"]
                    .iter()
                    .any(|kind| v.starts_with(kind))
            })
    }

    /// The start command, and the rule that chose it. `run` is how the package
    /// manager runs scripts.
    pub(super) fn start(&self, tree: &Tree<'_>, run: &str) -> Option<(Start, String)> {
        for name in ["start:prod", "start"] {
            let Some(script) = self.script(name) else { continue };
            let rule = format!("`scripts.{name}` in package.json");
            if self.scripts.contains_key(&format!("pre{name}"))
                || self.scripts.contains_key(&format!("post{name}"))
            {
                let start = if name == "start" {
                    Start::exec(&[run, name])
                } else {
                    Start::exec(&[run, "run", name])
                };
                return Some((start, rule));
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
