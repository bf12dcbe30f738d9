//! Node.js: npm, pnpm, Yarn and Bun, and the frameworks.

mod angular;
mod framework;
pub(super) mod manager;
pub(super) mod package;
#[cfg(test)]
mod tests;
pub(super) mod version;

use nonna_engine::Result;

use self::framework::{Framework, Output};
use self::manager::{Kind, Manager};
use self::package::{ENTRIES, Package};
use super::base_images;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::web_server::{self, Pages};
use super::writer::{Writer, Written, overruled};
use super::{Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};
use crate::context::ExtraFile;

/// Where the packages are while an image is built.
const MODULES: &str = "/app/node_modules";

/// A `package.json`.
pub(super) struct Node;

impl Detector for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    fn looks_for(&self) -> &'static str {
        "package.json"
    }

    fn reference(&self) -> Reference {
        reference()
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        if !tree.has("package.json") {
            return Ok(None);
        }
        // Beside another language a package.json often only has its tools.
        let starts = Package::read(&tree.place("")).map_or(true, |package| {
            package.start(tree, "npm").is_some() || !matches!(Framework::of(tree, &package), Ok(None))
        });
        let strength = if starts { Strength::App } else { Strength::Packages };
        Ok(Some(Sign::new(strength, "package.json")))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let package = Package::read(&tree.place(""))?;
        let manager = Manager::of(&tree.place(""), &package)?;
        let framework = Framework::of(tree, &package)?;
        let mut notes = manager.notes.clone();
        notes.extend(framework.as_ref().and_then(|one| one.note).map(str::to_owned));
        let procfile = Procfile::read(tree)?;
        if let Some(procfile) = &procfile {
            notes.extend(procfile.notes());
        }
        let web = procfile.and_then(|procfile| procfile.web);
        let output = output(tree, settings, &package, &manager, framework.as_ref(), web)?;

        let mut versions = Vec::new();
        let image = if manager.kind == Kind::Bun {
            let version = manager.bun();
            let image = base_images::bun(&version.version);
            versions.push(version);
            image
        } else {
            let version = version::choose(tree, &package)?;
            let image = base_images::node(&version.version);
            versions.push(version);
            versions.extend(manager.version.clone());
            image
        };
        let recipe = Recipe {
            tree,
            settings,
            package: &package,
            manager: &manager,
            framework: framework.as_ref(),
            image: &image,
        };
        let (written, file) = recipe.write(output);
        let found: Vec<&str> = std::iter::once("package.json").chain(manager.lockfile).collect();
        let mut plan = Plan::new(self.name(), found.join(", "), written);
        plan.framework = framework.map(|framework| framework.name.to_owned());
        plan.versions = versions;
        plan.files = file.into_iter().collect();
        plan.notes = notes;
        Ok(plan)
    }
}

/// What the image becomes, and which rule decided.
enum Becomes {
    App(Start, String),
    Bundle(Vec<(String, String)>, Start, String),
    Pages {
        folder: String,
        single: bool,
        rule: String,
    },
}

/// The user's word first, then the Procfile's, then the framework's.
fn output(
    tree: &Tree<'_>,
    settings: &Settings,
    package: &Package,
    manager: &Manager,
    framework: Option<&Framework>,
    web: Option<Start>,
) -> Result<Becomes> {
    if let Some(folder) = &settings.overrides.output {
        return Ok(Becomes::Pages {
            folder: folder.trim_matches('/').to_owned(),
            single: false,
            rule: overruled("output"),
        });
    }
    if settings.overrides.start.is_some()
        && let Some((start, rule)) = given_start(settings)
    {
        return Ok(Becomes::App(start, rule));
    }
    if let Some(web) = web {
        return Ok(Becomes::App(web, "`web` in the Procfile".to_owned()));
    }
    let own = package.start(tree, manager.kind.name());
    match framework.map(|framework| (framework, framework.output.clone())) {
        Some((framework, Output::Pages { folder, single })) => {
            return Ok(Becomes::Pages {
                folder,
                single,
                rule: format!("the pages that {} builds", framework.name),
            });
        }
        Some((_, Output::Bundle { folders, start, rule })) => {
            return Ok(Becomes::Bundle(folders, start, rule.to_owned()));
        }
        Some((framework, Output::App(Some(start)))) => {
            // A start script may say more than the framework's own way.
            let (start, rule) = own.unwrap_or_else(|| (start, format!("how {} is started", framework.name)));
            return Ok(Becomes::App(start, rule));
        }
        Some((_, Output::App(None))) | None => {}
    }
    own.or_else(|| given_start(settings))
        .map(|(start, rule)| Becomes::App(start, rule))
        .ok_or_else(|| {
            incomplete(
                "This is Node.js (package.json), but nothing says how to start it.",
                format!(
                    "Add a `start` script to package.json, a line `web: COMMAND` to a Procfile, or one of {}.",
                    ENTRIES.join(", ")
                ),
            )
        })
}

