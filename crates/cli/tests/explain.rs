//! `nonna build --explain`: said without a server, and without a trace in the
//! folder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod common;

use std::path::Path;

use common::{Ran, bare, ran, same};
use tempfile::TempDir;

const PACKAGE: &str = "{\"scripts\": {\"build\": \"tsc\", \"start\": \"node dist/a.js\"}, \"devDependencies\": {\"typescript\": \"5\"}}";

fn explained(files: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("shop");
    for (path, text) in files {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let before = names(&folder);
    let mut command = bare(home.path(), ["build", "--explain"]);
    command.args(arguments).current_dir(&folder);
    let ran = ran(command);
    assert_eq!(names(&folder), before, "something was written into the folder");
    ran
}

/// All that is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(names(&path));
        }
        found.push(path.display().to_string());
    }
    found.sort();
    found
}

#[test]
fn a_plan_says_what_was_found_what_decided_what_runs_and_how_to_overrule_it() {
    let ran = explained(
        &[
            ("package.json", PACKAGE),
            ("package-lock.json", "{\"lockfileVersion\": 3}"),
            (".nvmrc", "22.4\n"),
            ("requirements.txt", "black\n"),
        ],
        &[],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    same(
        &ran.out,
        r#"
web: node, built from .
  found         package.json, package-lock.json
  decided by    package.json is the strongest sign: A manifest of the language, and what starts the app: a framework, a start script, an entry file, a build file
  version       Node.js 22.4: .nvmrc asks for it
  install       npm ci
                (there is package-lock.json)
  build         npm run build
                (`scripts.build` in package.json)
  start         node dist/a.js
                (`scripts.start` in package.json)
  base images   node:22.4-slim
  cache         npm at /root/.npm
  also found    python (by requirements.txt), but node (package.json) is the stronger sign

  To overrule it, in nonna.toml:
    [build]
    language = "python"  # hugo, zola, jekyll, ruby, php, elixir, java, dotnet, go, rust, python, deno, node, mkdocs, static
    install = "npm ci"  # empty: nothing is installed
    command = "npm run build"  # what builds; empty: nothing is built
    output = "FOLDER"  # its files are served as they are
    start = "node dist/a.js"  # what the image starts
  or:
    version       `.nvmrc`, `.node-version`, `mise.toml`, `.tool-versions`, then `engines.node`; else 22.
    start         a line `web: COMMAND` in a Procfile
    everything    a Dockerfile in the folder: `nonna build --explain --dockerfile` prints one to begin with
  docs/languages.md has all that is known of node.
"#,
    );
    assert_eq!(ran.err, "");
}

#[test]
fn services_of_one_source_are_one_build_and_images_are_none() {
    let files = [
        ("package.json", PACKAGE),
        ("Procfile", "web: node dist/a.js\nworker: node dist/w.js\n"),
        (
            "nonna.toml",
            "[build]\ncommand = \"npx tsc -p .\"\n[services.web]\n[services.docs]\nsource = \"docs\"\nport = false\n[services.cache]\nimage = \"redis:7\"\n",
        ),
        ("docs/Dockerfile", "FROM nginx:1.27\n"),
    ];
    let ran = explained(&files, &["--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let built = said["built"].as_array().unwrap();
    assert_eq!(built.len(), 2, "{said}");
    assert_eq!(built[0]["plan"]["builder"], "Dockerfile");
    assert_eq!(built[0]["plan"]["base_images"][0], "nginx:1.27");
    assert_eq!(built[1]["services"], serde_json::json!(["web", "worker"]));
    assert_eq!(built[1]["commands"]["worker"][1], "dist/w.js");
    assert_eq!(
        built[1]["plan"]["build"],
        serde_json::json!([{"command": "npx tsc -p .", "why": "`build.command` in nonna.toml"}])
    );
    assert_eq!(said["images"]["cache"], "redis:7");

    // A part of it that was asked for, and one that is not there.
    let docs = explained(&files, &["--service", "docs"]);
    assert!(
        docs.out.starts_with("docs: Dockerfile, built from docs\n"),
        "{docs:?}"
    );
    assert_eq!(explained(&files, &["--service", "nobody"]).code, Some(2));
}

#[test]
fn the_dockerfile_that_was_made_is_printed_for_use_in_the_folder_itself() {
    let ran = explained(&[("package.json", PACKAGE)], &["--dockerfile"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("FROM node:22-slim AS build\n"), "{}", ran.out);
    assert!(
        ran.out.contains("\nCOPY . ./\n") && !ran.out.contains("src/"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("nonna"), "{}", ran.out);
    let own = explained(&[("Dockerfile", "FROM busybox\n")], &["--dockerfile"]);
    assert_eq!(own.code, Some(1), "{own:?}");
    assert!(own.err.contains("the Dockerfile that is there"), "{own:?}");
}

#[test]
fn what_cannot_be_built_is_said_with_what_was_looked_for() {
    let files = [
        ("notes.txt", "nothing to see"),
        ("nonna.toml", "[services.web]\n[services.api]\nsource = \"api\"\n"),
        ("api/go.mod", "module api\ngo 1.22\n"),
        ("api/main.go", "package main\nfunc main() {}\n"),
    ];
    let ran = explained(&files, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("web: cannot be built from ."), "{ran:?}");
    assert!(
        ran.out.contains("api: go, built from api"),
        "the others are said all the same: {ran:?}"
    );
    assert!(ran.err.contains("no language was recognised"), "{ran:?}");
    assert!(
        ran.err.contains("node: package.json") && ran.err.contains("go: go.mod"),
        "{ran:?}"
    );
    assert!(ran.err.contains("[nothing_to_build]"), "{ran:?}");

    let json = explained(&files, &["--json"]);
    assert_eq!(json.code, Some(1));
    let said: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let errors: Vec<&str> = said["built"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["error"]["code"].as_str())
        .collect();
    assert_eq!(errors, ["nothing_to_build"]);

    let unknown = explained(
        &[
            ("package.json", PACKAGE),
            ("nonna.toml", "[build]\nlanguage = \"nodejs\"\n"),
        ],
        &[],
    );
    assert!(
        unknown.err.contains("did you mean") && unknown.err.contains("node"),
        "{unknown:?}"
    );
}
