//! Rust, with Cargo.

mod manifest;
mod toolchain;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use nonna_engine::Result;

use self::manifest::{Package, Packages};
use self::toolchain::Toolchain;
use super::compiled::{self, Beside, OUT};
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::writer::{USER, Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};
use crate::context::ExtraFile;

/// Names of programs that serve, the likeliest first.
const LIKELY: [&str; 6] = ["server", "web", "api", "app", "http", "main"];
/// What stands before Cargo while it builds.
const WRAPPER: &str = include_str!("cargo.sh");
const WRAPPER_FILE: &str = "cargo.sh";

const REGISTRY: Cache = Cache::shared("cargo-registry", "/usr/local/cargo/registry");
const GIT: Cache = Cache::shared("cargo-git", "/usr/local/cargo/git");
const TARGET: Cache = Cache::locked("cargo-target", "/var/cache/target");

/// A `Cargo.toml`.
pub(super) struct Rust;

impl Detector for Rust {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn looks_for(&self) -> &'static str {
        "Cargo.toml"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Rust",
            managers: vec![[
                "Cargo".into(),
                "`Cargo.toml`".into(),
                "`cargo build --release --locked` (without `--locked` where there is no `Cargo.lock`)".into(),
            ]],
            frameworks: vec![
                [
                    "Axum, Actix, Warp, Poem … ".into(),
                    "–".into(),
                    "the program reads `PORT`".into(),
                ],
                [
                    "Rocket".into(),
                    "`rocket` among the dependencies".into(),
                    "is told by `ROCKET_ADDRESS` and `ROCKET_PORT`".into(),
                ],
            ],
            version: "`rust-toolchain`, `rust-toolchain.toml`, `mise.toml`, `.tool-versions` (`rust`), else the newest \
                      stable release (`rust-version` is only the oldest that will do)."
                .into(),
            start: vec![
                "`web` in the `Procfile`: `bin/NAME` or `target/release/NAME`".into(),
                "the only program".into(),
                "`default-run` of the package at the top".into(),
                "in a workspace: that of the only package that needs a crate which serves (axum, actix-web, rocket …)"
                    .into(),
                format!(
                    "of several programs: the one called like its package, then {}",
                    LIKELY.join(", ")
                ),
            ],
            images: format!(
                "`rust:VERSION-bookworm` builds; `{}` runs the program, with certificate authorities and the libraries \
                 that it is linked to (libssl, libpq …).",
                compiled::DEBIAN
            ),
            caches: "The registry, git checkouts and the target folder, one build at a time. What has changed is told \
                     by the contents of files, not by their dates."
                .into(),
            notes: vec![
                "All programs of the chosen package are built, so that other lines of the Procfile find theirs.".into(),
                "Files that are no Rust source (templates, static files, migrations) stand beside the program as they stand in the source.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        // Beside another language's app it often is a native extension.
        let has_program = tree
            .files()
            .any(|file| file.ends_with("src/main.rs") || file.contains("src/bin/"));
        let strength = if has_program {
            Strength::App
        } else {
            Strength::Packages
        };
        Ok(tree.has("Cargo.toml").then(|| Sign::new(strength, "Cargo.toml")))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let packages = Packages::read(tree)?;
        if packages.all.is_empty() {
            return Err(incomplete(
                "This is Rust (Cargo.toml), but no package makes a program.",
                "Add src/main.rs, or a `[[bin]]` to Cargo.toml; in a workspace, see that `members` names its package.",
            ));
        }
        let toolchain = toolchain::choose(tree, &packages)?;
        let mut notes = Vec::new();
        let choice = match compiled::web(Procfile::read(tree)?, &mut notes) {
            Some((start, rule)) => Choice {
                package: named(&packages, &start),
                start,
                rule,
            },
            None => match choose(&packages) {
                Some((package, name, rule)) => Choice {
                    package: Some(package),
                    start: Start::exec(&[&format!("/app/bin/{name}")]),
                    rule,
                },
                None => {
                    let (start, rule) = given_start(settings).ok_or_else(|| ambiguous(&packages))?;
                    Choice {
                        package: named(&packages, &start),
                        start,
                        rule,
                    }
                }
            },
        };
        let programs = match choice.package {
            Some(package) => package.programs.clone(),
            None => packages
                .all
                .iter()
                .flat_map(|package| package.programs.clone())
                .collect(),
        };
        if programs.len() > 1 {
            notes.push(format!(
                "programs in /app/bin: {}; a line `web: bin/NAME` in the Procfile starts another",
                programs.join(", ")
            ));
        }
        if !tree.has("Cargo.lock") {
            notes.push("no Cargo.lock: every build may get other versions; commit the file".to_owned());
        }
        if let Some(what) = packages.needs_wasm {
            notes.push(format!(
                "{what} also makes a program of the web page, which `cargo build` does not: a Dockerfile can run cargo-{what}"
            ));
        }
        let is_rocket = match choice.package {
            Some(package) => package.serves_with.as_deref() == Some("rocket"),
            None => packages
                .all
                .iter()
                .any(|package| package.serves_with.as_deref() == Some("rocket")),
        };
        let version = toolchain.version.clone();
        let framework = choice.package.and_then(|package| package.serves_with.clone());
        let written = dockerfile(
            tree, settings, &packages, &toolchain, choice, &programs, is_rocket,
        );
        let found = if tree.has("Cargo.lock") {
            "Cargo.toml, Cargo.lock"
        } else {
            "Cargo.toml"
        };
        let mut plan = Plan::new(self.name(), found, written);
        plan.framework = framework;
        plan.versions = vec![version];
        plan.notes = notes;
        plan.files = vec![ExtraFile {
            path: WRAPPER_FILE.to_owned(),
            content: Bytes::from_static(WRAPPER.as_bytes()),
        }];
        Ok(plan)
    }
}

