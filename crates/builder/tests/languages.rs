//! The examples of the compiled languages and of Ruby, built for real: each
//! answers, as a user without rights, ends when it is told to, and shows a
//! change of one line of its source, whatever its build keeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "a test that cannot go on has failed, and says where"
)]

mod support;

use std::time::Duration;

use support::{Bench, borrowed, example};

/// An example, and the line of it that the test changes.
struct Case {
    name: &'static str,
    /// The file that has the greeting `hello from LANGUAGE`.
    file: &'static str,
    /// What the first page says.
    greeting: &'static str,
    /// Another path, and what is answered there: a part of the app that needs
    /// more than the program (a template, a library, time zones).
    also: (&'static str, &'static str),
}

async fn builds_runs_and_changes(case: &Case) {
    let bench = Bench::new();
    let mut files = example(case.name);
    let build = async |files: &[(String, String)]| {
        let mut request = bench.request(&borrowed(files));
        // A machine that does much else at the same time compiles slowly.
        request.timeout = Duration::from_secs(900);
        let built = bench.go(&request).await;
        built.unwrap_or_else(|error| {
            panic!(
                "{}: {error}\n{:#?}\n{:#?}",
                case.name,
                error.details,
                bench.lines()
            )
        })
    };
    let first = build(&files).await;
    let app = bench.start(&first.image).await;
    let page = app.get("/").await;
    assert!(page.contains(case.greeting), "{page}");
    let (path, expected) = case.also;
    let page = app.get(path).await;
    assert!(page.contains(expected), "{path}: {page}");
    assert_ne!(app.user().await, "0");
    let took = app.stop().await;
    assert!(
        took < Duration::from_secs(8),
        "it had to be killed: it ended after {took:?}"
    );

    // As long as before and with the same date, as every file of a context has:
    // only the contents tell that it changed.
    let changed = case.greeting.replace("hello", "adieu");
    let (_, text) = files.iter_mut().find(|(path, _)| path == case.file).unwrap();
    assert!(text.contains(case.greeting), "{}: {text}", case.file);
    *text = text.replace(case.greeting, &changed);
    let second = build(&files).await;
    assert_ne!(first.image, second.image);
    let app = bench.start(&second.image).await;
    let page = app.get("/").await;
    assert!(page.contains(&changed), "{page}");
    app.stop().await;
}

#[tokio::test]
async fn go_becomes_a_small_image_with_its_templates_and_time_zones() {
    let case = Case {
        name: "go-app",
        file: "internal/links/links.go",
        greeting: "hello from go",
        also: ("/time/Europe/Rome", "+0"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn rust_compiles_its_crates_once() {
    let case = Case {
        name: "rust-app",
        file: "src/main.rs",
        greeting: "hello from rust",
        also: ("/notes", "[]"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn ruby_is_served_by_puma() {
    let case = Case {
        name: "ruby-app",
        file: "app.rb",
        greeting: "hello from ruby",
        also: ("/throw/100", "from 1 to 20"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn java_becomes_a_jar_with_its_dependencies() {
    let case = Case {
        name: "java-app",
        file: "src/main/java/app/Main.java",
        greeting: "hello from java",
        also: ("/primes", "[2,3,5,7,11,"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn elixir_becomes_a_release() {
    let case = Case {
        name: "elixir-app",
        file: "lib/elixir_app/pages.ex",
        greeting: "hello from elixir",
        also: ("/reverse/anno", "onna"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn php_is_served_by_apache_with_its_extensions() {
    let case = Case {
        name: "php-app",
        file: "src/Pages.php",
        greeting: "hello from php",
        also: ("/spell/42", "forty-two"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn deno_takes_along_what_its_files_import() {
    let case = Case {
        name: "deno-app",
        file: "app.ts",
        greeting: "hello from deno",
        also: ("/motto", "Fortune favours"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn pipenv_installs_what_it_locked() {
    let case = Case {
        name: "pipenv-app",
        file: "app.py",
        greeting: "hello from pipenv",
        also: ("/add/2/40", "42"),
    };
    builds_runs_and_changes(&case).await;
}

#[tokio::test]
async fn a_package_of_python_without_a_wheel_is_compiled_and_finds_its_library() {
    let bench = Bench::new();
    let files = [
        ("requirements.txt", "psycopg2==2.9.10\n"),
        (
            "main.py",
            "import psycopg2, shutil\nprint('libpq', psycopg2.__libpq_version__, 'compiler', shutil.which('gcc'))\n",
        ),
    ];
    let built = bench.build(&files).await;
    let built = built.unwrap_or_else(|error| panic!("{error}\n{:#?}\n{:#?}", error.details, bench.lines()));
    let said = bench.run(&built.image, &[]).await;
    assert!(
        said.contains("libpq 15") && said.contains("compiler None"),
        "{said}"
    );
}

#[tokio::test]
async fn a_lockfile_out_of_step_is_named_with_what_mends_it() {
    let bench = Bench::new();
    let mut files = example("ruby-app");
    let (_, gemfile) = files.iter_mut().find(|(path, _)| path == "Gemfile").unwrap();
    gemfile.push_str("gem \"rack-test\"\n");
    let error = bench.build(&borrowed(&files)).await.unwrap_err();
    let hint = error.hint.unwrap_or_default();
    assert!(
        hint.contains("Gemfile.lock is out of step"),
        "{hint}: {:#?}",
        bench.lines()
    );

    let mut files = example("rust-app");
    let (_, manifest) = files.iter_mut().find(|(path, _)| path == "Cargo.toml").unwrap();
    *manifest = manifest.replace("version = \"0.5\"", "version = \"0.4\"");
    let error = bench.build(&borrowed(&files)).await.unwrap_err();
    let hint = error.hint.unwrap_or_default();
    assert!(
        hint.contains("Cargo.lock is out of step"),
        "{hint}: {:#?}",
        bench.lines()
    );
}

/// The example of Node.js with another lockfile.
fn locked_by(name: &'static str, lock: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut files = example("node-app");
    files.retain(|(path, _)| path != "package-lock.json");
    files.push((name.to_owned(), lock.to_owned()));
    files.extend(
        more.iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned())),
    );
    files
}

#[tokio::test]
async fn every_package_manager_of_node_installs_what_it_locked() {
    for (manager, files) in [
        ("npm", example("node-app")),
        (
            "pnpm",
            locked_by("pnpm-lock.yaml", include_str!("locks/pnpm-lock.yaml"), &[]),
        ),
        (
            "Yarn 1",
            locked_by("yarn.lock", include_str!("locks/yarn-1.lock"), &[]),
        ),
        (
            "Yarn 4",
            locked_by(
                "yarn.lock",
                include_str!("locks/yarn-4.lock"),
                &[(".yarnrc.yml", "nodeLinker: node-modules\n")],
            ),
        ),
        ("Bun", locked_by("bun.lock", include_str!("locks/bun.lock"), &[])),
    ] {
        let bench = Bench::new();
        let built = bench.build(&borrowed(&files)).await;
        let built = built
            .unwrap_or_else(|error| panic!("{manager}: {error}\n{:#?}\n{:#?}", error.details, bench.lines()));
        let app = bench.start(&built.image).await;
        let page = app.get("/").await;
        assert!(page.contains("Hello from Node.js"), "{manager}: {page}");
        assert_ne!(app.user().await, "0", "{manager}");
        let took = app.stop().await;
        assert!(
            took < Duration::from_secs(5),
            "{manager}: it ended after {took:?}"
        );
    }
}
