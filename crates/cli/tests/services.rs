//! What is read and changed of services, variables and the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{Fake, Ran, Script, collect, same};

fn with_input(fake: &Fake, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = fake.command(arguments);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    collect(child)
}

#[test]
fn status_shows_services_replicas_and_where_they_are() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["status"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "shop/production");
    assert_eq!(lines[2], "web  degraded  v2  1/2 replicas  Dockerfile");
    assert_eq!(lines[3], "  https://shop.localhost");
    assert_eq!(lines[4], "  volumes: data");
    assert!(
        lines[6].contains("12 MB of 512 MB") && lines[6].contains("4.2 s"),
        "{}",
        ran.out
    );
    assert!(lines[7].contains("killed: out of memory"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "{:?}", ran.out);
    let json: serde_json::Value = serde_json::from_str(&fake.nonna(["status", "--json"]).out).unwrap();
    assert_eq!(json["services"][0]["urls"][0], "https://shop.localhost");

    let none = fake.nonna(["status", "-e", "staging"]);
    assert_eq!(none.code, Some(1));
    assert!(
        none.err.contains("There is no environment shop/staging."),
        "{}",
        none.err
    );
}

#[test]
fn logs_cannot_steer_the_terminal() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["logs"]);
    same(&ran.out, "web v2.0 | hello\nweb v2.1 ! ohno\n");
    let times = fake.nonna(["logs", "web", "--timestamps"]);
    assert!(
        times.out.starts_with("2023-11-14 22:13:20 v2.0 | hello\n"),
        "{}",
        times.out
    );
    let json = fake.nonna(["logs", "--json"]);
    let first: serde_json::Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["line"], "hello");
    fake.nonna([
        "logs",
        "web",
        "--grep",
        "a b&c",
        "--since",
        "1970-01-01T00:00:01Z",
        "--access",
        "-n",
        "5",
    ]);
    let asked = fake.asked().pop().unwrap();
    for expected in [
        "/services/web/logs?",
        "grep=a+b%26c",
        "since=1000",
        "access=true",
        "tail=5",
    ] {
        assert!(asked.contains(expected), "{expected}: {asked}");
    }
}

#[test]
fn changes_name_what_they_change() {
    let fake = Fake::start(Script::Works);
    let base = "POST /v1/projects/shop/environments/production/services/web";
    for (arguments, path, verb) in [
        (vec!["scale", "web=3"], "scale", "Scaled"),
        (vec!["rollback", "v1"], "rollback", "Rolled back"),
        (vec!["pause"], "pause", "Paused"),
        (vec!["resume", "web"], "resume", "Resumed"),
        (vec!["destroy", "web", "--yes"], "destroy", "Destroyed"),
        (vec!["destroy", "web", "--confirm", "web"], "destroy", "Destroyed"),
    ] {
        let ran = fake.nonna(&arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(verb), "{arguments:?}: {}", ran.err);
        let expected = format!("{base}/{path}");
        assert!(fake.asked().contains(&expected), "{expected}: {:?}", fake.asked());
    }
    let bodies = fake.bodies();
    assert_eq!(bodies[0]["replicas"], 3);
    assert_eq!(bodies[1]["release"], "v1");
    assert_eq!(bodies.last().unwrap()["confirm"], "web");
}

#[test]
fn destroying_says_what_is_lost_and_needs_the_name() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["destroy"]);
    assert_eq!(ran.code, Some(2));
    same(
        &ran.err,
        "
This destroys shop/production with its variables, its secrets and 1 service:
  - service web (v2, 2 replicas)
  - volume web/data and everything in it
  - route https://shop.localhost
It cannot be undone.
error: To destroy something needs a confirmation, and there is no terminal to ask on. Nothing was done.
hint: Add `--confirm production`.
",
    );
    assert!(fake.asked().iter().all(|line| line.starts_with("GET")));
}

#[test]
fn variables_are_set_read_and_removed() {
    let fake = Fake::start(Script::Works);
    assert_eq!(
        fake.nonna(["env", "set", "A=1", "B=x=y", "--stage"]).code,
        Some(0)
    );
    assert_eq!(
        fake.nonna(["env", "unset", "A", "--service", "web"]).code,
        Some(0)
    );
    let bodies = fake.bodies();
    assert_eq!(bodies[0]["set"]["B"], "x=y");
    assert_eq!(bodies[0]["stage"], true);
    assert_eq!(bodies[1]["unset"][0], "A");
    assert!(
        fake.asked()
            .iter()
            .any(|line| line.contains("scope=service&service=web"))
    );
    same(&fake.nonna(["env", "get", "LEVEL"]).out, "near\n");
    assert!(
        fake.nonna(["env", "get", "TOKEN"])
            .err
            .contains("nonna secret get")
    );
    assert_eq!(fake.nonna(["env", "get", "NOTHING"]).code, Some(1));
    let listed = fake.nonna(["env", "list"]).out;
    assert!(listed.contains("LEVEL") && !listed.contains("TOKEN"), "{listed}");
}

