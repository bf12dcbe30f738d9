//! Go, with modules.

mod module;
mod packages;

#[cfg(test)]
mod tests;

use nonna_engine::Result;

use self::module::Modules;
use self::packages::{Found, Main};
use super::base_images::BUSYBOX;
use super::compiled::{self, Beside, OUT};
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::version::{Version, asked, is_numbers};
use super::writer::{USER, Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};

/// The release that builds every module that does not ask for a newer one: Go
/// builds what was written for older ones.
pub(super) const GO: &str = "1.27";
/// The oldest release whose image is of the Debian release that apps run in.
const OLDEST: (u32, u32) = (1, 20);
/// Names of programs that serve, the likeliest first.
const LIKELY: [&str; 7] = ["server", "web", "api", "app", "http", "httpd", "main"];
/// Modules that call C, which are often needed and need a C compiler.
const CALL_C: [&str; 7] = [
    "github.com/mattn/go-sqlite3",
    "github.com/confluentinc/confluent-kafka-go",
    "github.com/marcboeker/go-duckdb",
    "github.com/duckdb/duckdb-go",
    "github.com/h2non/bimg",
    "github.com/davidbyttow/govips",
    "gopkg.in/gographics/imagick",
];

const MODULES: Cache = Cache::shared("go-mod", "/go/pkg/mod");
const BUILD: Cache = Cache::shared("go-build", "/root/.cache/go-build");
/// The user that the image has, which owns nothing else.
const NOBODY: &str = "65534";
/// Where Go looks for time zones when it is told to.
const ZONES: &str = "/usr/local/go/lib/time/zoneinfo.zip";

/// A `go.mod` or `go.work`.
pub(super) struct Go;

impl Detector for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn looks_for(&self) -> &'static str {
        "go.mod, go.work or main.go"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Go",
            managers: vec![
                [
                    "Go modules".into(),
                    "`go.mod`".into(),
                    "`go mod download`".into(),
                ],
                [
                    "Go workspaces".into(),
                    "`go.work`".into(),
                    "the build itself".into(),
                ],
                [
                    "vendored modules".into(),
                    "`vendor/modules.txt`".into(),
                    "nothing: they are there".into(),
                ],
            ],
            frameworks: vec![[
                "any (net/http, Gin, Echo, Fiber, Chi …)".into(),
                "–".into(),
                "`go build`; the program reads `PORT`".into(),
            ]],
            version: format!(
                "`.go-version`, `mise.toml`, `.tool-versions` (`golang`), then the newest of the `go` and `toolchain` \
                 lines. A `go` line is the least that is needed: one before 1.20 is built with Go {GO}."
            ),
            start: vec![
                "`web` in the `Procfile`: `bin/NAME` is the program of `cmd/NAME`".into(),
                "the only main package, or the one at the top".into(),
                format!(
                    "of several below `cmd/`: the one called like the module, then {}",
                    LIKELY.join(", ")
                ),
            ],
            images: format!(
                "`golang:VERSION-bookworm` builds; `{BUSYBOX}` runs a static program (with certificate authorities \
                 and time zones). Where C is called (`import \"C\"`, go-sqlite3 …) `{}` runs it, with the libraries \
                 that it is linked to.",
                compiled::DEBIAN
            ),
            caches: "Modules and the compiler's own cache.".into(),
            notes: vec![
                "Every main package at the top and below `cmd/` is built, so that other lines of the Procfile find theirs.".into(),
                "Files that are no Go source (templates, static files, migrations) stand beside the program as they stand in the source.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        Ok(match tree.first(&["go.work", "go.mod"]) {
            Some(found) => Some(Sign::new(Strength::App, found)),
            None => tree
                .first(&["main.go"])
                .map(|found| Sign::new(Strength::Files, found)),
        })
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let modules = Modules::read(tree)?;
        if modules.all.is_empty() {
            return Err(incomplete(
                "This is Go, but there is no go.mod.",
                "Run `go mod init NAME` and `go mod tidy`, and commit what they write.",
            ));
        }
        let version = version(tree, &modules)?;
        let found = packages::find(tree, &modules)?;
        if found.mains.is_empty() {
            return Err(incomplete(
                "This is Go, but no package is a program.",
                "Add a file with `package main` and `func main()`, at the top or below cmd/NAME.",
            ));
        }
        let mut notes = Vec::new();
        let (start, rule, chosen) = match compiled::web(Procfile::read(tree)?, &mut notes) {
            Some((start, rule)) => (start, rule, None),
            None => match choose(&found.mains, &modules) {
                Some((main, rule)) => (
                    Start::exec(&[&format!("/app/bin/{}", main.name)]),
                    rule,
                    Some(main.clone()),
                ),
                None => {
                    let (start, rule) = given_start(settings).ok_or_else(|| ambiguous(&found.mains))?;
                    (start, rule, None)
                }
            },
        };
        let built = built(&found.mains, chosen.as_ref());
        if built.len() > 1 {
            let names: Vec<&str> = built.iter().map(|main| main.name.as_str()).collect();
            notes.push(format!(
                "programs in /app/bin: {}; a line `web: bin/NAME` in the Procfile starts another",
                names.join(", ")
            ));
        }
        let written = dockerfile(tree, settings, &modules, &found, &built, &version, (start, rule));
        let sums = tree.first(&["go.sum", "vendor/modules.txt"]);
        let manifest = tree.first(&["go.work", "go.mod"]).unwrap_or("go.mod");
        let by = sums.map_or_else(|| manifest.to_owned(), |sums| format!("{manifest}, {sums}"));
        let mut plan = Plan::new(self.name(), by, written);
        plan.versions = vec![version];
        plan.notes = notes;
        if sums.is_none() && modules.all.iter().any(|module| !module.requires.is_empty()) {
            plan.notes.push(
                "no go.sum: run `go mod tidy` and commit it, or the build cannot trust what it fetches"
                    .into(),
            );
        }
        Ok(plan)
    }
}

