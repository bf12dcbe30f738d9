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
