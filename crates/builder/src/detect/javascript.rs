//! The JavaScript beside an app of another language: what compiles its assets.
//! Which package manager installs it is for the same rules to say as for an
//! app of Node.js.

use nonna_engine::Result;

use super::base_images;
use super::node::manager::{Kind, Manager};
use super::node::package::Package;
use super::node::version;
use super::tree::Tree;
use super::version::Version;
use super::writer::Writer;
use super::{Cache, SOURCE_FOLDER};

/// Where Node.js's own image has the global packages.
const MODULES: &str = "/usr/local/lib/node_modules";

/// A `package.json` beside an app.
pub(super) struct JavaScript {
    folder: String,
    package: Package,
    manager: Manager,
    /// What decides on what is installed: files, and folders.
    files: Vec<String>,
    folders: Vec<String>,
    /// Of Node.js, or of Bun.
    version: Version,
}

impl JavaScript {
    /// That of a folder, if it has one.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub(super) fn read(tree: &Tree<'_>, folder: &str) -> Result<Option<Self>> {
        let place = tree.place(folder);
        if !place.has("package.json") {
            return Ok(None);
        }
        let package = Package::read(&place)?;
        let manager = Manager::of(&place, &package)?;
        let version = if manager.kind == Kind::Bun {
            manager.bun()
        } else {
            version::choose(tree, &package)?
        };
        Ok(Some(Self {
            folder: folder.to_owned(),
            files: manager
                .files(&place)
                .into_iter()
                .map(|file| place.at(file))
                .collect(),
            folders: manager
                .folders(&place)
                .into_iter()
                .map(|name| place.at(name))
                .collect(),
            package,
            manager,
            version,
        }))
    }

    /// Whether there is such a script.
    pub(super) fn has_script(&self, name: &str) -> bool {
        self.package.script(name).is_some()
    }

    /// What runs a script of the package, and why, and with which cache.
    pub(super) fn script(&self, name: &str) -> (String, String, Cache) {
        (
            self.in_folder(&format!("{} run {name}", self.manager.kind.name())),
            format!("`scripts.{name}` in package.json"),
            self.manager.cache(),
        )
    }

    /// The versions that build, for the explanation.
    pub(super) fn versions(&self) -> Vec<Version> {
        if self.manager.kind == Kind::Bun {
            vec![self.version.clone()]
        } else {
            std::iter::once(self.version.clone())
                .chain(self.manager.version.clone())
                .collect()
        }
    }

    /// The stage that Node.js or Bun is taken from: before the one that builds.
    pub(super) fn stage(&self, writer: &mut Writer<'_>) {
        let image = if self.manager.kind == Kind::Bun {
            base_images::bun(&self.version.version)
        } else {
            base_images::node(&self.version.version)
        };
        writer.build_stage(&image, "node");
    }

    /// Puts Node.js or Bun into the stage that builds, and installs the
    /// packages.
    pub(super) fn install(&self, writer: &mut Writer<'_>) {
        if self.manager.kind == Kind::Bun {
            writer
                .copy_from("node", "/usr/local/bin/bun", "/usr/local/bin/bun", None)
                // Scripts of packages ask for Node.js by its name.
                .run(
                    &[],
                    "ln -s bun /usr/local/bin/bunx && ln -s bun /usr/local/bin/node",
                );
        } else {
            writer
                .copy_from("node", "/usr/local/bin/node", "/usr/local/bin/node", None)
                .copy_from("node", MODULES, MODULES, None)
                .run(
                    &[],
                    &format!(
                        "ln -s {MODULES}/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s {MODULES}/npm/bin/npx-cli.js /usr/local/bin/npx"
                    ),
                );
        }
        self.install_packages(writer);
    }

    /// Installs the packages where Node.js or Bun is.
    pub(super) fn install_packages(&self, writer: &mut Writer<'_>) {
        if !self.manager.environment().is_empty() {
            writer.environment(self.manager.environment());
        }
        if let Some((command, cache)) = self.manager.setup() {
            writer.run(&[cache], &command);
        }
        if writer.install_is_overruled() {
            // The user's own command has run by now, and installs all there is.
            return;
        }
        if self.package.installs_with_source() {
            writer.copy_source();
        } else {
            writer.copy_in_place(&self.files);
            for folder in &self.folders {
                writer.line(&format!("COPY {SOURCE_FOLDER}/{folder}/ ./{folder}/"));
            }
        }
        let command = self.in_folder(&self.manager.install(true));
        writer.install(&[self.manager.cache()], &command, &self.manager.why);
    }

    fn in_folder(&self, command: &str) -> String {
        if self.folder.is_empty() {
            command.to_owned()
        } else {
            format!("cd {} && {command}", self.folder)
        }
    }
}