/// What is started, and the package that makes it, if it is known.
struct Choice<'p> {
    package: Option<&'p Package>,
    start: Start,
    rule: String,
}

/// The program that is started where nothing says which.
fn choose(packages: &Packages) -> Option<(&Package, &str, String)> {
    if let [package] = packages.all.as_slice() {
        let (name, rule) = within(package)?;
        return Some((package, name, rule));
    }
    if let Some(top) = packages.all.iter().find(|package| package.folder.is_empty())
        && let Some(name) = &top.default_run
    {
        return Some((top, name, "`default-run` in Cargo.toml".to_owned()));
    }
    let mut serving = packages
        .all
        .iter()
        .filter(|package| package.serves_with.is_some());
    if let (Some(package), None) = (serving.next(), serving.next()) {
        let (name, _) = within(package)?;
        let with = package.serves_with.as_deref().unwrap_or_default();
        let rule = format!(
            "`{}` is the only package with a program that needs {with}",
            package.name
        );
        return Some((package, name, rule));
    }
    if let Some(top) = packages.all.iter().find(|package| package.folder.is_empty()) {
        let (name, rule) = within(top)?;
        return Some((top, name, format!("{rule}, in the package at the top")));
    }
    LIKELY.iter().find_map(|likely| {
        let mut fitting = packages
            .all
            .iter()
            .filter(|package| package.programs.iter().any(|name| name == likely));
        match (fitting.next(), fitting.next()) {
            (Some(package), None) => {
                let name = package.programs.iter().find(|name| name == likely)?;
                Some((
                    package,
                    name.as_str(),
                    format!("of several programs, `{name}` is called like one that serves"),
                ))
            }
            _ => None,
        }
    })
}

/// The program of a package that is started.
fn within(package: &Package) -> Option<(&str, String)> {
    if let Some(name) = &package.default_run {
        return Some((name, format!("`default-run` of `{}`", package.name)));
    }
    if let [only] = package.programs.as_slice() {
        return Some((
            only,
            format!("`{only}` is the only program of `{}`", package.name),
        ));
    }
    std::iter::once(package.name.as_str())
        .chain(LIKELY)
        .find_map(|name| package.programs.iter().find(|program| *program == name))
        .map(|name| {
            (
                name.as_str(),
                format!(
                    "of {} programs, `{name}` is the likeliest",
                    package.programs.len()
                ),
            )
        })
}

