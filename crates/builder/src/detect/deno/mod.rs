//! Deno.

mod config;
#[cfg(test)]
mod tests;

use nonna_engine::Result;

use self::config::{Config, FILES};
use super::base_images;
use super::compiled::is_plain;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::version::{Version, asked, is_numbers};
use super::writer::{Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};

/// What an app is started from when nothing says it.
const ENTRIES: [&str; 12] = [
    "main.ts",
    "main.tsx",
    "main.js",
    "server.ts",
    "server.js",
    "app.ts",
    "index.ts",
    "mod.ts",
    "src/main.ts",
    "src/server.ts",
    "src/index.ts",
    "src/app.ts",
];
/// The user that Deno's own image has for apps.
const USER: &str = "deno";
/// Where Deno keeps what it downloads: while it is built, and in the image.
const CACHE: Cache = Cache::locked("deno", "/root/.cache/deno");
const IN_IMAGE: &str = "/deno-dir";

/// A `deno.json`.
pub(super) struct Deno;

impl Detector for Deno {
    fn name(&self) -> &'static str {
        "deno"
    }

    fn looks_for(&self) -> &'static str {
        "deno.json, deno.jsonc or deno.lock"
    }

    fn reference(&self) -> Reference {
        let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
        Reference {
            title: "Deno",
            managers: vec![row(
                "Deno",
                "`deno.json`, `deno.jsonc`, `deno.lock`",
                "`deno install`, with `--frozen` where there is a `deno.lock`",
            )],
            frameworks: vec![
                row("Fresh", "`fresh`, `@fresh/core` or `$fresh/` among the imports", "the task `build`, then the task `start` or `preview`"),
                row("any other (Hono, Oak …)", "–", "the task `build` where there is one; `Deno.serve` listens where it is told"),
            ],
            version: "`.deno-version`, `.dvmrc`, `mise.toml`, `.tool-versions` (`deno`): all three numbers, or `2` or `latest` for the newest; else the newest.".into(),
            start: vec![
                "`web` in the `Procfile`".into(),
                "the task `start`, then for Fresh `preview`".into(),
                "`deploy.entrypoint` in deno.json, else the first of the files below: with `deno serve` where it has a default export with `fetch`, else with `deno run`, and all permissions (the container is the sandbox)".into(),
                ENTRIES.join(", "),
            ],
            images: "`denoland/deno:debian-VERSION` builds and runs.".into(),
            caches: "What Deno downloads (npm, JSR, modules of the web); the image gets what the app's files import.".into(),
            notes: vec![
                "`DENO_SERVE_ADDRESS` is set, so that `Deno.serve` listens on `0.0.0.0:$PORT` whatever the source says.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        let Some(found) = tree.first(&[FILES[0], FILES[1], "deno.lock"]) else {
            return Ok(None);
        };
        // Beside Node.js it is often only for its formatter.
        let starts = Config::read(tree).map_or(true, |config| {
            config.tasks.contains_key("start")
                || (!tree.has("package.json")
                    && (tree.first(&ENTRIES).is_some() || config.deploy.entrypoint.is_some()))
        });
        let strength = if starts { Strength::App } else { Strength::Packages };
        Ok(Some(Sign::new(strength, found)))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let config = Config::read(tree)?;
        let version = choose(tree)?;
        let mut notes = Vec::new();
        let is_fresh = ["fresh", "@fresh/core", "$fresh/"]
            .iter()
            .any(|name| config.imports(name));
        let likely = entry(tree, &config);
        let found =
            start(tree, &config, likely.as_deref(), is_fresh, &mut notes)?.or_else(|| given_start(settings));
        let (start, rule) = found.ok_or_else(|| {
            incomplete(
                "This is Deno, but nothing says how to start it.",
                format!(
                    "Add a task `start` to deno.json, a line `web: COMMAND` to a Procfile, or one of {}.",
                    ENTRIES.join(", ")
                ),
            )
        })?;
        let entry = named_in(&start).or(likely);
        let is_locked = tree.has("deno.lock");
        if !is_locked && !config.imports.is_empty() {
            notes.push("no deno.lock: every build may get other versions; commit the file".to_owned());
        }
        let recipe = Recipe {
            tree,
            settings,
            config: &config,
            entry: entry.as_deref(),
            is_locked,
            image: base_images::deno(&version.version),
        };
        let written = recipe.write(start, rule);
        let found: Vec<&str> = [config.file, "deno.lock"]
            .into_iter()
            .filter(|file| tree.has(file))
            .collect();
        let mut plan = Plan::new(self.name(), found.join(", "), written);
        plan.framework = is_fresh.then(|| "Fresh".to_owned());
        plan.versions = vec![version];
        plan.notes = notes;
        Ok(plan)
    }
}

/// The release of Deno. Its images are called by all three numbers.
fn choose(tree: &Tree<'_>) -> Result<Version> {
    const WHAT: &str = "Deno";
    let Some(asked) = asked(tree, &[".deno-version", ".dvmrc"], &["deno"])? else {
        return Ok(Version::new(WHAT, base_images::DENO, "nothing asks for another"));
    };
    let version = asked.version.trim_start_matches('v');
    if matches!(version, "2" | "latest" | "lts" | "stable") {
        return Ok(Version::new(WHAT, base_images::DENO, asked.why()));
    }
    // Deno 1 installs nothing by a list.
    if !is_numbers(version) || version.split('.').count() != 3 || version.starts_with("1.") {
        return Err(asked.is_no_version_of(
            WHAT,
            "Write all three numbers of a release from 2.0.0 on, such as `2.5.6`, or `2` for the newest.",
        ));
    }
    Ok(Version::new(WHAT, version, asked.why()))
}

