//! Exit codes, errors and what is refused before anything is asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Fake, Script, bare, ran, same};
use tempfile::TempDir;

#[test]
fn bad_usage_is_exit_code_2_and_asks_nothing() {
    let fake = Fake::start(Script::Works);
    let cases: &[&[&str]] = &[
        &["frobnicate"],
        &["deploy", "--frobnicate"],
        &["scale", "web"],
        &["scale", "web=many"],
        &["exec", "web"],
        &["rollback", "latest"],
        &["deploy", "-p", "../etc"],
        &["deploy", "-e", "a;b"],
        &["deploy", "/nowhere/at/all"],
        &["env", "set", "NAME"],
        &["env", "set", "1A=x"],
        &["env", "set", "A=1", "--scope", "service"],
        &["env", "set", "A=1", "--scope", "project", "--service", "web"],
        &["secret", "set", "PASSWORD=hunter2"],
        &["secret", "set"],
        &["logs", "--since", "yesterday"],
        &["logs", "--follow", "--until", "1h"],
        &["destroy", "web"],
        &["destroy", "--confirm", "staging"],
        &["login", "http://127.0.0.1:1"],
        &["completions", "cmd"],
        &["build", "--dockerfile"],
        &["build", "--explain", "--no-cache"],
        &["deploy", "--image", "x", "--service", "api"],
    ];
    for arguments in cases {
        let ran = fake.nonna(*arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(
            ran.err.lines().any(|line| line.starts_with("error: ")),
            "{arguments:?}: {}",
            ran.err
        );
    }
    let changes: Vec<String> = fake
        .asked()
        .into_iter()
        .filter(|line| !line.starts_with("GET"))
        .collect();
    assert_eq!(changes, Vec::<String>::new());
}

#[test]
fn a_secret_in_the_arguments_is_refused_and_not_repeated() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["secret", "set", "PASSWORD=hunter2"]);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
    assert!(
        ran.err.contains("standard input") || ran.err.contains("asks for it"),
        "{}",
        ran.err
    );
}

#[test]
fn without_a_server_the_way_to_one_is_shown() {
    let home = TempDir::new().unwrap();
    let none = ran(bare(home.path(), ["status"]));
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("No server is known"), "{}", none.err);
    assert!(none.err.contains("nonna login"), "{}", none.err);

    // A port where nothing listens any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let gone = ran(bare(
        home.path(),
        ["status", "--server", &format!("http://127.0.0.1:{port}")],
    ));
    assert_eq!(gone.code, Some(1));
    for expected in ["refused", "nonna server", "nonna doctor", "[server_unavailable]"] {
        assert!(gone.err.contains(expected), "{expected}: {}", gone.err);
    }
    let json = ran(bare(
        home.path(),
        [
            "status",
            "--json",
            "--server",
            &format!("http://127.0.0.1:{port}"),
        ],
    ));
    assert_eq!(json.out, "");
    let error: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(error["error"]["code"], "server_unavailable");
}

#[test]
fn a_server_that_is_not_nonna_is_told_from_one_that_is() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\n<h1>\x1b[31mnginx</h1>\n",
            );
        }
    });
    let home = TempDir::new().unwrap();
    let found = ran(bare(
        home.path(),
        ["status", "--server", &format!("http://127.0.0.1:{port}")],
    ));
    assert_eq!(found.code, Some(1));
    assert!(
        found.err.contains("does not answer as Nonna's API does"),
        "{}",
        found.err
    );
    assert!(!found.err.contains('\u{1b}'), "{:?}", found.err);
}

#[test]
fn a_login_is_kept_for_its_owner_only_and_used_from_then_on() {
    let fake = Fake::start(Script::Works);
    let home = fake.home.path();
    let wrong = ran(bare(home, ["login", &fake.url(), "--code", "wrong"]));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("login-code"), "{}", wrong.err);
    let file = home.join(".config/nonna/config.toml");
    assert!(!file.exists());

    let right = ran(bare(
        home,
        ["login", &fake.url(), "--code", "right", "--as", "home"],
    ));
    assert_eq!(right.code, Some(0), "{right:?}");
    assert!(
        !format!("{right:?}").contains("good"),
        "the token is not shown: {right:?}"
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    for arguments in [
        vec!["status", "-p", "shop"],
        vec!["status", "-p", "shop", "--server", "home"],
    ] {
        let status = ran(bare(home, arguments));
        assert_eq!(status.code, Some(0), "{status:?}");
    }
    let unknown = ran(bare(home, ["status", "-p", "shop", "--server", "away"]));
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("home"), "{}", unknown.err);
    // The environment's token wins over the one that was kept.
    let mut command = bare(home, ["status", "-p", "shop"]);
    command.env("NONNA_TOKEN", "bad");
    let refused = ran(command);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("[unauthenticated]") && refused.err.contains("login-code"),
        "{}",
        refused.err
    );
}

#[test]
fn a_configuration_that_is_broken_is_told_without_the_token_in_it() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join(".config/nonna");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("config.toml"),
        "current = \"a\"\n[servers.a]\nurl = \"http://h\"\ntoken = \"s3cret\" oops\n",
    )
    .unwrap();
    let broken = ran(bare(home.path(), ["status"]));
    assert_eq!(broken.code, Some(1));
    assert!(broken.err.contains("config.toml:4:"), "{}", broken.err);
    assert!(!broken.err.contains("s3cret"), "{}", broken.err);
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let made = ran(bare(home.path(), ["completions", shell]));
        assert_eq!(made.code, Some(0), "{shell}");
        assert!(made.out.contains("rollback"), "{shell}");
    }
}

#[test]
fn init_writes_a_manifest_once() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("My Shop");
    std::fs::create_dir(&folder).unwrap();
    let made = ran(bare(home.path(), ["init".as_ref(), folder.as_os_str()]));
    assert_eq!(made.code, Some(0), "{made:?}");
    let text = std::fs::read_to_string(folder.join("nonna.toml")).unwrap();
    assert!(text.contains("project = \"my-shop\""), "{text}");
    let again = ran(bare(home.path(), ["init".as_ref(), folder.as_os_str()]));
    assert_eq!(again.code, Some(2));
    same(
        &std::fs::read_to_string(folder.join("nonna.toml")).unwrap(),
        &text,
    );
}
