//! `nonna deploy` and `nonna plan`, as a user sees them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod common;

use common::{Fake, Script, collect, read_until, same};
use rustix::process::{Pid, Signal, kill_process};

const APP: &[(&str, &str)] = &[
    ("Dockerfile", "FROM base\n"),
    ("app.py", "print('hello')\n"),
    (".dockerignore", "secret.txt\n"),
    ("secret.txt", "not for the builder"),
];

#[test]
fn a_deploy_sends_the_folder_once_and_ends_with_the_url_and_the_answer() {
    let fake = Fake::start(Script::Works);
    fake.folder(APP);
    let first = fake.nonna(["deploy"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    same(
        &first.out,
        "  web  https://shop.localhost  GET / → 200 OK in 3 ms\n",
    );
    same(
        &first.err,
        "
Sending 3 of 3 files (252 B) for web
[build web] begins
[build web] | STEP 1/2: FROM base
[build web] done in 1.1 s
[start web] begins
[start web] replica 0 of v3 runs
[start web] replica 0 of v3 is healthy: GET / → 200 OK in 3 ms
[start web] done in 200 ms
[switch web] requests go to the new replicas (switched in 80 µs)
Deployed shop/production v3 in 1.5 s.
",
    );
    let again = fake.nonna(["deploy"]);
    assert!(!again.err.contains("Sending"), "{again:?}");
    let sent = fake.asked().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(sent, 1, "{:?}", fake.asked());
    let request = &fake.bodies()[0];
    assert!(
        request["contexts"]["web"]
            .as_str()
            .unwrap()
            .starts_with("sha256:"),
        "{request}"
    );
}

#[test]
fn nothing_to_do_is_said_in_so_many_words() {
    let fake = Fake::start(Script::NothingToDo);
    fake.folder(APP);
    fake.nonna(["deploy"]);
    let again = fake.nonna(["deploy"]);
    assert_eq!(again.code, Some(0));
    same(&again.out, "  web  https://shop.localhost\n");
    same(&again.err, "Nothing to do: production runs v2 already.\n");
    let plan = fake.nonna(["plan"]);
    same(&plan.out, "Nothing to do: shop/production runs v2 already.\n");
}

#[test]
fn quiet_prints_the_url_alone() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["deploy", "--quiet", "--image", "shop:2"]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("https://shop.localhost\n", "")
    );
    let request = &fake.bodies()[0];
    assert_eq!(request["image"], "shop:2");
    assert_eq!(request["services"][0], "web");
    assert!(!fake.asked().iter().any(|line| line.contains("contexts")));
}

#[test]
fn json_is_one_event_a_line_from_accepted_to_ended() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["deploy", "--json", "--image", "shop:2"]);
    assert_eq!(ran.err, "");
    let events: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "accepted",
            "started",
            "step_started",
            "build_output",
            "step_finished",
            "step_started",
            "replica_started",
            "replica_healthy",
            "step_finished",
            "routes_switched",
            "finished",
            "ended"
        ]
    );
    let last = events.last().unwrap();
    assert_eq!(last["state"], "succeeded");
    assert_eq!(last["changed"], true);
    assert_eq!(last["urls"]["web"][0], "https://shop.localhost");
    assert!(events.iter().all(|event| event["deployment"].is_string()));
}

