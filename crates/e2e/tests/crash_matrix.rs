//! Nonna is killed (SIGKILL) at every journal point of every kind of
//! deployment, and started again. The app answers all through, and in the end
//! the planned state stands, or the old one: never a mixture, and nothing is
//! left over.
//!
//! The server is `crashing-server`: Nonna's own, with a journal that ends the
//! process just before or just after its N-th write. As in an installation
//! made by `nonna server install`, the listening sockets outlive the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::time::Duration;

use anyhow::Context;
use nonna_e2e::load::Watcher;
use nonna_e2e::{Installation, Options, Ran, engine};

const HOST: &str = "shop.localhost";

/// One kind of deployment.
struct Kind {
    name: &'static str,
    /// What stands before it: the arguments of commands, and the version whose
    /// manifest lies in the folder meanwhile.
    before: &'static [(&'static str, &'static [&'static str])],
    /// The deployment that is interrupted.
    act: (&'static str, &'static [&'static str]),
    /// Whether the app answered before it.
    serves: bool,
    /// The versions that may stand afterwards, each with how many replicas.
    ends: &'static [(&'static str, usize)],
}

const DEPLOY: &[&str] = &["deploy"];

const KINDS: &[Kind] = &[
    Kind {
        name: "first deploy",
        before: &[],
        act: ("v1", DEPLOY),
        serves: false,
        ends: &[("v1", 1)],
    },
    Kind {
        name: "redeploy",
        before: &[("v1", DEPLOY)],
        act: ("v2", DEPLOY),
        serves: true,
        ends: &[("v1", 1), ("v2", 1)],
    },
    Kind {
        name: "release command",
        before: &[("v1", DEPLOY)],
        act: ("released", DEPLOY),
        serves: true,
        ends: &[("v1", 1), ("v2", 1)],
    },
    Kind {
        name: "failing deploy",
        before: &[("v1", DEPLOY)],
        act: ("failing", DEPLOY),
        serves: true,
        ends: &[("v1", 1)],
    },
    Kind {
        name: "rollback",
        before: &[("v1", DEPLOY), ("v2", DEPLOY)],
        act: ("v2", &["rollback", "v1"]),
        serves: true,
        ends: &[("v2", 1), ("v1", 1)],
    },
    Kind {
        name: "scale",
        before: &[("v1", DEPLOY)],
        act: ("v1", &["scale", "web=2"]),
        serves: true,
        ends: &[("v1", 1), ("v1", 2)],
    },
    Kind {
        name: "destroy",
        before: &[("v1", DEPLOY)],
        act: ("v1", &["destroy", "--yes", "--confirm", "production"]),
        serves: false,
        ends: &[("", 0)],
    },
];

fn manifest(version: &str) -> String {
    let (tag, variables) = match version {
        "failing" => ("v2", "variables = { HEALTH_STATUS = 500 }"),
        "released" => (
            "v2",
            "release = [\"sh\", \"-c\", \"sleep 0.3; echo ran >> /data/ran\"]",
        ),
        tag => (tag, ""),
    };
    format!(
        "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:{tag}\"\nvolumes = {{ data = \"/data\" }}\n\
         strategy = \"rolling\"\nstop_timeout = \"2s\"\n\
         health = {{ http = \"/health\", start_period = \"1s\" }}\n{variables}\n"
    )
}

