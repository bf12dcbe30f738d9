//! Bad input, through the real API and the real command line: a clear error,
//! nothing lost, nothing left behind, and never a failure of ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nonna_e2e::{Installation, Options, Ran, engine};
use serde_json::{Value, json};

const HOST: &str = "shop.localhost";
const PLACE: &str = "/v1/projects/shop/environments/production";

fn manifest(version: &str, extra: &str) -> String {
    format!(
        "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:{version}\"\nhealth = \"/health\"\n{extra}\n"
    )
}

/// An installation on which v1 of the shop serves.
fn serving(arguments: &[&str]) -> anyhow::Result<Installation> {
    let nonna = Installation::with(Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Options::default()
    })?;
    nonna.project("shop", &[("nonna.toml", &manifest("v1", ""))])?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    Ok(nonna)
}

/// What must hold after every kind of bad input.
fn unharmed(nonna: &Installation, before: &[String]) -> anyhow::Result<()> {
    assert!(nonna.get(HOST, "/")?.body.starts_with("v1 "));
    assert_eq!(nonna.belongings()?, before, "something is left behind, or lost");
    let log = nonna.log();
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// The error of an answer, which must blame whoever asked.
fn refused(what: &str, answer: &nonna_e2e::http::Answer) -> Value {
    assert!(
        (400..500).contains(&answer.status),
        "{what}: {} {}",
        answer.status,
        answer.body
    );
    let body: Value = serde_json::from_str(&answer.body)
        .unwrap_or_else(|e| panic!("{what}: the answer is no JSON ({e}): {:?}", answer.body));
    let error = body["error"].clone();
    assert_eq!(error["fault"], "user", "{what}: {body}");
    assert!(
        error["message"].as_str().is_some_and(|m| m.len() > 10),
        "{what}: {body}"
    );
    error
}

#[test]
fn wrong_requests_are_refused_with_a_clear_error() -> anyhow::Result<()> {
    let nonna = serving(&[])?;
    let before = nonna.belongings()?;
    let deployments = format!("{PLACE}/deployments");
    let plan = format!("{PLACE}/plan");
    let web = format!("{PLACE}/services/web");
    let deploy = |manifest: &str| json!({"manifest": manifest}).to_string();
    let long = "x".repeat(70_000);
    let cases: Vec<(&str, &str, String, String)> = vec![
        ("no JSON", "POST", deployments.clone(), "{".into()),
        ("no object", "POST", deployments.clone(), "[]".into()),
        ("a number for the manifest", "POST", deployments.clone(), "{\"manifest\": 5}".into()),
        ("an unknown field", "POST", deployments.clone(), "{\"manifset\": \"\"}".into()),
        ("no TOML", "POST", deployments.clone(), deploy("project = = 1")),
        ("an unknown key", "POST", deployments.clone(), deploy("projekt = \"shop\"")),
        ("a port that is a text", "POST", plan.clone(), deploy("[services.web]\nimage = \"a\"\nport = \"x\"")),
        ("a port that is too large", "POST", plan.clone(), deploy("[services.web]\nimage = \"a\"\nport = 70000")),
        ("a service named like a command", "POST", plan.clone(), deploy("[services.\"$(reboot)\"]\nimage = \"a\"")),
        ("a service named like SQL", "POST", plan.clone(), deploy("[services.\"a'; DROP TABLE services; --\"]\nimage = \"a\"")),
        ("a name that is too long", "POST", plan.clone(), deploy(&format!("[services.{}]\nimage = \"a\"", "a".repeat(300)))),
        ("an image that is a command", "POST", plan.clone(), deploy("[services.web]\nimage = \"a; rm -rf /\"")),
        ("an image that is too long", "POST", plan.clone(), deploy(&format!("[services.web]\nimage = \"{long}\""))),
        ("a volume outside", "POST", plan.clone(), deploy("[services.web]\nimage = \"a\"\nvolumes = { data = \"../etc\" }")),
        ("memory below nothing", "POST", plan.clone(), deploy("[services.web]\nimage = \"a\"\nmemory = \"-1MB\"")),
        ("a variable with a newline in its name", "POST", plan.clone(), deploy("[services.web]\nimage = \"a\"\nvariables = { \"A\\nB\" = \"1\" }")),
        ("a context that nobody sent", "POST", deployments.clone(),
            json!({"manifest": "[services.web]\nbuild = \".\"", "contexts": {"web": format!("sha256:{}", "0".repeat(64))}}).to_string()),
        ("a context that is a path", "POST", deployments.clone(),
            json!({"manifest": "[services.web]\nbuild = \".\"", "contexts": {"web": "../../etc"}}).to_string()),
        ("a service that is not there", "POST", deployments.clone(),
            json!({"manifest": manifest("v1", ""), "services": ["other"]}).to_string()),
        ("another plan", "POST", deployments.clone(),
            json!({"manifest": manifest("v2", ""), "plan": "0".repeat(64)}).to_string()),
        ("a project named like SQL", "GET", "/v1/projects/a'%3B--/environments/production".into(), String::new()),
        ("a project that climbs", "GET", "/v1/projects/..%2F..%2Fetc/environments/production".into(), String::new()),
        ("a project with a NUL", "GET", "/v1/projects/a%00b/environments/production".into(), String::new()),
        ("a project that is no UTF-8", "GET", "/v1/projects/%FF%FE/environments/production".into(), String::new()),
        ("an unknown project", "GET", "/v1/projects/nobody/environments/production".into(), String::new()),
        ("an unknown service", "GET", format!("{PLACE}/services/nobody/releases"), String::new()),
        ("a deployment that is none", "GET", "/v1/deployments/x'%20OR%201=1".into(), String::new()),
        ("a page of nothing", "GET", format!("{deployments}?limit=0"), String::new()),
        ("too large a page", "GET", format!("{deployments}?limit=100000"), String::new()),
        ("a query nobody knows", "GET", format!("{deployments}?sort=1"), String::new()),
        ("fewer than no replicas", "POST", format!("{web}/scale"), "{\"replicas\": -1}".into()),
        ("too many replicas", "POST", format!("{web}/scale"), "{\"replicas\": 4000000000}".into()),
        ("replicas in words", "POST", format!("{web}/scale"), "{\"replicas\": \"three\"}".into()),
        ("a release that is none", "POST", format!("{web}/rollback"), "{\"release\": \"latest\"}".into()),
        ("a release that never was", "POST", format!("{web}/rollback"), "{\"release\": \"v99999999\"}".into()),
        ("a release beyond numbers", "POST", format!("{web}/rollback"), format!("{{\"release\": \"v{}\"}}", "9".repeat(40))),
        ("another name than meant", "POST", format!("{PLACE}/destroy"), "{\"confirm\": \"staging\"}".into()),
        ("no name", "POST", format!("{PLACE}/destroy"), "{}".into()),
        ("a variable named like a command", "POST", format!("{PLACE}/variables"), "{\"set\": {\"A=$(id)\": \"1\"}}".into()),
        ("a variable without a name", "POST", format!("{PLACE}/variables"), "{\"set\": {\"\": \"1\"}}".into()),
        ("a variable with a NUL", "POST", format!("{PLACE}/variables"), "{\"set\": {\"A\": \"a\\u0000b\"}}".into()),
        ("a value that is too long", "POST", format!("{PLACE}/variables"),
            json!({"set": {"A": "x".repeat(900_000)}, "stage": true}).to_string()),
        ("a scope that is none", "GET", format!("{PLACE}/variables?scope=galaxy"), String::new()),
        ("a secret that is not there", "GET", format!("{PLACE}/secrets/NOPE"), String::new()),
        ("a format that is none", "GET", format!("{PLACE}/export?format=helm"), String::new()),
        ("exec without a WebSocket", "GET", format!("{web}/exec?command=%5B%22id%22%5D"), String::new()),
        ("a path that is none", "GET", "/v1/nothing".into(), String::new()),
        ("a method that is none", "DELETE", deployments.clone(), String::new()),
    ];
    let mut wrong = Vec::new();
    for (what, method, path, body) in &cases {
        let answer = nonna.ask(method, path, body)?;
        if let Err(panic) = std::panic::catch_unwind(|| refused(what, &answer)) {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            wrong.push(text);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    // A body beyond all measure is not read to its end.
    let huge = format!("{{\"manifest\": \"{}\"}}", "x".repeat(8 * 1024 * 1024));
    if let Ok(answer) = nonna.ask("POST", &deployments, &huge) {
        refused("a huge body", &answer);
    }
    unharmed(&nonna, &before)
}

#[test]
fn nobody_does_anything_without_a_good_token() -> anyhow::Result<()> {
    let nonna = serving(&[])?;
    let before = nonna.belongings()?;
    let good = nonna.token()?;
    let mut changed = good.clone();
    let last = changed.pop();
    changed.push(if last == Some('a') { 'b' } else { 'a' });
    let tokens = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {changed}")),
        Some(format!("Bearer {}", &good[..good.len() - 1])),
        Some(format!("Bearer {good}x")),
        Some("Bearer ' OR 1=1 --".to_owned()),
        Some(format!("Basic {good}")),
        Some(good),
    ];
    for token in tokens {
        for (method, path, body) in [
            ("GET", PLACE.to_owned(), ""),
            ("GET", "/v1/projects".to_owned(), ""),
            ("GET", "/v1/backup".to_owned(), ""),
            (
                "POST",
                format!("{PLACE}/destroy"),
                "{\"confirm\": \"production\"}",
            ),
            ("POST", "/v1/contexts".to_owned(), "{\"entries\": []}"),
        ] {
            let answer = nonna.ask_as(token.as_deref(), method, &path, body)?;
            assert_eq!(answer.status, 401, "{token:?} {method} {path}: {answer:?}");
            let error = refused("a bad token", &answer);
            assert_eq!(error["code"], "unauthenticated");
        }
    }
    // Guessing codes does not get far.
    for _ in 0..30 {
        let body = json!({"code": "guess", "name": "x"}).to_string();
        let answer = nonna.ask_as(None, "POST", "/v1/login", &body)?;
        refused("a guessed code", &answer);
    }
    unharmed(&nonna, &before)
}

/// `hello` and its digest.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn file(path: &str, size: u64) -> Value {
    json!({"path": path, "kind": "file", "size": size, "sha256": HELLO})
}

fn frame(digest: &str, size: u64, content: &str) -> String {
    let size = String::from_utf8(size.to_be_bytes().to_vec()).unwrap();
    format!("{digest}{size}{content}")
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        sum += if meta.is_dir() {
            bytes_below(&path)
        } else {
            meta.len()
        };
    }
    sum
}