/// The program that is started where nothing says which.
fn choose<'m>(mains: &'m [Main], modules: &Modules) -> Option<(&'m Main, String)> {
    if let [only] = mains {
        return Some((only, format!("{} is the only main package", shown(only))));
    }
    if let Some(top) = mains.iter().find(|main| main.folder.is_empty()) {
        return Some((top, "the main package at the top".to_owned()));
    }
    let is_command = |main: &&Main| main.folder.split('/').any(|part| part == "cmd");
    let commands: Vec<&Main> = mains.iter().filter(is_command).collect();
    if let [only] = commands.as_slice() {
        return Some((
            only,
            format!("{} is the only main package below cmd/", shown(only)),
        ));
    }
    let candidates = if commands.is_empty() {
        mains.iter().collect()
    } else {
        commands
    };
    let own: Vec<String> = modules
        .all
        .iter()
        .map(|module| packages::program(&module.folder, module))
        .collect();
    let likely = own
        .iter()
        .map(String::as_str)
        .chain(LIKELY)
        .find_map(|name| candidates.iter().find(|main| main.name == name))?;
    let rule = format!(
        "of {} main packages, {} is called like one that serves",
        candidates.len(),
        shown(likely)
    );
    Some((likely, rule))
}

fn shown(main: &Main) -> String {
    if main.folder.is_empty() {
        "the top".to_owned()
    } else {
        main.folder.clone()
    }
}

fn ambiguous(mains: &[Main]) -> nonna_engine::Error {
    const SHOWN: usize = 12;
    let error = incomplete(
        "This is Go with several programs, and nothing says which one serves.",
        "Name it in a Procfile: `web: bin/NAME`.",
    );
    mains.iter().take(SHOWN).fold(error, |error, main| {
        error.detail(format!("{}: {}", main.name, shown(main)))
    })
}

/// What is built: the chosen one, those at the top and below `cmd/`, of which
/// the Procfile may name any, and all where there are no such. No name twice.
fn built(mains: &[Main], chosen: Option<&Main>) -> Vec<Main> {
    let mut built: Vec<Main> = chosen.cloned().into_iter().collect();
    let is_command = |main: &Main| main.folder.is_empty() || main.folder.split('/').any(|part| part == "cmd");
    let has_commands = mains.iter().any(is_command);
    for main in mains {
        let wanted = is_command(main) || (chosen.is_none() && !has_commands);
        if wanted && !built.iter().any(|other| other.name == main.name) {
            built.push(main.clone());
        }
    }
    built
}