fn run(nonna: &Installation, version: &str, arguments: &[&str]) -> anyhow::Result<Ran> {
    let folder = nonna.project("shop", &[("nonna.toml", &manifest(version))])?;
    let output = nonna.command(arguments)?.current_dir(folder).output()?;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Interrupts this kind of deployment at its `point`-th journal write; returns
/// whether there was such a point.
fn interrupt(kind: &Kind, point: usize, side: &str) -> anyhow::Result<bool> {
    let mut nonna = Installation::with(Options {
        program: Some(nonna_e2e::program("crashing-server")?),
        holds_sockets: true,
        ..Options::default()
    })?;
    for (version, arguments) in kind.before {
        run(&nonna, version, arguments)?.ok()?;
    }
    // The file is read by the server's journal at each write, so that the
    // deployments before are not counted.
    let trap = nonna.data().join("kill-at");
    std::fs::write(&trap, format!("{point} {side}"))?;

    let watcher = kind.serves.then(|| Watcher::start(nonna.http(), HOST, "/", true));
    let folder = nonna.project("shop", &[("nonna.toml", &manifest(kind.act.0))])?;
    let mut command = nonna.command(kind.act.1)?;
    let mut user = command
        .current_dir(folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;

    // Either the trap springs, or the deployment ends without reaching it.
    let killed = loop {
        if nonna.server_ended_within(Duration::from_millis(20))? {
            break true;
        }
        if user.try_wait()?.is_some() {
            // It may have sprung at the deployment's very last write.
            break nonna.server_ended_within(Duration::from_millis(300))?;
        }
    };
    let _ = std::fs::remove_file(&trap);
    if killed {
        nonna.start_server()?;
    }
    user.wait()?;
    settle(&nonna, kind, point, side)?;
    if let Some(watcher) = watcher {
        let seen = watcher.stop();
        anyhow::ensure!(
            seen.bad.is_empty() && seen.good > 0,
            "{} at point {point} {side}: not answered all through: {:?} ({} good)",
            kind.name,
            seen.bad,
            seen.good
        );
    }
    Ok(killed)
}

/// Waits until no deployment is under way and checks what stands.
fn settle(nonna: &Installation, kind: &Kind, point: usize, side: &str) -> anyhow::Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let mut last;
    loop {
        last = look(nonna)?;
        let (version, replicas, extras) = &last;
        let fits = kind.ends.iter().any(|(v, n)| v == version && n == replicas);
        if fits && extras.is_empty() {
            return ran_once(nonna, kind, version);
        }
        anyhow::ensure!(
            std::time::Instant::now() < deadline,
            "{} at point {point} {side}: ended with {last:?}, wanted one of {:?}\n{}",
            kind.name,
            kind.ends,
            nonna.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A release command has run once, whenever Nonna was killed: the one that was
/// under way is waited for, and how one ended is found out.
fn ran_once(nonna: &Installation, kind: &Kind, version: &str) -> anyhow::Result<()> {
    if kind.name != "release command" || version != "v2" {
        return Ok(());
    }
    let place = ["--project", "shop", "-e", "production"];
    let command = ["exec", "web", "--", "cat", "/data/ran"];
    let ran = nonna.nonna(place.iter().chain(&command))?.ok()?;
    anyhow::ensure!(ran.stdout == "ran\n", "it ran {:?}", ran.stdout);
    Ok(())
}

/// The version that answers, the replicas that run, and what should not be
/// there: replicas that do not run or of another release, networks and volumes
/// of an app that is gone.
fn look(nonna: &Installation) -> anyhow::Result<(String, usize, Vec<String>)> {
    let answer = nonna.get(HOST, "/")?;
    let version = match answer.status {
        200 => answer.body.split(' ').next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let containers = engine::containers(nonna.id())?;
    let running = containers.iter().filter(|c| c["State"] == "running").count();
    let mut extras: Vec<String> = containers
        .iter()
        .filter(|c| c["State"] != "running")
        .map(|c| c["Names"].to_string())
        .collect();
    let mut releases: Vec<String> = containers
        .iter()
        .map(|c| c["Labels"]["nonna.release"].to_string())
        .collect();
    releases.sort();
    releases.dedup();
    if releases.len() > 1 {
        extras.push(format!("releases {releases:?} at once"));
    }
    if version.is_empty() {
        extras.extend(nonna.belongings()?);
    }
    let status = nonna.nonna(["status", "--json", "--project", "shop", "-e", "production"])?;
    if status.json().is_ok_and(|status| status["deployment"].is_string()) {
        extras.push("a deployment is under way".to_owned());
    }
    Ok((version, running, extras))
}

fn matrix(name: &str) -> anyhow::Result<()> {
    let kind = KINDS
        .iter()
        .find(|k| k.name == name)
        .with_context(|| format!("no kind {name:?}"))?;
    let mut points = 0;
    for point in 1.. {
        let mut sprung = false;
        for side in ["before", "after"] {
            sprung |= interrupt(kind, point, side)?;
        }
        if !sprung {
            break;
        }
        points += 1;
    }
    // A matrix without points would prove nothing.
    assert!(points >= 5, "{name} has only {points} journal points");
    Ok(())
}

#[test]
fn a_first_deploy_survives_a_kill_at_every_journal_point() -> anyhow::Result<()> {
    matrix("first deploy")
}

#[test]
fn a_redeploy_survives_a_kill_at_every_journal_point() -> anyhow::Result<()> {
    matrix("redeploy")
}

#[test]
fn a_release_command_runs_once_at_whichever_journal_point_nonna_is_killed() -> anyhow::Result<()> {
    matrix("release command")
}

#[test]
fn a_failing_deploy_survives_a_kill_at_every_journal_point() -> anyhow::Result<()> {
    matrix("failing deploy")
}

#[test]
fn a_rollback_survives_a_kill_at_every_journal_point() -> anyhow::Result<()> {
    matrix("rollback")
}

#[test]
fn a_scale_survives_a_kill_at_every_journal_point() -> anyhow::Result<()> {
    matrix("scale")
}

#[test]
fn a_destroy_survives_a_kill_at_every_journal_point() -> anyhow::Result<()> {
    matrix("destroy")
}