/// What a Dockerfile is written from.
struct Recipe<'a> {
    tree: &'a Tree<'a>,
    settings: &'a Settings,
    package: &'a Package,
    manager: &'a Manager,
    framework: Option<&'a Framework>,
    image: &'a str,
}

impl Recipe<'_> {
    fn write(&self, becomes: Becomes) -> (Written, Option<ExtraFile>) {
        let mut writer = Writer::new(self.settings);
        let builds = self.builds(&becomes);
        match becomes {
            Becomes::Pages { folder, single, rule } => {
                self.build_beside_packages(&mut writer, builds.as_ref());
                let folder = if folder.is_empty() || folder == "." {
                    "/app".to_owned()
                } else {
                    format!("/app/{folder}")
                };
                let hashed = self
                    .framework
                    .map(|framework| framework.hashed(self.tree))
                    .unwrap_or_default();
                let pages = Pages {
                    stage: "build",
                    folder: &folder,
                    single,
                    hashed: &hashed,
                    rule,
                };
                let (written, file) = web_server::serve(writer, pages, self.settings.port());
                (written, Some(file))
            }
            Becomes::Bundle(folders, start, rule) => {
                self.build_beside_packages(&mut writer, builds.as_ref());
                self.final_stage(&mut writer);
                for (from, to) in &folders {
                    let to = if to == "." {
                        "./".to_owned()
                    } else {
                        format!("./{to}/")
                    };
                    writer.copy_from("build", &format!("/app/{from}/"), &to, Some(self.user()));
                }
                (writer.finish(self.user(), start, rule), None)
            }
            Becomes::App(start, rule) => {
                if self.keeps_packages_apart() {
                    self.build_apart_from_packages(&mut writer, builds.as_ref());
                } else {
                    self.build_beside_packages(&mut writer, builds.as_ref());
                    if self.is_built(builds.as_ref()) && self.package.has_dependencies() {
                        writer.run(&[self.manager.cache()], self.manager.prune());
                    }
                    self.final_stage(&mut writer);
                    writer.copy_from("build", "/app", "./", Some(self.user()));
                }
                (writer.finish(self.user(), start, rule), None)
            }
        }
    }

    /// The user without rights that the base image has for apps.
    fn user(&self) -> &'static str {
        if self.manager.kind == Kind::Bun {
            "bun"
        } else {
            "node"
        }
    }

    /// Whether the packages can be kept in stages of their own, which a change
    /// of the source leaves alone: nothing but the package manager may write
    /// into `node_modules`, and all that decides what is in there must be in a
    /// few files.
    fn keeps_packages_apart(&self) -> bool {
        let generated = ["prisma", "@prisma/client"]
            .iter()
            .any(|package| self.package.needs(package));
        // Without packages of production there may be no folder to copy. Yarn 2
        // and later keep beside it what they installed, and run no script
        // without that.
        !self.package.dependencies.is_empty()
            && !self.package.installs_with_source()
            && !generated
            && self.manager.kind != Kind::Berry
            && self.settings.overrides.install.is_none()
    }

    /// Whether anything is built: then the packages that only builds need are
    /// needed too.
    fn is_built(&self, builds: Option<&(String, String)>) -> bool {
        match &self.settings.overrides.build {
            Some(line) => !line.trim().is_empty(),
            None => builds.is_some(),
        }
    }

    /// One stage has the packages and the source.
    fn build_beside_packages(&self, writer: &mut Writer<'_>, builds: Option<&(String, String)>) {
        self.tools(writer, "build");
        let early = self.package.installs_with_source() || writer.install_is_overruled();
        if early {
            writer.copy_source();
        } else {
            self.copy_what_decides(writer);
        }
        if self.package.has_dependencies() || early {
            let command = self.manager.install(self.is_built(builds));
            writer.install(&[self.manager.cache()], &command, &self.manager.why);
        }
        if !early {
            writer.copy_source();
        }
        self.build(writer, builds);
    }

    /// Stages of their own for all packages and for those of production: after
    /// a change of the source only the build runs, and the image's layer of
    /// packages is the one of before.
    fn build_apart_from_packages(&self, writer: &mut Writer<'_>, builds: Option<&(String, String)>) {
        let all = "dependencies";
        let is_built = self.is_built(builds);
        self.tools(writer, "tools");
        writer.stage_from("tools", all);
        self.copy_what_decides(writer);
        let command = self.manager.install(is_built);
        writer.install(&[self.manager.cache()], &command, &self.manager.why);
        let mut production = all;
        if is_built && !self.package.dev_dependencies.is_empty() {
            production = "production";
            writer.stage_from(all, production);
            writer.run(&[self.manager.cache()], self.manager.prune());
        }
        if is_built {
            writer.stage_from("tools", "build").copy_source();
            writer.lend(all, MODULES);
            self.build(writer, builds);
        }
        self.final_stage(writer);
        writer.copy_from(production, MODULES, "./node_modules", Some(self.user()));
        if is_built {
            writer.copy_from("build", "/app", "./", Some(self.user()));
        } else {
            writer.copy_source_for(self.user());
        }
    }

    /// The step that builds; what the user says is run even where nothing else
    /// would be.
    fn build(&self, writer: &mut Writer<'_>, builds: Option<&(String, String)>) {
        // Tools of the ecosystem keep what they know between builds here.
        let mut caches = vec![self.manager.cache()];
        caches.extend(self.framework.and_then(|framework| framework.cache));
        let (command, why) = builds.map_or(("", ""), |(command, why)| (command, why));
        writer.build(&caches, command, why);
    }

    /// The command that builds, and why; `None`: there is nothing to build.
    fn builds(&self, becomes: &Becomes) -> Option<(String, String)> {
        let scripts = self
            .framework
            .map_or(&["build"][..], |framework| framework.scripts);
        let run = self.manager.kind.name();
        if let Some(script) = scripts
            .iter()
            .find(|name| self.package.scripts.contains_key(**name))
        {
            return Some((
                format!("{run} run {script}"),
                format!("`scripts.{script}` in package.json"),
            ));
        }
        // Without a script, only what cannot do without a build is built.
        let framework = self
            .framework
            .filter(|_| !matches!(becomes, Becomes::App(..)) || self.package.script("start").is_none())?;
        let program = framework.program?;
        Some((
            format!("./node_modules/.bin/{program}"),
            format!("no script builds, so {} does", framework.name),
        ))
    }

    /// Begins a stage that has the package manager.
    fn tools(&self, writer: &mut Writer<'_>, name: &str) {
        let manager = self.manager;
        writer
            .build_stage(self.image, name)
            .line("WORKDIR /app")
            .environment(&[
                ("npm_config_update_notifier", "false"),
                ("npm_config_fund", "false"),
                ("npm_config_audit", "false"),
            ]);
        if self.framework.is_some() {
            writer.environment(&[
                ("NEXT_TELEMETRY_DISABLED", "1"),
                ("ASTRO_TELEMETRY_DISABLED", "1"),
            ]);
        }
        if !manager.environment().is_empty() {
            writer.environment(manager.environment());
        }
        if let Some((command, cache)) = manager.setup() {
            writer.run(&[cache], &command);
        }
    }

    /// Copies the files that decide what is installed.
    fn copy_what_decides(&self, writer: &mut Writer<'_>) {
        writer.copy_files(&self.manager.files(&self.tree.place("")), "./");
        for folder in self.manager.folders(&self.tree.place("")) {
            writer.line(&format!("COPY {}/{folder}/ ./{folder}/", super::SOURCE_FOLDER));
        }
    }

    fn final_stage(&self, writer: &mut Writer<'_>) {
        let port = self.settings.port().to_string();
        writer
            .final_stage(self.image)
            .environment(&[
                ("NODE_ENV", "production"),
                ("PORT", &port),
                ("PATH", "/app/node_modules/.bin:$PATH"),
            ])
            .line("WORKDIR /app");
        if self.framework.is_some() {
            // Nuxt, SvelteKit and Astro listen where HOST says, Next.js where HOSTNAME does.
            writer.environment(&[("HOST", "0.0.0.0"), ("HOSTNAME", "0.0.0.0")]);
        }
    }
}

