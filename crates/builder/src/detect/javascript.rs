//! The JavaScript beside an app of another language: what compiles its assets.

use nonna_engine::Result;

use super::Cache;
use super::base_images::{self, NODES};
use super::tree::Tree;
use super::writer::Writer;

const NPM: Cache = Cache::shared("npm", "/root/.npm");
const YARN: Cache = Cache::locked("yarn", "/root/.cache/yarn");
const PNPM: Cache = Cache::locked("pnpm", "/root/.local/share/pnpm/store");

/// A `package.json` beside an app.
pub(super) struct JavaScript {
    folder: String,
    files: Vec<&'static str>,
    command: &'static str,
    why: &'static str,
    cache: Cache,
    is_corepack: bool,
}

impl JavaScript {
    /// That of a folder, if it has one.
    ///
    /// # Errors
    /// A lockfile that cannot be read.
    pub(super) fn read(tree: &Tree<'_>, folder: &str) -> Result<Option<Self>> {
        let at = |file: &str| {
            if folder.is_empty() {
                file.to_owned()
            } else {
                format!("{folder}/{file}")
            }
        };
        if !tree.has(&at("package.json")) {
            return Ok(None);
        }
        let (lock, command, why, cache) = if tree.has(&at("package-lock.json")) {
            (
                Some("package-lock.json"),
                "npm ci",
                "package-lock.json names the packages",
                NPM,
            )
        } else if tree.has(&at("pnpm-lock.yaml")) {
            (
                Some("pnpm-lock.yaml"),
                "pnpm install --frozen-lockfile",
                "pnpm-lock.yaml names the packages",
                PNPM,
            )
        } else if let Some(text) = tree.text(&at("yarn.lock"))? {
            let command = if text.contains("__metadata:") {
                "yarn install --immutable"
            } else {
                "yarn install --frozen-lockfile"
            };
            (Some("yarn.lock"), command, "yarn.lock names the packages", YARN)
        } else {
            (None, "npm install", "package.json names the packages", NPM)
        };
        let mut files = vec!["package.json"];
        files.extend(lock);
        files.extend(
            [".npmrc", ".yarnrc.yml"]
                .into_iter()
                .filter(|file| tree.has(&at(file))),
        );
        Ok(Some(Self {
            folder: folder.to_owned(),
            files,
            command,
            why,
            cache,
            is_corepack: !command.starts_with("npm"),
        }))
    }

    /// The stage that Node.js is taken from: before the one that builds.
    pub(super) fn stage(writer: &mut Writer<'_>) {
        writer.build_stage(&base_images::node(NODES[0]), "node");
    }

    /// Puts Node.js into the stage that builds, and installs the packages.
    pub(super) fn install(&self, writer: &mut Writer<'_>) {
        const MODULES: &str = "/usr/local/lib/node_modules";
        writer
            .copy_from("node", "/usr/local/bin/node", "/usr/local/bin/node", None)
            .copy_from("node", MODULES, MODULES, None);
        let mut links = format!(
            "ln -s {MODULES}/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s {MODULES}/npm/bin/npx-cli.js /usr/local/bin/npx"
        );
        if self.is_corepack {
            links.push_str(&format!(
                " && ln -s {MODULES}/corepack/dist/corepack.js /usr/local/bin/corepack && corepack enable"
            ));
        }
        writer.run(&[], &links);
        if writer.install_is_overruled() {
            // The user's own command has run by now, and installs all there is.
            return;
        }
        let files: Vec<String> = self
            .files
            .iter()
            .map(|file| {
                if self.folder.is_empty() {
                    (*file).to_owned()
                } else {
                    format!("{}/{file}", self.folder)
                }
            })
            .collect();
        writer.copy_in_place(&files);
        let command = if self.folder.is_empty() {
            self.command.to_owned()
        } else {
            format!("cd {} && {}", self.folder, self.command)
        };
        writer.install(&[self.cache], &command, self.why);
    }
}
