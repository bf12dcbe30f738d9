//! Whether a folder's Dockerfile or detection decides how it is built, and
//! what is said of that.

use nonna_engine::{Code, Error, Result};
use nonna_model::build::{
    BuildPlan, DOCKERFILE, Overrule, PlannedCache, PlannedCommand, PlannedVersion, Recognised,
};
use nonna_model::context::printable;
use nonna_model::service::{BuildOverrides, BuildSource, LANGUAGES};

use super::{DETECTORS, Overrides, Plan, Settings, Strength, Tree, detect, portable};

/// What is asked about a folder.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The Dockerfile that is named; `None`: `Dockerfile` if there is one.
    pub dockerfile: Option<&'a str>,
    /// What is said in place of what would be detected.
    pub overrides: &'a BuildOverrides,
}

impl<'a> From<&'a BuildSource> for Asked<'a> {
    fn from(source: &'a BuildSource) -> Self {
        Self {
            dockerfile: source.dockerfile.as_deref(),
            overrides: &source.overrides,
        }
    }
}

/// What decides how a folder is built.
#[derive(Debug, Clone)]
pub enum How {
    /// A Dockerfile in it.
    Dockerfile {
        /// Its path.
        path: String,
        /// Its text.
        text: String,
        /// Why it decides.
        why: String,
    },
    /// What was detected.
    Detected(Box<Plan>),
}

/// Finds out how a folder is built: by the Dockerfile that is named, else as
/// the language that is named, else by the Dockerfile that is there, else by
/// what is detected. `settings` has the same overrides.
///
/// # Errors
/// `NothingToBuild` for a Dockerfile that is not there; `InvalidInput` for
/// overrides beside a Dockerfile; as [`detect`].
pub fn decide(tree: &Tree<'_>, asked: Asked<'_>, settings: &Settings) -> Result<How> {
    let path = asked
        .dockerfile
        .map_or(DOCKERFILE, |path| path.strip_prefix("./").unwrap_or(path));
    if asked.dockerfile.is_some() || asked.overrides.language.is_none() {
        if let Some(text) = tree.text(path)? {
            if let Some(field) = asked.overrides.names().next() {
                return Err(beside_a_dockerfile(path, field));
            }
            let why = if asked.dockerfile.is_some() {
                "`dockerfile` in nonna.toml names it"
            } else {
                "a Dockerfile is the whole plan"
            };
            return Ok(How::Dockerfile {
                path: path.to_owned(),
                text,
                why: why.to_owned(),
            });
        }
        if asked.dockerfile.is_some() {
            return Err(no_dockerfile(path, tree));
        }
    }
    detect(tree, settings).map(|plan| How::Detected(Box::new(plan)))
}

/// How source would be built, in words: for nobody's caches in particular, and
/// without what only one machine needs.
///
/// # Errors
/// As [`decide`].
pub fn explain(tree: &Tree<'_>, source: &BuildSource, port: Option<u16>) -> Result<BuildPlan> {
    let settings = Settings {
        port,
        overrides: Overrides::from(&*source.overrides),
        secrets: source.secrets.clone(),
        ..Settings::default()
    };
    decide(tree, Asked::from(source), &settings)?.explained(tree)
}

impl How {
    /// All that there is to say about it. `tree` is what it was decided of.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn explained(&self, tree: &Tree<'_>) -> Result<BuildPlan> {
        match self {
            Self::Dockerfile { path, text, why } => Ok(BuildPlan {
                builder: DOCKERFILE.to_owned(),
                found: path.clone(),
                decided: why.clone(),
                base_images: base_images_of(text),
                others: beside(tree, why)?,
                overrule: vec![
                    language(beside(tree, why)?.first().map(|other| other.language.as_str())),
                    elsewhere(
                        "dockerfile",
                        "`dockerfile = \"PATH\"` of the service names another one",
                    ),
                ],
                ..BuildPlan::default()
            }),
            Self::Detected(plan) => detected(plan, tree),
        }
    }
}