/// The release of Go, and why.
fn version(tree: &Tree<'_>, modules: &Modules) -> Result<Version> {
    if let Some(asked) = asked(tree, &[".go-version"], &["golang", "go"])? {
        let version = asked.version.trim_start_matches("go").to_owned();
        if !is_numbers(&version) || !version.contains('.') {
            return Err(asked.is_no_version_of("Go", "Write a version such as `1.27` or `1.27.3`."));
        }
        return Ok(Version::new("Go", version, asked.why()));
    }
    let Some((wanted, file, line)) = modules.wanted() else {
        return Ok(Version::new("Go", GO, "nothing asks for another"));
    };
    let said = format!("{file}, line {line}, asks for {wanted} or newer");
    let mut parts = wanted
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or_default());
    let least = (parts.next().unwrap_or(1), parts.next().unwrap_or_default());
    // A release candidate is only in its own image.
    if wanted.contains(|c: char| c.is_ascii_alphabetic()) {
        return Ok(Version::new("Go", wanted, said));
    }
    let release = if least < OLDEST {
        GO.to_owned()
    } else {
        format!("{}.{}", least.0, least.1)
    };
    Ok(Version::new("Go", release, said))
}

/// The image of a release of Go.
fn image(version: &str) -> String {
    format!("golang:{version}-bookworm")
}

fn dockerfile(
    tree: &Tree<'_>,
    settings: &Settings,
    modules: &Modules,
    found: &Found,
    built: &[Main],
    version: &Version,
    (start, rule): (Start, String),
) -> Written {
    let called = modules
        .all
        .iter()
        .flat_map(|module| &module.requires)
        .find(|path| CALL_C.iter().any(|known| path.starts_with(known)));
    let calls_c = called.is_some() || found.calls_c.is_some();
    let mut writer = Writer::new(settings);
    writer
        .build_stage(&image(&version.version), "build")
        .line("WORKDIR /app")
        .environment(&[("CGO_ENABLED", if calls_c { "1" } else { "0" })]);
    let is_vendored = tree.has("vendor/modules.txt");
    let alone = modules.work.is_none() && modules.all.iter().all(|module| !module.has_local_replace);
    let fetches = !is_vendored && tree.has("go.sum") && alone;
    if fetches && !writer.install_is_overruled() {
        writer.copy_in_place(&["go.mod", "go.sum"]);
    } else {
        writer.copy_source();
    }
    let install = if fetches { "go mod download" } else { "" };
    writer.install(&[MODULES], install, "go.sum names the modules");
    if fetches && !writer.install_is_overruled() {
        writer.copy_source();
    }
    let packages: Vec<String> = built.iter().map(Main::argument).collect();
    writer.build(
        &[MODULES, BUILD],
        &format!(
            "go build -trimpath -buildvcs=false -ldflags='-s -w' -o {OUT}/bin/ {}",
            packages.join(" ")
        ),
        if calls_c {
            "the main packages, with C"
        } else {
            "the main packages, static"
        },
    );
    let beside = Beside {
        sources: &[".go", ".proto", "go.mod", "go.sum"],
        build_only: &["go.work", "go.work.sum", "vendor", "testdata"],
    };
    let user = if calls_c {
        writer.run(&[], &compiled::gather_libraries(&format!("{OUT}/bin")));
        compiled::dynamic_stage(&mut writer);
        USER
    } else {
        writer.final_stage(BUSYBOX);
        compiled::copy_certificates(&mut writer);
        writer
            .copy_from("build", ZONES, ZONES, None)
            .environment(&[("ZONEINFO", ZONES)])
            .copy_from("build", &format!("{OUT}/bin"), "/app/bin", Some(NOBODY));
        NOBODY
    };
    writer.line("WORKDIR /app");
    beside.copy(tree, &mut writer, user);
    writer.line(&format!("ENV PATH=/app/bin:$PATH PORT={}", settings.port()));
    let user = if calls_c {
        USER.to_owned()
    } else {
        format!("{NOBODY}:{NOBODY}")
    };
    writer.finish(&user, start, rule)
}
