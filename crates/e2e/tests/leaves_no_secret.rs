//! A secret's value appears where it was asked for, and nowhere else: not in
//! logs, files, events, answers, outputs or arguments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nonna_e2e::{Installation, Ran, Registry, engine};

const PLACE: &str = "/v1/projects/shop/environments/production";

fn manifest(extra: &str) -> String {
    format!("project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:v1\"\n{extra}\n")
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The files below a folder that hold one of these texts.
fn files_with(folder: &Path, texts: &[String], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if meta.is_dir() {
            files_with(&path, texts, found);
        } else if meta.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if texts.iter().any(|text| holds(&bytes, text)) {
                found.push(path.display().to_string());
            }
        }
    }
}

fn hexadecimal(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        use std::fmt::Write as _;
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Looks at the arguments of every process, again and again.
fn watch_arguments(texts: Vec<String>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                if texts.iter().any(|text| holds(&line, text)) {
                    seen.push(String::from_utf8_lossy(&line).replace('\0', " "));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        seen
    })
}

/// Sets a secret, its value on standard input.
fn set(nonna: &Installation, folder: &str, name: &str, value: &str) -> anyhow::Result<Ran> {
    let mut child = nonna
        .command(["secret", "set", name])?
        .current_dir(nonna.folder().join(folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().unwrap().write_all(value.as_bytes())?;
    Ran::from(child.wait_with_output()?).ok()
}

/// Whether any layer or the history of an image holds one of these texts,
/// which reach no argument list.
fn an_image_holds(nonna: &Installation, image: &str, texts: &[String]) -> anyhow::Result<bool> {
    let (saved, patterns) = (nonna.folder().join("saved.tar"), nonna.folder().join("patterns"));
    std::fs::write(&patterns, texts.join("\n"))?;
    let ran = std::process::Command::new("docker")
        .args(["save", "-o"])
        .arg(&saved)
        .arg(image)
        .output()?;
    anyhow::ensure!(
        ran.status.success() && saved.metadata()?.len() > 100_000,
        "{ran:?}"
    );
    let found = std::process::Command::new("grep")
        .args(["-a", "-q", "-F", "-f"])
        .args([&patterns, &saved])
        .status()?;
    match found.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        code => anyhow::bail!("grep ended with {code:?}"),
    }
}

#[test]
fn a_build_reads_its_secrets_and_leaves_them_in_no_layer_and_no_log() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let value = format!("bu1ld-{}-{:x}-no-word", std::process::id(), 0x5eed_4321_u32);
    let texts = vec![value.clone(), hexadecimal(&value)];
    let stop = Arc::new(AtomicBool::new(false));
    let arguments = watch_arguments(texts.clone(), Arc::clone(&stop));
    let length = value.len().to_string();
    // A step that an earlier run of this test left in the engine's cache would
    // show that run's secret: another value is no other input.
    let run = std::process::id();
    // One by a Dockerfile, which prints what it is given; one that is detected.
    let manifest = |extra: &str| {
        format!(
            "project = \"shop\"\n[services.own]\nsource = \"own\"\nbuild = {{ secrets = [\"TOKEN\"] }}\n{extra}\n\
             [services.found]\nsource = \"found\"\n[services.found.build]\nsecrets = [\"TOKEN\"]\n\
             command = \"printf '%s' $TOKEN | wc -c > length && echo $TOKEN\"\nstart = \"python -m http.server $PORT\"\n"
        )
    };
    let dockerfile = |step: &str| {
        format!(
            "FROM busybox:latest\nENV RUN_OF={run}\nRUN --mount=type=secret,id=TOKEN wc -c < /run/secrets/TOKEN > /length && cat /run/secrets/TOKEN\n\
             {step}\nCMD [\"/bin/sh\",\"-c\",\"exec httpd -f -p $PORT -h /\"]\n"
        )
    };
    let write = |step: &str| {
        nonna.project(
            "shop",
            &[
                ("nonna.toml", manifest("").as_str()),
                ("own/Dockerfile", dockerfile(step).as_str()),
                ("found/main.py", format!("# {run}\n").as_str()),
                ("found/index.html", "hello"),
            ],
        )
    };
    write("RUN echo first")?;
    // A secret that a build needs must be set before.
    let early = nonna
        .nonna_in("shop", &["deploy"])?
        .failed_with("missing_secret")?;
    assert!(early.stderr.contains("TOKEN"), "{early:?}");
    let mut outputs = vec![early, set(&nonna, "shop", "TOKEN", &value)?];
    outputs.push(nonna.nonna_in("shop", &["deploy"])?.ok()?);
    for host in [
        "own--production--shop.localhost",
        "found--production--shop.localhost",
    ] {
        assert_eq!(nonna.get(host, "/length")?.body.trim(), length, "{host}");
    }
    // A failing step says what it printed, but not that.
    write("RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN && exit 3")?;
    outputs.push(nonna.nonna_in("shop", &["deploy"])?.failed_with("build_failed")?);
    for release in ["v1", "v2"] {
        outputs.push(
            nonna
                .nonna_in("shop", &["builds", "logs", release, "--service", "own"])?
                .ok()?,
        );
    }
    outputs.push(
        nonna
            .nonna_in("shop", &["builds", "logs", "v1", "--service", "found"])?
            .ok()?,
    );
    assert!(
        outputs.iter().any(|ran| ran.stdout.contains("***")),
        "{outputs:#?}"
    );
    // Another value is no other source.
    let other = format!("{value}-other");
    outputs.push(set(&nonna, "shop", "TOKEN", &other)?);
    write("RUN echo first")?;
    let again = nonna.nonna_in("shop", &["deploy"])?.ok()?;
    assert!(!again.stderr.contains("[build"), "{again:?}");
    outputs.push(again);

    stop.store(true, Ordering::Relaxed);
    assert_eq!(arguments.join().unwrap(), Vec::<String>::new());
    for ran in &outputs {
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!texts.iter().any(|value| text.contains(value)), "{ran:?}");
    }
    assert!(!nonna.log().contains(&value), "the server's log has it");
    let mut found = Vec::new();
    files_with(&nonna.data(), &texts, &mut found);
    assert_eq!(found, Vec::<String>::new());
    for service in ["own", "found"] {
        let releases = nonna
            .nonna_in("shop", &["releases", service, "--json"])?
            .ok()?
            .json()?;
        let images: Vec<&str> = releases
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|release| release["image"].as_str())
            .collect();
        assert!(!images.is_empty(), "{releases}");
        for image in images {
            assert!(
                !an_image_holds(&nonna, image, &texts)?,
                "{service}: a layer has it"
            );
        }
    }
    Ok(())
}