fn reference() -> Reference {
    let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
    Reference {
        title: "Node.js",
        managers: vec![
            row("npm", "`package-lock.json`, `npm-shrinkwrap.json`, or no lockfile", "`npm ci`"),
            row("pnpm", "`packageManager`, or `pnpm-lock.yaml`", "`pnpm install --frozen-lockfile`"),
            row("Yarn 1", "`packageManager`, or `yarn.lock`", "`yarn install --frozen-lockfile`"),
            row(
                "Yarn 2 and later",
                "`packageManager`, `.yarnrc.yml`, or a `yarn.lock` with `__metadata`",
                "`yarn install --immutable`, into `node_modules`",
            ),
            row("Bun", "`packageManager`, `bun.lock` or `bun.lockb`", "`bun install --frozen-lockfile`; Bun runs the app too"),
        ],
        frameworks: vec![
            row("Next.js", "`next`", "`output: \"standalone\"`: its server alone; `output: \"export\"`: pages; else `next start`"),
            row("Nuxt", "`nuxt`", "`.output/server`; with only a `generate` script: pages"),
            row("SvelteKit", "`@sveltejs/kit`", "`@sveltejs/adapter-node`: `node build`; `@sveltejs/adapter-static`: pages"),
            row("Astro", "`astro`", "pages; with `@astrojs/node`: `dist/server/entry.mjs`"),
            row("Remix, React Router", "`@remix-run/dev`, `@react-router/dev`", "their own server; `ssr: false`: pages"),
            row("NestJS", "`@nestjs/core`", "`node dist/main`"),
            row("Angular", "`@angular/core` and `angular.json`", "pages; with `ssr`: its server"),
            row("Gatsby, Docusaurus, Eleventy, Hexo, VitePress", "their package", "pages"),
            row("Vite, Create React App, Vue CLI, Parcel", "their package, and no server among the dependencies", "pages of a single-page app"),
        ],
        version: "`.nvmrc`, `.node-version`, `mise.toml`, `.tool-versions`, then `engines.node`; else 22.".to_owned(),
        start: vec![
            "`web` in the `Procfile`".to_owned(),
            "the pages or the server that a framework builds".to_owned(),
            "`scripts.start:prod`, then `scripts.start` in `package.json`".to_owned(),
            "what the framework starts".to_owned(),
            "`main` in `package.json`".to_owned(),
            format!("the first of {}", ENTRIES.join(", ")),
        ],
        images: "`node:VERSION-slim` (`oven/bun:VERSION-slim` for Bun); pages are served by nginx.".to_owned(),
        caches: "the package manager's own: `/root/.npm`, `/root/.pnpm-store`, `/root/.cache/yarn`, `/root/.yarn/berry`, `/root/.bun/install/cache`.".to_owned(),
        notes: vec![
            "The release of pnpm and Yarn is `packageManager`'s, else the one that wrote the lockfile.".to_owned(),
            "Settings that are programs (`next.config.js` …) are read, not run: only plain values in them are understood.".to_owned(),
            "The app's folder with its production packages is the image, but for servers that need nothing else.".to_owned(),
        ],
    }
}
