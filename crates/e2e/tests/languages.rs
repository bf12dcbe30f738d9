//! The examples of every language, from their folder to an answer through the
//! edge: each is recognised, built by `nonna deploy` with no word from its
//! user, runs without rights, is not built again when nothing has changed, and
//! ends by itself when it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use nonna_e2e::{Installation, Options, engine};

/// The certificates that the machine itself trusts.
const MACHINE_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An example, and what it answers.
struct Row {
    example: &'static str,
    /// The detector that has to recognise it.
    language: &'static str,
    /// Paths, and what their pages have in them.
    pages: &'static [(&'static str, &'static str)],
}

/// Copies an example's files into a folder of the installation.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The user ids of all processes of a container.
fn users(container: &str) -> anyhow::Result<Vec<String>> {
    let processes = engine::get(&format!("/containers/{container}/top?ps_args=-eo%20pid,uid"))?;
    let rows = processes["Processes"].as_array().context("no processes")?;
    Ok(rows
        .iter()
        .filter_map(|row| row[1].as_str().map(|uid| uid.trim().to_owned()))
        .collect())
}

fn deploys(row: &Row) -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        arguments: vec!["--build-extra-ca".into(), MACHINE_CA.into()],
        ..Options::default()
    })?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(row.example);
    copy(&source, &nonna.folder().join(row.example))?;

    let first = nonna.nonna_in(row.example, &["deploy"])?.ok()?;
    let is_it = |line: &str| {
        let said = line.split(": found ").next().filter(|said| *said != line);
        said.is_some_and(|said| said.split(' ').any(|word| word == row.language))
    };
    assert!(
        first.stderr.lines().any(is_it),
        "it was taken for something else: {first:?}"
    );
    let host = format!("{}.localhost", row.example);
    for (path, expected) in row.pages {
        let answer = nonna.get(&host, path)?;
        assert!(
            answer.status == 200 && answer.body.contains(expected),
            "{} {path}: {answer:?}",
            row.example
        );
    }

    let containers = engine::containers(nonna.id())?;
    let container = containers[0]["Id"].as_str().context("no id")?.to_owned();
    let users = users(&container)?;
    assert!(
        !users.is_empty() && users.iter().all(|user| user != "0"),
        "{}: {users:?}",
        row.example
    );

    let again = nonna.nonna_in(row.example, &["deploy"])?.ok()?;
    assert!(again.stderr.contains("Nothing to do"), "{again:?}");
    assert!(!again.stderr.contains("[build"), "{again:?}");

    let shown = engine::get(&format!("/containers/{container}/json"))?;
    let process = format!("/proc/{}", shown["State"]["Pid"]);
    assert!(Path::new(&process).exists());
    engine::call("POST", &format!("/containers/{container}/kill?signal=SIGTERM"))?;
    let begun = Instant::now();
    while Path::new(&process).exists() {
        anyhow::ensure!(
            begun.elapsed() < Duration::from_secs(8),
            "{} does not end when it is told to",
            row.example
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

macro_rules! rows {
    ($($test:ident: $example:literal is $language:literal with $pages:expr;)*) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                deploys(&Row { example: $example, language: $language, pages: &$pages })
            }
        )*
    };
}

rows! {
    deno: "deno-app" is "deno" with [("/", "hello from deno"), ("/motto", "Fortune favours")];
    elixir: "elixir-app" is "elixir" with [("/", "hello from elixir"), ("/reverse/anno", "onna")];
    go: "go-app" is "go" with [("/", "hello from go")];
    java: "java-app" is "java" with [("/", "hello from java"), ("/primes", "[2,3,5,7,11,")];
    node_with_npm: "node-app" is "node" with [("/", "Hello from Node.js")];
    node_with_next: "next-app" is "node" with [("/", "hello from next"), ("/api/time", "up")];
    node_with_sveltekit_and_pnpm: "sveltekit-app" is "node" with [("/", "hello from sveltekit"), ("/", "rendered by Node.js")];
    pages_by_hugo: "hugo-site" is "hugo" with [("/", "hello from hugo"), ("/posts/first-steps/", "First steps")];
    pages_by_jekyll: "jekyll-site" is "jekyll" with [("/", "hello from jekyll")];
    pages_by_mkdocs: "docs-site" is "mkdocs" with [("/", "hello from mkdocs")];
    pages_by_vite: "vite-app" is "node" with [("/", "hello from vite"), ("/any/where", "hello from vite")];
    pages_without_a_build: "static-site" is "static" with [("/", "A static site")];
    php: "php-app" is "php" with [("/", "hello from php"), ("/spell/42", "forty-two"), ("/robots.txt", "Allow")];
    python_with_pip: "python-app" is "python" with [("/", "Hello from Flask")];
    python_with_pipenv: "pipenv-app" is "python" with [("/", "hello from pipenv"), ("/add/2/40", "42")];
    python_with_poetry_and_django: "django-app" is "python" with [("/", "hello from django"), ("/", "notes/style.")];
    python_with_uv_and_fastapi: "uv-app" is "python" with [("/", "Hello from FastAPI")];
    ruby: "ruby-app" is "ruby" with [("/", "hello from ruby"), ("/throw/1", "[")];
    rust: "rust-app" is "rust" with [("/", "hello from rust"), ("/notes", "[]")];
}