/// The languages that a Dockerfile leaves no say.
fn beside(tree: &Tree<'_>, why: &str) -> Result<Vec<Recognised>> {
    let mut found = Vec::new();
    for detector in DETECTORS {
        if let Some(sign) = detector.sign(tree)?
            && sign.strength != Strength::Files
        {
            found.push(Recognised {
                language: detector.name().to_owned(),
                found: sign.found,
                why: why.to_owned(),
            });
        }
    }
    Ok(found)
}

fn detected(plan: &Plan, tree: &Tree<'_>) -> Result<BuildPlan> {
    let commands = |of: &[super::Decision]| {
        of.iter()
            .map(|one| PlannedCommand {
                command: one.command.clone(),
                why: one.why.clone(),
            })
            .collect()
    };
    Ok(BuildPlan {
        builder: plan.name.to_owned(),
        framework: plan.framework.clone(),
        found: plan.found.clone(),
        decided: plan.decided.clone(),
        versions: plan
            .versions
            .iter()
            .map(|one| PlannedVersion {
                what: one.what.to_owned(),
                version: one.version.clone(),
                why: one.why.clone(),
            })
            .collect(),
        install: commands(&plan.install),
        build: commands(&plan.build),
        start: Some(PlannedCommand {
            command: plan.start.to_string(),
            why: plan.rule.clone(),
        }),
        base_images: plan.base_images.clone(),
        caches: plan
            .caches
            .iter()
            .map(|cache| PlannedCache {
                name: cache.name.to_owned(),
                folder: cache.folder.to_owned(),
            })
            .collect(),
        others: plan
            .others
            .iter()
            .map(|other| Recognised {
                language: other.name.to_owned(),
                found: other.sign.found.clone(),
                why: other.why.clone(),
            })
            .collect(),
        notes: plan.notes.clone(),
        overrule: overrule(plan),
        generated: Some(portable::dockerfile(plan, tree)?),
    })
}

/// What decides otherwise, for each part of a plan that was detected.
fn overrule(plan: &Plan) -> Vec<Overrule> {
    let joined = |decisions: &[super::Decision]| {
        let all: Vec<&str> = decisions.iter().map(|one| one.command.as_str()).collect();
        all.join(" && ")
    };
    let mut out = vec![language(plan.others.first().map(|other| other.name))];
    let reference = DETECTORS
        .iter()
        .find(|detector| detector.name() == plan.name)
        .map(|detector| detector.reference());
    if let Some(version) = reference.map(|reference| reference.version)
        && !version.is_empty()
    {
        out.push(elsewhere("version", &version));
    }
    if !plan.install.is_empty() {
        out.push(line(
            "install",
            &joined(&plan.install),
            "empty: nothing is installed",
        ));
    }
    if !plan.build.is_empty() {
        out.push(line(
            "command",
            &joined(&plan.build),
            "what builds; empty: nothing is built",
        ));
    }
    if plan.name == "node" {
        out.push(line("output", "FOLDER", "its files are served as they are"));
    }
    out.push(line("start", &plan.start.to_string(), "what the image starts"));
    out.push(elsewhere("start", "a line `web: COMMAND` in a Procfile"));
    out.push(elsewhere(
        "everything",
        "a Dockerfile in the folder: `nonna build --explain --dockerfile` prints one to begin with",
    ));
    out
}

fn language(other: Option<&str>) -> Overrule {
    line("language", other.unwrap_or("NAME"), &LANGUAGES.join(", "))
}

/// A line of the table `build`.
fn line(field: &str, value: &str, how: &str) -> Overrule {
    // A string of JSON is one of TOML too.
    let value = serde_json::Value::from(value);
    Overrule {
        what: field.to_owned(),
        line: Some(format!("{field} = {value}")),
        how: how.to_owned(),
    }
}

fn elsewhere(what: &str, how: &str) -> Overrule {
    Overrule {
        what: what.to_owned(),
        line: None,
        how: how.to_owned(),
    }
}

/// The images of a Dockerfile's `FROM` lines that are no stages of its own.
/// What depends on an argument is left out.
#[must_use]
pub fn base_images_of(dockerfile: &str) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut images: Vec<String> = Vec::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("from")) {
            continue;
        }
        let Some(image) = words.find(|word| !word.starts_with("--")) else {
            continue;
        };
        let is_stage = stages.iter().any(|stage| stage.eq_ignore_ascii_case(image));
        if !is_stage
            && image != "scratch"
            && !image.contains('$')
            && !images.iter().any(|other| other == image)
        {
            images.push(image.to_owned());
        }
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"))
            && let Some(stage) = words.next()
        {
            stages.push(stage.to_owned());
        }
    }
    images
}