#[test]
fn a_secrets_value_appears_nowhere_but_where_it_was_asked_for() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let value = format!("c4nary-{}-{:x}-no-word", std::process::id(), 0x5eed_1234_u32);
    let texts = vec![value.clone(), hexadecimal(&value)];
    let stop = Arc::new(AtomicBool::new(false));
    let arguments = watch_arguments(texts.clone(), Arc::clone(&stop));

    let mut outputs: Vec<Ran> = Vec::new();
    nonna.project("shop", &[("nonna.toml", &manifest(""))])?;
    outputs.push(nonna.nonna_in("shop", &["deploy"])?.ok()?);
    let mut child = nonna
        .command(["secret", "set", "TOKEN"])?
        .current_dir(nonna.folder().join("shop"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().unwrap().write_all(value.as_bytes())?;
    outputs.push(Ran::from(child.wait_with_output()?).ok()?);

    // It has arrived, and is shown to who asks for it.
    assert_eq!(nonna.get("shop.localhost", "/env?TOKEN")?.body.trim(), value);
    let shown = nonna.nonna_in("shop", &["secret", "get", "TOKEN"])?.ok()?;
    assert_eq!(shown.stdout.trim(), value);

    nonna.project("shop", &[("nonna.toml", &manifest("variables = { OTHER = 1 }"))])?;
    for (arguments, code) in [
        (&["plan"][..], 0),
        (&["plan", "--json"], 0),
        (&["deploy", "--json"], 0),
        (&["exec", "web", "--", "sh", "-c", "test -n \"$TOKEN\""], 0),
        (&["run", "web", "--", "sh", "-c", "test -n \"$TOKEN\""], 0),
        (&["secret", "list"], 0),
        (&["secret", "list", "--json"], 0),
        (&["env", "list", "--json"], 0),
        (&["status", "--json"], 0),
        (&["releases", "--json"], 0),
        (&["logs", "web"], 0),
        (&["logs", "--access"], 0),
        (&["export", "exported"], 0),
        (&["export", "exported-k8s", "--format", "kubernetes"], 0),
        (&["backup", "saved.backup"], 0),
        (&["scale", "web=2", "--json"], 0),
        (&["scale", "web=1"], 0),
        (&["pause", "web"], 0),
        (&["resume", "web"], 0),
        (&["rollback", "--json"], 0),
    ] {
        let ran = nonna.nonna_in("shop", arguments)?;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        outputs.push(ran);
    }
    // Releases that fail: the reasons and the engine's words are shown then.
    for extra in [
        "command = [\"/no/such/program\"]",
        "variables = { EXIT_CODE = 3 }",
        "health = { http = \"/health\", start_period = \"2s\" }\nvariables = { HEALTH_STATUS = 500 }",
    ] {
        nonna.project("shop", &[("nonna.toml", &manifest(extra))])?;
        for arguments in [&["deploy"][..], &["deploy", "--json"]] {
            let ran = nonna.nonna_in("shop", arguments)?;
            assert_eq!(ran.code, Some(1), "{extra}: {ran:?}");
            outputs.push(ran);
        }
    }
    for ran in &outputs {
        for text in &texts {
            assert!(
                !ran.stdout.contains(text) && !ran.stderr.contains(text),
                "{ran:?}"
            );
        }
    }

    // What the API answers.
    let mut paths: Vec<String> = [
        "",
        "/deployments",
        "/variables",
        "/export",
        "/export?format=kubernetes",
        "/services/web/releases",
    ]
    .iter()
    .map(|end| format!("{PLACE}{end}"))
    .collect();
    paths.extend(
        [
            "/v1/version",
            "/v1/projects",
            "/v1/doctor",
            "/metrics",
            "/v1/openapi.json",
        ]
        .map(str::to_owned),
    );
    let deployments = nonna.ask("GET", &format!("{PLACE}/deployments"), "")?;
    let deployments: serde_json::Value = serde_json::from_str(&deployments.body)?;
    for deployment in deployments["items"].as_array().into_iter().flatten() {
        let id = deployment["id"].as_str().unwrap_or_default();
        paths.push(format!("/v1/deployments/{id}"));
        paths.push(format!("/v1/deployments/{id}/events"));
    }
    assert!(paths.len() > 25, "{paths:?}");
    for path in &paths {
        let answer = nonna.ask("GET", path, "")?;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for text in &texts {
            assert!(!answer.body.contains(text), "{path} shows it");
        }
    }

    stop.store(true, Ordering::Relaxed);
    assert_eq!(arguments.join().unwrap(), Vec::<String>::new());
    nonna_environment(&nonna, &texts)?;
    let mut found = Vec::new();
    files_with(nonna.folder(), &texts, &mut found);
    assert_eq!(found, Vec::<String>::new(), "files hold it");
    // The search can find: the log and the database are among what was searched.
    assert!(nonna.folder().join("server.log").is_file());
    let mut found = Vec::new();
    files_with(&nonna.data(), &["TOKEN".to_owned()], &mut found);
    assert!(
        !found.is_empty(),
        "not even the secret's name is in the data folder"
    );
    Ok(())
}

/// A text as it may stand within another that was encoded in base64.
fn within_base64(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3_usize {
        let bytes = ["x".repeat(before).as_bytes(), text.as_bytes()].concat();
        for encoding in [data_encoding::BASE64, data_encoding::BASE64URL] {
            let encoded = encoding.encode(&bytes);
            // What its neighbours have a part in is left out.
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    forms
}

#[test]
fn a_registrys_password_appears_nowhere() -> anyhow::Result<()> {
    let value = format!(
        "c4nary-{}-{:x}-of-a-registry",
        std::process::id(),
        0x5eed_4321_u32
    );
    let registry = Registry::start("alice", &value)?;
    let host = registry.host();
    let nonna = Installation::start()?;
    let mut texts = vec![value.clone(), hexadecimal(&value)];
    texts.extend(within_base64(&value));
    let stop = Arc::new(AtomicBool::new(false));
    let arguments = watch_arguments(texts.clone(), Arc::clone(&stop));
    let mut outputs: Vec<Ran> = Vec::new();
    let login = |registry: &str| -> anyhow::Result<Ran> {
        let mut child = nonna
            .command(["registry", "login", registry, "--username", "alice"])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().unwrap().write_all(value.as_bytes())?;
        Ok(Ran::from(child.wait_with_output()?))
    };
    let own = format!("nonna-e2e-canary-{}", std::process::id());
    nonna_e2e::registry::own_image(&own, &own)?;
    registry.push(&own, "team/app", "v1")?;
    outputs.push(login(&host)?.ok()?);
    // Nobody is there, and somebody who is no registry.
    outputs.push(login("127.0.0.1:1")?.failed_with("registry_unavailable")?);
    outputs.push(login(&nonna.api().to_string())?);
    let image = format!("image = \"{host}/team/app:v1\"");
    let base = format!("FROM {host}/team/app:v1\nLABEL a={own}\n");
    let push = format!("push = \"{host}/team/web\"");
    let nowhere = "push = \"127.0.0.1:1/team/web\"\npush_required = false";
    for (service, dockerfile, code) in [
        (image.as_str(), "", 0),
        (push.as_str(), base.as_str(), 0),
        (nowhere, base.as_str(), 0),
        ("image = \"127.0.0.1:1/team/app:v1\"", "", 1),
    ] {
        let manifest = format!("project = \"shop\"\n[services.web]\n{service}\n");
        nonna.project("shop", &[("nonna.toml", &manifest), ("Dockerfile", dockerfile)])?;
        let ran = nonna.nonna_in("shop", &["deploy", "--json"])?;
        assert_eq!(ran.code, Some(code), "{service}: {ran:?}");
        outputs.push(ran);
    }
    for arguments in [
        &["registry", "list"][..],
        &["registry", "list", "--json"],
        &["registry", "key", "--json"],
        &["releases", "--json"],
        &["release", "sbom", "v2"],
        &["release", "verify", "v2", "--json"],
        &["backup", "saved.backup"],
        &["doctor", "--json"],
    ] {
        let ran = nonna.nonna_in("shop", arguments)?;
        outputs.push(ran);
    }
    for ran in &outputs {
        for text in &texts {
            assert!(
                !ran.stdout.contains(text) && !ran.stderr.contains(text),
                "{ran:?}"
            );
        }
    }
    let mut paths = vec!["/v1/registries".to_owned(), "/v1/registries/key".to_owned()];
    let deployments = nonna.ask("GET", &format!("{PLACE}/deployments"), "")?;
    let deployments: serde_json::Value = serde_json::from_str(&deployments.body)?;
    for deployment in deployments["items"].as_array().into_iter().flatten() {
        let id = deployment["id"].as_str().unwrap_or_default();
        paths.push(format!("/v1/deployments/{id}"));
        paths.push(format!("/v1/deployments/{id}/events"));
    }
    assert!(paths.len() >= 10, "{paths:?}");
    for path in &paths {
        let answer = nonna.ask("GET", path, "")?;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for text in &texts {
            assert!(!answer.body.contains(text), "{path} shows it");
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(arguments.join().unwrap(), Vec::<String>::new());
    nonna_environment(&nonna, &texts)?;
    let mut found = Vec::new();
    files_with(nonna.folder(), &texts, &mut found);
    assert_eq!(found, Vec::<String>::new(), "files hold it");
    let images: Vec<String> = engine::containers(nonna.id())?
        .iter()
        .filter_map(|c| c["ImageID"].as_str().map(str::to_owned))
        .collect();
    nonna.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
    for image in images.into_iter().chain([own]) {
        engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    }
    Ok(())
}

fn nonna_environment(nonna: &Installation, texts: &[String]) -> anyhow::Result<()> {
    let pid = nonna.pid().unwrap_or_default();
    let environment = std::fs::read(format!("/proc/{pid}/environ"))?;
    assert!(!texts.iter().any(|text| holds(&environment, text)));
    Ok(())
}