/// The package whose program a command names.
fn named<'p>(packages: &'p Packages, start: &Start) -> Option<&'p Package> {
    let line = start.to_string();
    let mut words = line
        .split(|c: char| c.is_whitespace() || "\"'/;&|()".contains(c))
        .filter(|word| !word.is_empty());
    words.find_map(|word| {
        packages
            .all
            .iter()
            .find(|package| package.programs.iter().any(|name| name == word))
    })
}

fn ambiguous(packages: &Packages) -> nonna_engine::Error {
    let error = incomplete(
        "This is Rust with several programs, and nothing says which one serves.",
        "Name it in a Procfile: `web: bin/NAME`; or give `default-run` in Cargo.toml.",
    );
    packages.all.iter().take(12).fold(error, |error, package| {
        error.detail(format!("{}: {}", package.name, package.programs.join(", ")))
    })
}

fn dockerfile(
    tree: &Tree<'_>,
    settings: &Settings,
    packages: &Packages,
    toolchain: &Toolchain,
    choice: Choice<'_>,
    programs: &[String],
    is_rocket: bool,
) -> Written {
    let mut writer = Writer::new(settings);
    writer
        .build_stage(&toolchain.image, "build")
        .line(&format!("COPY {WRAPPER_FILE} /opt/nonna/bin/cargo"))
        .line("RUN chmod 755 /opt/nonna/bin/cargo")
        .line("WORKDIR /app")
        .line(&format!(
            "ENV PATH=/opt/nonna/bin:$PATH CARGO_TARGET_DIR={} CARGO_TERM_COLOR=never NONNA_PROGRAMS=\"{}\"",
            TARGET.folder,
            programs.join(" ")
        ))
        .copy_source();
    let pinned = ["rust-toolchain", "rust-toolchain.toml"]
        .iter()
        .any(|file| tree.has(file));
    if pinned && !toolchain.by_rustup {
        // The image is what they ask for; rustup would fetch it once more.
        writer.line("RUN rm -f rust-toolchain rust-toolchain.toml");
    }
    let locked = if tree.has("Cargo.lock") { " --locked" } else { "" };
    let what = match choice.package {
        Some(package) if packages.is_workspace => format!(" -p {} --bins", package.name),
        Some(_) => " --bins".to_owned(),
        None => " --workspace --bins".to_owned(),
    };
    writer.build(
        &[REGISTRY, GIT, TARGET],
        &format!("cargo build --release{locked}{what}"),
        &match choice.package {
            Some(package) => format!("the programs of `{}`", package.name),
            None => "the programs of all packages".to_owned(),
        },
    );
    writer.run(&[], &compiled::gather_libraries(&format!("{OUT}/bin")));
    compiled::dynamic_stage(&mut writer);
    writer.line("WORKDIR /app");
    if choice.start.to_string().contains("target/release") {
        writer.line("RUN mkdir target && ln -s ../bin target/release");
    }
    let port = settings.port();
    let beside = Beside {
        sources: &[".rs", "Cargo.toml", "Cargo.lock"],
        build_only: &[
            "rust-toolchain",
            "rust-toolchain.toml",
            "rustfmt.toml",
            "clippy.toml",
            "deny.toml",
            "build.rs",
            "target",
            "benches",
        ],
    };
    beside.copy(tree, &mut writer, USER);
    let mut environment = format!("ENV PATH=/app/bin:$PATH PORT={port}");
    if is_rocket {
        environment.push_str(&format!(" ROCKET_ADDRESS=0.0.0.0 ROCKET_PORT={port}"));
    }
    writer.line(&environment);
    writer.finish(USER, choice.start, choice.rule)
}