fn beside_a_dockerfile(path: &str, field: &str) -> Error {
    let path = printable(path);
    Error::user(
        Code::InvalidInput,
        format!("nonna.toml has `build.{field}`, and `{path}` is the whole plan of how to build."),
    )
    .hint(format!(
        "Leave out one of them; or name the language (`build.language`), which builds without `{path}`."
    ))
}

fn no_dockerfile(path: &str, tree: &Tree<'_>) -> Error {
    let error = Error::user(
        Code::NothingToBuild,
        format!(
            "There is no Dockerfile at `{}` in the build context.",
            printable(path)
        ),
    );
    let mut others: Vec<String> = tree
        .files()
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            name.contains("dockerfile") && !name.ends_with(".dockerignore")
        })
        .map(printable)
        .collect();
    others.truncate(3);
    if others.is_empty() {
        error.hint("Mend the path (it is relative to the folder that is built), and see that `.dockerignore` does not leave it out.")
    } else {
        error.hint(format!("Did you mean `{}`?", others.join("` or `")))
    }
}

#[cfg(test)]
mod tests {
    use nonna_model::context::{ContextEntry, ContextManifest, EntryKind};

    use super::super::tests::plan_with;
    use super::super::{Overrides, Start};
    use super::*;

    /// The least that each detector takes for an app.
    const APPS: &[(&str, &[(&str, &str)])] = &[
        ("hugo", &[("hugo.toml", ""), ("content/a.md", "")]),
        (
            "zola",
            &[
                ("zola.toml", "base_url = \"https://example.org\"\n"),
                ("content/a.md", ""),
            ],
        ),
        ("jekyll", &[("_config.yml", ""), ("_posts/a.md", "")]),
        (
            "ruby",
            &[
                (
                    "Gemfile",
                    "source 'https://rubygems.org'\ngem 'sinatra'\ngem 'puma'\n",
                ),
                (
                    "Gemfile.lock",
                    "GEM\n  specs:\n    puma (6.0.0)\n    sinatra (4.0.0)\n",
                ),
                ("config.ru", "run App\n"),
            ],
        ),
        ("php", &[("composer.json", "{}"), ("public/index.php", "<?php")]),
        (
            "elixir",
            &[(
                "mix.exs",
                "defmodule A.MixProject do\n  use Mix.Project\n  def project, do: [app: :a, version: \"0.1.0\"]\nend\n",
            )],
        ),
        (
            "java",
            &[
                (
                    "pom.xml",
                    "<project><artifactId>a</artifactId><packaging>jar</packaging></project>",
                ),
                (
                    "src/main/java/App.java",
                    "public class App { public static void main(String[] args) {} }",
                ),
            ],
        ),
        (
            "dotnet",
            &[(
                "a.csproj",
                "<Project Sdk=\"Microsoft.NET.Sdk.Web\"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup></Project>",
            )],
        ),
        (
            "go",
            &[
                ("go.mod", "module a\ngo 1.22\n"),
                ("main.go", "package main\nfunc main() {}\n"),
            ],
        ),
        (
            "rust",
            &[
                (
                    "Cargo.toml",
                    "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
                ),
                ("src/main.rs", "fn main() {}\n"),
            ],
        ),
        ("python", &[("requirements.txt", ""), ("main.py", "")]),
        (
            "deno",
            &[
                ("deno.json", "{\"tasks\": {\"start\": \"deno run -A main.ts\"}}"),
                ("main.ts", ""),
            ],
        ),
        (
            "node",
            &[("package.json", "{\"scripts\":{\"start\":\"node a.js\"}}")],
        ),
        (
            "mkdocs",
            &[("mkdocs.yml", "site_name: a\n"), ("docs/index.md", "")],
        ),
        ("static", &[("index.html", "")]),
    ];

    fn overrides(overrides: Overrides) -> Settings {
        Settings {
            overrides,
            ..Settings::default()
        }
    }

