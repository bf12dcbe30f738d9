//! Nobody is locked in: what is exported runs without Nonna, and a backup
//! makes another machine manage what runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use nonna_e2e::{Installation, Ran, engine};

const TEXT: &str = "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:v1\"\nhealth = \"/health\"\n\
    variables = { GREETING = \"a $dollar and a \\\"quote\\\"\" }\nvolumes = { data = \"/data\" }\n\
    [services.api]\nimage = \"nonna-test/app:v2\"\n";

/// A Compose project, which is taken down at the end.
struct Compose {
    folder: std::path::PathBuf,
    name: String,
    variables: Vec<(String, String)>,
}

impl Compose {
    fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let output = Command::new("docker-compose")
            .args(["-f", "compose.yaml", "-p", &self.name])
            .args(arguments)
            .current_dir(&self.folder)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()?;
        Ok(Ran::from(output))
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.run(&["down", "-v", "-t", "1"]);
    }
}

#[test]
fn an_export_runs_without_nonna() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    nonna.project("shop", &[("nonna.toml", TEXT)])?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    nonna.nonna_in("shop", &["export", "exported"])?.ok()?;
    nonna.stop_server()?;
    engine::clean(nonna.id())?;

    let folder = nonna.folder().join("shop/exported");
    let text = std::fs::read_to_string(folder.join("compose.yaml"))?;
    // Each port on the host can be chosen: `127.0.0.1:${NAME:-8080}:8080`.
    let mut variables = Vec::new();
    for part in text.split("127.0.0.1:${").skip(1) {
        let name = part.split(":-").next().unwrap_or_default().to_owned();
        variables.push((name, nonna_e2e::free_port()?.to_string()));
    }
    assert_eq!(variables.len(), 2, "{text}");
    let web = variables
        .iter()
        .find(|(name, _)| name.contains("WEB"))
        .unwrap_or_else(|| panic!("no port of web in {variables:?}"))
        .1
        .parse::<u16>()?;
    let compose = Compose {
        folder,
        name: format!("nonna-e2e-{}", std::process::id()),
        variables,
    };
    compose.run(&["up", "-d"])?.ok()?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], web));
    let deadline = Instant::now() + Duration::from_secs(20);
    let ask = |path: &str| loop {
        match nonna_e2e::http::get(address, "localhost", path) {
            Ok(answer) => break answer,
            Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(ask("/").body.starts_with("v1 "));
    assert_eq!(ask("/env?GREETING").body.trim(), "a $dollar and a \"quote\"");
    // The services still find each other by name, and volumes hold.
    assert!(ask("/get?api:8080/").body.starts_with("v2 "));
    assert_eq!(ask("/count?/data/n").body.trim(), "1");
    assert_eq!(ask("/count?/data/n").body.trim(), "2");
    Ok(())
}

const PAGE: &str = "\
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open('greeting.txt', 'rb').read() + ' '.join(sorted(os.listdir('.'))).encode())
http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Page).serve_forever()
";