#[test]
fn a_build_context_reaches_nothing_outside_and_fills_no_disk() -> anyhow::Result<()> {
    let nonna = serving(&["--build-context-limit", "1MB"])?;
    let before = nonna.belongings()?;
    let size_before = bytes_below(&nonna.data());

    for (what, entry) in [
        ("absolute", file("/etc/passwd", 5)),
        ("climbing", file("../outside", 5)),
        ("climbing within", file("a/../../outside", 5)),
        ("with a dot", file("./a", 5)),
        ("with a NUL", file("a\u{0}b", 5)),
        ("too long", file(&"a/".repeat(4000), 5)),
        ("a long name", file(&"a".repeat(256), 5)),
        (
            "a link out",
            json!({"path": "l", "kind": "symlink", "target": "/etc/passwd"}),
        ),
        (
            "a link up",
            json!({"path": "l", "kind": "symlink", "target": "../../etc"}),
        ),
        (
            "a digest that is a path",
            json!({"path": "a", "kind": "file", "size": 5, "sha256": "../../../etc/passwd"}),
        ),
        ("larger than allowed", file("a", 1 << 50)),
        (
            "larger than numbers",
            json!({"path": "a", "kind": "file", "size": -1, "sha256": HELLO}),
        ),
        ("a device", json!({"path": "a", "kind": "device"})),
    ] {
        let answer = nonna.ask("POST", "/v1/contexts", &json!({"entries": [entry]}).to_string())?;
        refused(what, &answer);
    }

    // What travels is not what was announced.
    let announced = json!({"entries": [file("hello.txt", 5)]}).to_string();
    let answer = nonna.ask("POST", "/v1/contexts", &announced)?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let digest = serde_json::from_str::<Value>(&answer.body)?["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let blobs = format!("/v1/contexts/{digest}/blobs");
    for (what, body) in [
        ("another content", frame(HELLO, 5, "HELLO")),
        ("a larger one", frame(HELLO, 127, &"x".repeat(127))),
        ("a bomb", frame(HELLO, 0x7f7f_7f7f, &"x".repeat(100_000))),
        ("cut off", frame(HELLO, 5, "he")),
        ("no frame", "GET / HTTP/1.1".repeat(20)),
        ("a content nobody announced", frame(&"0".repeat(64), 5, "hello")),
        (
            "a digest that is a path",
            frame(&format!("{:.<64}", "../../../etc/passwd"), 5, "hello"),
        ),
        ("nothing", String::new()),
    ] {
        refused(what, &nonna.ask("PUT", &blobs, &body)?);
    }
    for wrong in [
        "sha256:zz",
        "..%2F..%2Fetc",
        &format!("sha256:{}", "1".repeat(64)),
    ] {
        let path = format!("/v1/contexts/{wrong}/blobs");
        refused(wrong, &nonna.ask("PUT", &path, &frame(HELLO, 5, "hello"))?);
    }
    let grown = bytes_below(&nonna.data()).saturating_sub(size_before);
    assert!(grown < 500_000, "{grown} bytes are left in the data folder");

    // And what is right still is.
    let answer = nonna.ask("PUT", &blobs, &frame(HELLO, 5, "hello"))?;
    assert!(answer.status < 300, "{answer:?}");

    // The command line says it before anything travels, and names the path.
    let folder = nonna.project("outside", &[("Dockerfile", "FROM busybox\nCOPY . /\n")])?;
    symlink("/etc/passwd", folder.join("passwords"))?;
    let ran = nonna
        .nonna_in("outside", &["deploy"])?
        .failed_with("invalid_context")?;
    assert!(ran.stderr.contains("passwords"), "{ran:?}");
    let folder = nonna.project("large", &[("Dockerfile", "FROM busybox\nCOPY . /\n")])?;
    std::fs::write(folder.join("data.bin"), vec![7; 2_000_000])?;
    nonna
        .nonna_in("large", &["deploy"])?
        .failed_with("invalid_context")?;
    unharmed(&nonna, &before)
}

/// Whether a process with this word among its arguments runs on the machine.
fn runs(word: &str) -> bool {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
                line.split(|b| *b == 0)
                    .any(|argument| argument == word.as_bytes())
            })
        })
}

fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_build_that_never_ends_is_ended() -> anyhow::Result<()> {
    let nonna = serving(&["--build-timeout", "3s"])?;
    let before = nonna.belongings()?;
    // A number that no other process sleeps for.
    let seconds = format!("86{:07}", std::process::id());
    let dockerfile = format!("FROM busybox\nRUN sleep {seconds}\n");
    let text = "project = \"shop\"\n[services.web]\nhealth = \"/health\"\n";
    nonna.project("endless", &[("Dockerfile", &dockerfile), ("nonna.toml", text)])?;
    let begun = Instant::now();
    let ran = nonna
        .nonna_in("endless", &["deploy"])?
        .failed_with("build_limit")?;
    assert!(ran.stderr.contains("3 s") || ran.stderr.contains("3s"), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    eventually("the build's process ends", Duration::from_secs(10), || {
        !runs(&seconds)
    });
    unharmed(&nonna, &before)
}

#[test]
fn a_build_that_prints_without_end_is_ended() -> anyhow::Result<()> {
    let nonna = serving(&["--build-output-limit", "100KB"])?;
    let before = nonna.belongings()?;
    let word = format!("again-and-again-{}", std::process::id());
    let dockerfile = format!("FROM busybox\nRUN yes {word}\n");
    let text = "project = \"shop\"\n[services.web]\nhealth = \"/health\"\n";
    nonna.project("noisy", &[("Dockerfile", &dockerfile), ("nonna.toml", text)])?;
    let ran = nonna.nonna_in("noisy", &["deploy"])?.failed_with("build_limit")?;
    assert!(ran.stdout.len() + ran.stderr.len() < 1_000_000);
    eventually("the build's process ends", Duration::from_secs(10), || {
        !runs(&word)
    });
    unharmed(&nonna, &before)
}

/// Begins a deploy that takes some seconds, and waits until it is under way.
fn slow_deploy(nonna: &Installation) -> anyhow::Result<std::process::Child> {
    nonna.project(
        "slow",
        &[(
            "nonna.toml",
            &manifest("v2", "variables = { START_DELAY_MS = 4000 }"),
        )],
    )?;
    let child = nonna
        .command(["deploy"])?
        .current_dir(nonna.folder().join("slow"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    eventually("the second replica starts", Duration::from_secs(20), || {
        engine::containers(nonna.id()).is_ok_and(|containers| containers.len() > 1)
    });
    Ok(child)
}

#[test]
fn the_later_of_two_deploys_waits_for_the_earlier() -> anyhow::Result<()> {
    let nonna = serving(&[])?;
    let earlier = slow_deploy(&nonna)?;
    nonna.project(
        "shop",
        &[("nonna.toml", &manifest("v1", "variables = { ROUND = 2 }"))],
    )?;
    let later = nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let earlier = Ran::from(earlier.wait_with_output()?).ok()?;
    assert!(!earlier.stderr.contains("[cancelled]"), "{earlier:?} {later:?}");
    assert_eq!(nonna.get(HOST, "/env?ROUND")?.body.trim(), "2");
    let releases = nonna.nonna_in("shop", &["releases", "--json"])?.ok()?;
    let list = releases.json()?;
    let states: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["state"].as_str())
        .collect();
    assert_eq!(states, ["succeeded"; 3], "{list}");
    assert_eq!(list[0]["current"], true, "{list}");
    assert_eq!(engine::containers(nonna.id())?.len(), 1);
    Ok(())
}

#[test]
fn the_later_of_two_deploys_cancels_the_earlier_if_it_is_to_replace_it() -> anyhow::Result<()> {
    let nonna = serving(&[])?;
    let earlier = slow_deploy(&nonna)?;
    nonna.project(
        "shop",
        &[("nonna.toml", &manifest("v1", "variables = { ROUND = 2 }"))],
    )?;
    nonna.nonna_in("shop", &["deploy", "--replace"])?.ok()?;
    Ran::from(earlier.wait_with_output()?).failed_with("cancelled")?;
    assert_eq!(nonna.get(HOST, "/env?ROUND")?.body.trim(), "2");
    assert_eq!(engine::containers(nonna.id())?.len(), 1);
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn every_mistake_of_a_manifest_is_told_at_once_with_its_line() -> anyhow::Result<()> {
    let nonna = serving(&[])?;
    let before = nonna.belongings()?;
    let text = "project = \"shop\"\n[services.web]\nimagge = \"nonna-test/app:v2\"\nport = \"eighty\"\nmemory = 7.5\n";
    nonna.project("shop", &[("nonna.toml", text)])?;
    for verb in ["plan", "deploy"] {
        let ran = nonna.nonna_in("shop", &[verb])?;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for word in [
            "nonna.toml:3",
            "did you mean",
            "nonna.toml:4",
            "eighty",
            "nonna.toml:5",
        ] {
            assert!(ran.stderr.contains(word), "{verb}: no {word:?} in {}", ran.stderr);
        }
    }
    unharmed(&nonna, &before)
}

#[test]
fn source_that_cannot_be_built_says_why_and_what_to_do() -> anyhow::Result<()> {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let nonna = serving(&[])?;
    let before = nonna.belongings()?;
    let cases: &[Case<'_>] = &[
        (
            "nothing that is known",
            &[("notes.txt", "x")],
            &["nothing_to_build"],
            &[
                "no language was recognised",
                "node: package.json",
                "python: requirements.txt",
                "the build context has notes.txt",
            ],
        ),
        (
            "a Procfile with a typo",
            &[("Procfile", "web python main.py\n"), ("main.py", "")],
            &["invalid_input"],
            &["Procfile:1"],
        ),
        (
            "a version that is none",
            &[
                ("package.json", "{\"main\": \"a.js\"}"),
                ("a.js", ""),
                (".nvmrc", "banana\n"),
            ],
            &["invalid_input"],
            &[".nvmrc", "line 1", "banana"],
        ),
        (
            "a version that does not exist",
            &[("main.py", ""), (".python-version", "3.99\n")],
            &["image_not_found", "registry_unavailable"],
            &["`python:3.99-slim`", "Python 3.99: .python-version asks for it"],
        ),
        (
            "nothing that starts it",
            &[("package.json", "{}")],
            &["nothing_to_build"],
            &["how to start it", "`start` script"],
        ),
        (
            "a Dockerfile that is not there",
            &[
                ("Dockerfile", "FROM busybox\n"),
                ("nonna.toml", "[services.web]\ndockerfile = \"Dockerfil\"\n"),
            ],
            &["nothing_to_build"],
            &["Did you mean `Dockerfile`?"],
        ),
        (
            "a language that is none",
            &[("main.py", ""), ("nonna.toml", "[build]\nlanguage = \"pyton\"\n")],
            &["invalid_input"],
            &["nonna.toml:2", "python"],
        ),
    ];
    for (number, (what, files, codes, needles)) in cases.iter().enumerate() {
        let name = format!("bad{number}");
        nonna.project(&name, files)?;
        let ran = nonna.nonna_in(&name, &["deploy"])?;
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert!(
            codes.iter().any(|code| ran.stderr.contains(&format!("[{code}]"))),
            "{what}: {ran:?}"
        );
        for needle in *needles {
            assert!(
                ran.stderr.contains(needle),
                "{what}: {needle:?} is not in {}",
                ran.stderr
            );
        }
    }
    unharmed(&nonna, &before)
}

#[test]
fn of_two_languages_the_build_says_which_won_and_why() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    nonna.project(
        "both",
        &[
            ("main.py", "import http.server, os\nhttp.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ['PORT']))\n"),
            ("requirements.txt", ""),
            ("index.html", "from python"),
            ("package.json", "{\"devDependencies\": {\"prettier\": \"3\"}}"),
        ],
    )?;
    let ran = nonna.nonna_in("both", &["deploy"])?.ok()?;
    assert!(
        ran.stderr
            .contains("node was recognised too (by package.json), but python (requirements.txt and main.py) is the stronger sign"),
        "{ran:?}"
    );
    assert_eq!(nonna.get("both.localhost", "/")?.body.trim(), "from python");
    Ok(())
}