#[test]
fn a_failed_deploy_says_why_and_what_still_serves() {
    let fake = Fake::start(Script::Unhealthy);
    let ran = fake.nonna(["deploy", "--image", "shop:2"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    let told = ran.err.split_once("[start web] undone\n").unwrap().1;
    same(
        told,
        "
error: web v3 listens on port 3000, but was told to listen on 8080.
  listening on 3000
hint: Listen on $PORT, or write `port = 3000` under [services.web].
  [wrong_port]
Nothing changed for your users: v2 goes on serving.
",
    );
}

#[test]
fn a_broken_connection_is_taken_up_where_it_was() {
    let fake = Fake::start(Script::Breaks);
    let ran = fake.nonna(["deploy", "--image", "shop:2"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("Trying again…"), "{ran:?}");
    assert!(ran.err.contains("The server is back."), "{ran:?}");
    assert_eq!(ran.err.matches("[build web] begins").count(), 1, "{ran:?}");
    assert_eq!(ran.err.matches("[start web] begins").count(), 1, "{ran:?}");
}

#[test]
fn ctrl_c_cancels_and_waits_for_what_was_done_to_be_undone() {
    let fake = Fake::start(Script::WaitsForCancel);
    let mut child = fake.command(["deploy", "--image", "shop:2"]).spawn().unwrap();
    read_until(&mut child, "[start web] begins");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = collect(child);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("Cancelling"), "{ran:?}");
    assert!(ran.err.contains("[start web] undone"), "{ran:?}");
    assert!(ran.err.contains("The deployment was cancelled."), "{ran:?}");
    assert!(ran.err.ends_with("v2 goes on serving.\n"), "{ran:?}");
    assert!(fake.asked().iter().any(|line| line.ends_with("/cancel")));
}

#[test]
fn detach_returns_at_once_with_the_deployment() {
    let fake = Fake::start(Script::WaitsForCancel);
    let ran = fake.nonna(["deploy", "--image", "shop:2", "--detach"]);
    assert_eq!(ran.code, Some(0));
    same(&ran.out, &format!("{}\n", common::answers::DEPLOYMENT));
    assert!(!fake.asked().iter().any(|line| line.contains("/events")));
}

#[test]
fn a_plan_says_what_and_why_and_its_digest() {
    let fake = Fake::start(Script::Works);
    let ran = fake.nonna(["plan", "--image", "shop:2"]);
    let digest = "d".repeat(64);
    same(
        &ran.out,
        &format!(
            "
Plan for shop/production

-/+ replace service web
              the source changed
  + create  volume web/data
              new in the manifest
  - destroy route old.example.org

1 to create, 0 to change, 1 to replace, 1 to destroy.
Plan {digest}
"
        ),
    );
    fake.nonna([
        "deploy",
        "--image",
        "shop:2",
        "--plan",
        &digest,
        "--replace",
        "--force",
        "--prune",
    ]);
    let request = fake.bodies().pop().unwrap();
    assert_eq!(request["plan"], digest.as_str());
    for flag in ["replace", "force", "prune"] {
        assert_eq!(request[flag], true, "{flag}");
    }
}

#[test]
fn every_mistake_of_a_manifest_is_told_at_once_and_nothing_is_asked() {
    let fake = Fake::start(Script::Works);
    fake.folder(&[(
        "nonna.toml",
        "projct = \"shop\"\n[services.web]\nreplicas = \"two\"\n",
    )]);
    let ran = fake.nonna(["deploy"]);
    assert_eq!(ran.code, Some(1));
    for expected in [
        "2 mistakes in nonna.toml",
        "nonna.toml:1:1:",
        "did you mean `project`?",
        "nonna.toml:3:",
        "^^^",
    ] {
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
    assert_eq!(fake.asked(), Vec::<String>::new());
}

#[test]
fn the_manifest_is_found_above_and_flags_win_over_it() {
    let fake = Fake::start(Script::Works);
    let folder = fake.folder(&[
        ("nonna.toml", "project = \"shop\"\nenvironment = \"staging\"\n"),
        ("src/x", ""),
    ]);
    let mut command = fake.command(["plan", "--image", "shop:2"]);
    command.current_dir(folder.join("src"));
    common::ran(command);
    assert_eq!(
        fake.asked().pop().unwrap(),
        "POST /v1/projects/shop/environments/staging/plan"
    );
    fake.nonna(["plan", "--image", "shop:2", "-p", "other", "-e", "test"]);
    assert_eq!(
        fake.asked().pop().unwrap(),
        "POST /v1/projects/other/environments/test/plan"
    );
}