#[test]
fn a_secret_comes_from_standard_input_or_a_file_and_never_from_the_arguments() {
    let fake = Fake::start(Script::Works);
    let folder = fake.folder(&[
        ("key.pem", "two\nlines\n"),
        ("many.env", "# comment\nexport A=\"x y\"\nB=z\n"),
    ]);
    assert_eq!(
        with_input(&fake, &["secret", "set", "TOKEN"], b"s3cret\n").code,
        Some(0)
    );
    assert_eq!(
        with_input(&fake, &["secret", "set", "TOKEN=-"], b"s3cret").code,
        Some(0)
    );
    assert_eq!(
        fake.nonna(["secret", "set", "KEY", "--from-file", "key.pem"])
            .code,
        Some(0)
    );
    let file = folder.join("many.env");
    assert_eq!(
        fake.nonna(["secret", "set", "--env-file", file.to_str().unwrap()])
            .code,
        Some(0)
    );
    assert_eq!(
        with_input(&fake, &["secret", "set", "EMPTY"], b"\n").code,
        Some(2)
    );
    let bodies = fake.bodies();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|body| body["secret"] == true));
    assert_eq!(bodies[0]["set"]["TOKEN"], "s3cret");
    assert_eq!(bodies[1]["set"]["TOKEN"], "s3cret");
    assert_eq!(bodies[2]["set"]["KEY"], "two\nlines\n");
    assert_eq!(bodies[3]["set"]["A"], "x y");
    let listed = fake.nonna(["secret", "list"]).out;
    assert!(listed.contains("TOKEN") && !listed.contains("LEVEL"), "{listed}");
    same(&fake.nonna(["secret", "get", "TOKEN"]).out, "s3cret");
}

#[test]
fn exec_and_run_pass_streams_and_the_exit_code_on() {
    let fake = Fake::start(Script::Works);
    for verb in ["exec", "run"] {
        let ran = with_input(&fake, &[verb, "--", "cat", "a b"], b"typed\n");
        assert_eq!(ran.code, Some(7), "{ran:?}");
        assert_eq!(ran.out, "typed\n");
        assert!(ran.err.contains("command=%5B%22cat%22%2C%22a+b%22%5D"), "{ran:?}");
        assert!(ran.err.contains("tty=false"), "{ran:?}");
    }
}

#[test]
fn releases_are_listed_newest_first() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["releases"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("RELEASE  STATE"), "{}", ran.out);
    assert!(
        lines[1].starts_with("v2       current    2023-11-14 22:13:20"),
        "{}",
        ran.out
    );
    assert!(lines[2].starts_with("v1       succeeded"), "{}", ran.out);
    let json: serde_json::Value = serde_json::from_str(&fake.nonna(["releases", "--json"]).out).unwrap();
    assert_eq!(json[0]["current"], true);
}

#[test]
fn an_export_and_a_backup_write_over_nothing() {
    let fake = Fake::start(Script::Works);
    same(&fake.nonna(["export"]).out, "services: {}\n");
    assert_eq!(fake.nonna(["export", "out"]).code, Some(0));
    let file = fake.folder(&[]).join("out/compose.yaml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "services: {}\n");
    assert_eq!(fake.nonna(["export", "out"]).code, Some(2));
    assert_eq!(
        fake.nonna(["export", "out", "--force", "--format", "kubernetes"])
            .code,
        Some(0)
    );
    assert!(fake.asked().pop().unwrap().ends_with("format=kubernetes"));

    assert_eq!(fake.nonna(["backup", "state.backup"]).code, Some(0));
    assert_eq!(fake.nonna(["backup", "state.backup"]).code, Some(2));
    same(&fake.nonna(["backup", "-"]).out, "the state");
    let left: Vec<_> = std::fs::read_dir(fake.folder(&[])).unwrap().collect();
    assert_eq!(left.len(), 2, "only the export and the backup: {left:?}");
}

#[test]
fn doctor_looks_here_and_there_and_fails_where_something_is_wrong() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["doctor"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for expected in [
        "ok      server: ",
        "ok      clocks: ",
        "ok      token: ",
        "failed  port 80: Another program listens on port 80: nginx.",
        "        Stop it, or choose another port with --http.",
    ] {
        assert!(ran.out.contains(expected), "{expected}: {}", ran.out);
    }
    let json: serde_json::Value = serde_json::from_str(&fake.nonna(["doctor", "--json"]).out).unwrap();
    assert_eq!(
        json["findings"].as_array().unwrap().last().unwrap()["state"],
        "failed"
    );
}

#[test]
fn open_and_domain_print_where_services_are() {
    let fake = Fake::start(Script::Works);
    same(&fake.nonna(["open"]).out, "https://shop.localhost\n");
    assert!(
        fake.nonna(["domain"])
            .out
            .contains("web      https://shop.localhost\n")
    );
    let version = fake.nonna(["version", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&version.out).unwrap();
    assert_eq!(json["server"]["installation"], "ins-aaaaaaaaaaaaaaaa");
}