#[test]
fn what_was_detected_is_built_again_from_its_export() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    let project = format!("left{}", std::process::id());
    let manifest = format!(
        "project = \"{project}\"\n[services.pages]\nsource = \"site\"\n[services.app]\nsource = \"app\"\n\
         build = {{ command = \"echo built > built.txt\" }}\n"
    );
    nonna.project(
        "shop",
        &[
            ("nonna.toml", manifest.as_str()),
            ("site/index.html", "hello from pages"),
            ("site/404.html", "lost"),
            ("site/.hidden/note.txt", "nobody's"),
            ("app/main.py", PAGE),
            ("app/greeting.txt", "hello from python: "),
            ("app/.gitignore", "local/\n"),
        ],
    )?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let plan = nonna
        .nonna_in("shop", &["builds", "plan", "--service", "app"])?
        .ok()?;
    assert!(plan.stdout.starts_with("app v1: python\n"), "{plan:?}");
    assert!(plan.stdout.contains("`build.command` in nonna.toml"), "{plan:?}");
    nonna.nonna_in("shop", &["export", "."])?.ok()?;
    nonna.stop_server()?;
    engine::clean(nonna.id())?;

    let folder = nonna.folder().join("shop");
    // What is there on the user's machine and was never sent.
    for (path, text) in [
        ("site/.env", "TOKEN=1"),
        ("app/.env", "TOKEN=1"),
        ("app/local/big.bin", "x"),
    ] {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap())?;
        std::fs::write(file, text)?;
    }
    let text = std::fs::read_to_string(folder.join("compose.yaml"))?;
    let mut variables = Vec::new();
    for part in text.split("127.0.0.1:${").skip(1) {
        let name = part.split(":-").next().unwrap_or_default().to_owned();
        variables.push((name, nonna_e2e::free_port()?.to_string()));
    }
    let address = |of: &str| {
        let port = variables.iter().find(|(name, _)| name.contains(of)).unwrap();
        std::net::SocketAddr::from(([127, 0, 0, 1], port.1.parse::<u16>().unwrap()))
    };
    let (pages, app) = (address("PAGES"), address("APP"));
    // A client that knows BuildKit, which this release of Compose has to call.
    variables.push(("PATH".to_owned(), "/usr/bin:/bin".to_owned()));
    variables.push(("DOCKER_BUILDKIT".to_owned(), "1".to_owned()));
    variables.push(("COMPOSE_DOCKER_CLI_BUILD".to_owned(), "1".to_owned()));
    let compose = Compose {
        folder,
        name: format!("nonna-e2e-left-{}", std::process::id()),
        variables,
    };
    let ran = compose.run(&["up", "-d", "--build"])?.ok();
    let served = ran.and_then(|_| {
        let deadline = Instant::now() + Duration::from_secs(20);
        let ask = |address, path: &str| loop {
            match nonna_e2e::http::get(address, "localhost", path) {
                Ok(answer) => break Ok((answer.status, answer.body.trim().to_owned())),
                Err(error) if Instant::now() > deadline => break Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        Ok([
            ask(pages, "/")?,
            ask(pages, "/nowhere")?,
            ask(pages, "/.env")?,
            ask(pages, "/.hidden/note.txt")?,
            ask(app, "/")?,
        ])
    });
    drop(compose);
    for service in ["pages", "app"] {
        let _ = engine::call("DELETE", &format!("/images/{project}-{service}:v1"));
    }
    let lost = (404, "lost".to_owned());
    assert_eq!(
        served?,
        [
            (200, "hello from pages".to_owned()),
            lost.clone(),
            lost.clone(),
            lost,
            // Neither what is ignored nor what belongs to the export is in it.
            (
                200,
                "hello from python: .gitignore built.txt greeting.txt main.py".to_owned()
            ),
        ]
    );
    Ok(())
}

#[test]
fn a_backup_restored_elsewhere_manages_the_same_apps() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    nonna.project("shop", &[("nonna.toml", TEXT)])?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    nonna.nonna_in("shop", &["env", "set", "LATER=yes"])?.ok()?;
    let status = |nonna: &Installation| -> anyhow::Result<serde_json::Value> {
        let mut status = nonna.nonna_in("shop", &["status", "--json"])?.ok()?.json()?;
        // What is measured anew each time.
        for service in status["services"].as_array_mut().into_iter().flatten() {
            for replica in service["running"].as_array_mut().into_iter().flatten() {
                for field in ["memory", "cpu_micros"] {
                    replica[field] = serde_json::Value::Null;
                }
            }
        }
        Ok(status)
    };
    let before = (status(&nonna)?, engine::containers(nonna.id())?.len());
    let file = nonna.folder().join("saved.backup");
    let file_text = file.display().to_string();
    nonna.nonna(["backup", &file_text])?.ok()?;
    // A file that is there is not written over.
    assert_ne!(nonna.nonna(["backup", &file_text])?.code, Some(0));

    // The machine is lost, but for what runs on the engine.
    nonna.stop_server()?;
    std::fs::remove_dir_all(nonna.data())?;
    let data = nonna.data().display().to_string();
    nonna.nonna(["restore", &file_text, "--data", &data])?.ok()?;
    // Not over a folder that holds something.
    assert_eq!(
        nonna.nonna(["restore", &file_text, "--data", &data])?.code,
        Some(1)
    );
    nonna.start_server()?;

    assert_eq!(status(&nonna)?, before.0);
    assert!(nonna.get("shop.localhost", "/")?.body.starts_with("v1 "));
    assert_eq!(nonna.get("shop.localhost", "/env?LATER")?.body.trim(), "yes");
    let again = nonna.nonna_in("shop", &["deploy"])?.ok()?;
    assert!(
        format!("{}{}", again.stdout, again.stderr).contains("Nothing to do"),
        "{again:?}"
    );
    assert_eq!(engine::containers(nonna.id())?.len(), before.1);
    nonna
        .nonna_in("shop", &["destroy", "--yes", "--confirm", "production"])?
        .ok()?;
    assert_eq!(nonna.belongings()?, Vec::<String>::new());
    Ok(())
}