/// The file that the app begins in.
fn entry(tree: &Tree<'_>, config: &Config) -> Option<String> {
    let named = config
        .deploy
        .entrypoint
        .as_deref()
        .map(|path| path.trim_start_matches("./"));
    named
        .filter(|path| tree.has(path) && path.split('/').all(is_plain))
        .or_else(|| tree.first(&ENTRIES))
        .map(str::to_owned)
}

/// The file that a line for Deno runs, which may be one that a build makes.
fn named_in(start: &Start) -> Option<String> {
    let line = start.to_string();
    line.strip_prefix("deno ")?
        .split_whitespace()
        .find(|word| {
            [".ts", ".tsx", ".js", ".mjs", ".jsx"]
                .iter()
                .any(|ending| word.ends_with(ending))
                && !word.starts_with(['-', '/', '.'])
                && word.split('/').all(|part| is_plain(part) && part != "..")
        })
        .map(str::to_owned)
}

/// The start command, and the rule that chose it.
fn start(
    tree: &Tree<'_>,
    config: &Config,
    entry: Option<&str>,
    is_fresh: bool,
    notes: &mut Vec<String>,
) -> Result<Option<(Start, String)>> {
    if let Some(procfile) = Procfile::read(tree)? {
        notes.extend(procfile.notes());
        if let Some(web) = procfile.web {
            return Ok(Some((web, "`web` in the Procfile".to_owned())));
        }
    }
    let tasks: &[&str] = if is_fresh {
        &["start", "preview"]
    } else {
        &["start"]
    };
    for name in tasks {
        let Some(task) = config.tasks.get(*name) else {
            continue;
        };
        // Deno's own line is run without its shell around it.
        let start = match task.line().map(str::trim) {
            Some(line) if line.starts_with("deno ") && !line.contains("--watch") => Start::from_line(line),
            other => {
                if other.is_some_and(|line| line.contains("--watch")) {
                    notes.push(format!(
                        "the task `{name}` watches files, which nobody changes in an image"
                    ));
                }
                Start::exec(&["deno", "task", name])
            }
        };
        return Ok(Some((start, format!("the task `{name}` in {}", config.file))));
    }
    let Some(entry) = entry else { return Ok(None) };
    let text = tree.text(entry)?.unwrap_or_default();
    let exports =
        text.lines().any(|line| line.starts_with("export default")) && !text.contains("Deno.serve(");
    Ok(Some(if exports {
        (
            Start::Shell(format!(
                "deno serve --allow-all --host 0.0.0.0 --port $PORT {entry}"
            )),
            format!("{entry} exports what answers"),
        )
    } else {
        (
            Start::exec(&["deno", "run", "--allow-all", entry]),
            format!("there is {entry}"),
        )
    }))
}

/// What a Dockerfile is written from.
struct Recipe<'a> {
    tree: &'a Tree<'a>,
    settings: &'a Settings,
    config: &'a Config,
    entry: Option<&'a str>,
    is_locked: bool,
    image: String,
}

impl Recipe<'_> {
    fn write(&self, start: Start, rule: String) -> Written {
        let mut writer = Writer::new(self.settings);
        writer
            .build_stage(&self.image, "build")
            .line("WORKDIR /app")
            .environment(&[("DENO_DIR", CACHE.folder), ("DENO_NO_UPDATE_CHECK", "1")]);
        let frozen = if self.is_locked { " --frozen" } else { "" };
        let early = self.config.workspace.is_some() || writer.install_is_overruled();
        if early {
            writer.copy_source();
        } else {
            let files: Vec<&str> = [
                self.config.file,
                "deno.lock",
                "package.json",
                "import_map.json",
                ".npmrc",
            ]
            .into_iter()
            .filter(|file| self.tree.has(file))
            .collect();
            writer.copy_files(&files, "./");
        }
        // A folder without the file has no list of what it needs.
        if early || !self.config.file.is_empty() || self.tree.has("package.json") {
            writer.install(
                &[CACHE],
                &format!("deno install{frozen}"),
                if self.is_locked {
                    "there is deno.lock"
                } else {
                    "deno.json names the packages"
                },
            );
        }
        if !early {
            writer.copy_source();
        }
        let (command, why) = match self.config.tasks.get("build") {
            Some(_) => (
                "deno task build".to_owned(),
                format!("the task `build` in {}", self.config.file),
            ),
            None => (String::new(), String::new()),
        };
        writer.build(&[CACHE], &command, &why);
        // What the source imports without a list, and of the cache only what
        // is imported: it has what earlier builds needed too.
        let gather = match self.entry {
            Some(entry) => format!(
                "deno cache{frozen} {entry} && cp -a {from} {IN_IMAGE}.new && {{ DENO_DIR={IN_IMAGE}.new deno clean --except {entry} || true; }}",
                from = CACHE.folder
            ),
            None => format!(
                "mkdir -p {from} && cp -a {from} {IN_IMAGE}.new",
                from = CACHE.folder
            ),
        };
        writer.run(&[CACHE], &gather);
        let port = self.settings.port();
        writer
            .final_stage(&self.image)
            .line(&format!(
                "ENV PORT={port} DENO_DIR={IN_IMAGE} DENO_NO_UPDATE_CHECK=1 DENO_SERVE_ADDRESS=tcp:0.0.0.0:{port}"
            ))
            .line("WORKDIR /app")
            .copy_from("build", &format!("{IN_IMAGE}.new"), IN_IMAGE, Some(USER))
            .copy_from("build", "/app", "./", Some(USER))
            // The runtime's init does what that of the image would.
            .line("ENTRYPOINT []");
        writer.finish(USER, start, rule)
    }
}