    #[test]
    fn the_manifest_knows_every_detector_and_each_has_an_app_here() {
        let names: Vec<&str> = DETECTORS.iter().map(|detector| detector.name()).collect();
        assert_eq!(names, LANGUAGES, "see nonna_model::service::LANGUAGES");
        assert_eq!(names, APPS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn an_override_is_carried_out_or_refused_by_every_detector_and_never_ignored() {
        let line = || Some("echo \"$A\" && ./it".to_owned());
        let fields: [(&str, Overrides); 5] = [
            (
                "install",
                Overrides {
                    install: line(),
                    ..Overrides::default()
                },
            ),
            (
                "command",
                Overrides {
                    build: line(),
                    ..Overrides::default()
                },
            ),
            (
                "start",
                Overrides {
                    start: line(),
                    ..Overrides::default()
                },
            ),
            (
                "output",
                Overrides {
                    output: Some("pages".into()),
                    ..Overrides::default()
                },
            ),
            ("language", Overrides::default()),
        ];
        let mut refused = Vec::new();
        for (name, files) in APPS {
            for (field, over) in &fields {
                let mut over = over.clone();
                if *field == "language" {
                    over.language = Some((*name).to_owned());
                }
                let settings = overrides(over);
                match plan_with(files, &settings) {
                    Ok(plan) => {
                        let said = "echo \\\"$A\\\" && ./it";
                        let there = match *field {
                            "output" => {
                                plan.dockerfile.contains("/app/pages/")
                                    || plan.dockerfile.contains("src/pages/")
                            }
                            "language" => plan.decided.contains("build.language"),
                            _ => plan.dockerfile.contains(said),
                        };
                        assert!(there, "{name} ignores {field}: {}", plan.dockerfile);
                        assert_eq!(plan.name, *name);
                    }
                    Err(error) => {
                        assert_eq!(error.code, Code::InvalidInput, "{name} {field}: {error}");
                        assert!(error.message.contains(&format!("`build.{field}`")), "{error}");
                        refused.push(format!("{name}.{field}"));
                    }
                }
            }
        }
        // What no build of such an app has.
        for expected in ["go.output", "python.output"] {
            assert!(refused.iter().any(|one| one == expected), "{refused:?}");
        }
        for (name, fields) in [
            ("node", vec!["install", "command", "start", "output"]),
            ("python", vec!["install", "command", "start"]),
            ("go", vec!["install", "command", "start"]),
            ("ruby", vec!["install", "start"]),
            ("rust", vec!["command", "start"]),
            ("static", vec!["start", "output"]),
        ] {
            for field in fields {
                assert!(!refused.contains(&format!("{name}.{field}")), "{refused:?}");
            }
        }
    }

    #[test]
    fn an_empty_command_means_that_none_runs() {
        let files = [
            (
                "package.json",
                "{\"scripts\":{\"start\":\"node a\",\"build\":\"b\"},\"dependencies\":{\"a\":\"1\"}}",
            ),
            ("package-lock.json", "{\"lockfileVersion\": 3}"),
        ];
        let plan = plan_with(
            &files,
            &overrides(Overrides {
                install: Some(String::new()),
                build: Some(String::new()),
                ..Overrides::default()
            }),
        )
        .unwrap();
        assert!(
            plan.install.is_empty() && plan.build.is_empty(),
            "{}",
            plan.dockerfile
        );
        assert_eq!(plan.start, Start::exec(&["node", "a"]));
    }

    fn decided(files: &[(&str, &str)], dockerfile: Option<&str>, said: &BuildOverrides) -> Result<BuildPlan> {
        let manifest = ContextManifest::new(
            files
                .iter()
                .map(|(path, content)| ContextEntry {
                    path: (*path).into(),
                    kind: EntryKind::File {
                        size: content.len() as u64,
                        sha256: "0".repeat(64),
                        executable: false,
                    },
                })
                .collect(),
        );
        let read = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            Ok(found.map(|(_, content)| content.as_bytes().to_vec()))
        };
        let tree = Tree::new(&manifest, &read);
        let asked = Asked {
            dockerfile,
            overrides: said,
        };
        let settings = overrides(Overrides::from(said));
        decide(&tree, asked, &settings)?.explained(&tree)
    }

    #[test]
    fn a_dockerfile_decides_unless_a_language_is_named() {
        let files = [
            ("Dockerfile", "FROM python:3.13-slim\nCOPY . /app\n"),
            ("package.json", "{\"scripts\":{\"start\":\"node a.js\"}}"),
        ];
        let own = decided(&files, None, &BuildOverrides::default()).unwrap();
        assert_eq!(
            (own.builder.as_str(), own.base_images),
            (DOCKERFILE, vec!["python:3.13-slim".into()])
        );
        assert_eq!(own.others[0].language, "node");
        assert!(own.generated.is_none());
        let named = BuildOverrides {
            language: Some("node".into()),
            ..BuildOverrides::default()
        };
        assert_eq!(decided(&files, None, &named).unwrap().builder, "node");
        let start = BuildOverrides {
            start: Some("x".into()),
            ..BuildOverrides::default()
        };
        let error = decided(&files, None, &start).unwrap_err();
        assert_eq!(error.code, Code::InvalidInput);
        assert!(
            error.message.contains("`build.start`") && error.message.contains("`Dockerfile`"),
            "{error}"
        );
        let error = decided(&files, Some("Dockerfile.prod"), &BuildOverrides::default()).unwrap_err();
        assert!(error.hint.unwrap().contains("`Dockerfile`"));
    }

    #[test]
    fn a_plan_says_what_lost_and_how_each_part_is_overruled() {
        let files = [
            (
                "package.json",
                "{\"scripts\":{\"start\":\"node a.js\",\"build\":\"b\"},\"dependencies\":{\"a\":\"1\"}}",
            ),
            ("package-lock.json", "{\"lockfileVersion\": 3}"),
            (".nvmrc", "22.4"),
            ("requirements.txt", "flask\n"),
            ("index.html", ""),
            (".gitignore", "node_modules/\n/dist\n"),
        ];
        let plan = decided(&files, None, &BuildOverrides::default()).unwrap();
        assert_eq!(plan.builder, "node");
        assert!(
            plan.decided.starts_with("package.json is the strongest sign"),
            "{}",
            plan.decided
        );
        let others: Vec<&str> = plan.others.iter().map(|other| other.language.as_str()).collect();
        assert_eq!(others, ["python", "static"]);
        assert_eq!(plan.versions[0].version, "22.4");
        assert!(plan.versions[0].why.contains(".nvmrc"));
        let what: Vec<&str> = plan.overrule.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "language",
                "version",
                "install",
                "command",
                "output",
                "start",
                "start",
                "everything"
            ]
        );
        let lines: Vec<&str> = plan
            .overrule
            .iter()
            .filter_map(|one| one.line.as_deref())
            .collect();
        assert_eq!(lines[0], "language = \"python\"");
        // They may be taken as they stand.
        let table = format!("[build]\n{}\n", lines.join("\n"));
        if let Err(problems) = nonna_model::manifest::parse(&table, "nonna.toml") {
            panic!("{table}{problems}");
        }
        assert_eq!(plan.caches[0].name, "npm");
        let generated = plan.generated.unwrap();
        assert!(
            generated
                .dockerfile
                .contains("\nCOPY package.json package-lock.json ./\n"),
            "{}",
            generated.dockerfile
        );
        assert!(
            generated
                .dockerfile
                .contains("--mount=type=cache,target=/root/.npm"),
            "{}",
            generated.dockerfile
        );
        assert!(!generated.dockerfile.contains("src/"), "{}", generated.dockerfile);
        assert!(
            generated.ignored.contains("**/node_modules\ndist\n.git\n.env\n"),
            "{}",
            generated.ignored
        );
    }

    #[test]
    fn the_images_of_a_dockerfile_are_those_that_are_no_stages() {
        assert_eq!(
            base_images_of(
                "ARG V=1\nFROM --platform=linux/amd64 node:22 AS Build\nRUN FROM\nfrom build as next\nFROM scratch\n\
                 FROM a:$V\nFROM nginx\nFROM node:22\n"
            ),
            ["node:22", "nginx"]
        );
        assert!(base_images_of("").is_empty());
    }
}
