//! A Procfile's process types and its release command, app.json, and Compose
//! files: through the real binary, a real container engine and the edge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use nonna_e2e::load::Watcher;
use nonna_e2e::{Installation, Options, Ran, engine};

const HOST: &str = "crew.localhost";

/// Source that is built of the test app: `marker` makes one source another.
fn crew(nonna: &Installation, marker: &str, release: &str, more: &[(&str, &str)]) -> anyhow::Result<()> {
    let procfile = format!(
        "# The crew.\nweb: /app $PORT\nworker: sh -c 'echo working; exec sleep 100000'\nrelease: {release}\n"
    );
    let dockerfile = "FROM nonna-test/app:v1\nCOPY marker /marker\nRUN cat /marker\n";
    let mut files = vec![
        ("Procfile", procfile.as_str()),
        ("Dockerfile", dockerfile),
        ("marker", marker),
        (
            "nonna.toml",
            "project = \"crew\"\n[services.web]\nhealth = \"/health\"\nvolumes = { data = \"/data\" }\nstop_timeout = \"1s\"\n[services.worker]\nstop_timeout = \"1s\"\n",
        ),
    ];
    files.extend_from_slice(more);
    nonna.project("crew", &files)?;
    Ok(())
}

fn nonna(nonna: &Installation, arguments: &[&str]) -> anyhow::Result<Ran> {
    nonna.nonna_in("crew", arguments)
}

/// The numbers of replicas that run, by service.
fn running(installation: &Installation) -> anyhow::Result<Vec<(String, usize)>> {
    let mut out = std::collections::BTreeMap::new();
    for container in engine::containers(installation.id())? {
        assert_eq!(container["Labels"]["nonna.role"], "replica", "{container}");
        let name = container["Labels"]["nonna.service-name"]
            .as_str()
            .unwrap_or_default();
        *out.entry(name.to_owned()).or_insert(0) += usize::from(container["State"] == "running");
    }
    Ok(out.into_iter().collect())
}

fn counts(of: &[(&str, usize)]) -> Vec<(String, usize)> {
    of.iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn process_types_are_built_once_and_scaled_by_themselves_after_a_release_command() -> anyhow::Result<()> {
    let installation = Installation::start()?;
    let release = "sh -c 'echo migrating $NONNA_RELEASE; echo $NONNA_RELEASE >> /data/migrations'";
    crew(&installation, "one", release, &[])?;

    // The plan shows one build, and what will run.
    let plan = nonna(&installation, &["plan", "--json"])?.ok()?.json()?;
    let steps = plan["plan"]["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().filter_map(|step| step["kind"].as_str()).collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "build").count(),
        1,
        "{kinds:?}"
    );
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "run_job").count(),
        1,
        "{kinds:?}"
    );
    let words = nonna(&installation, &["plan"])?.ok()?.stdout;
    assert!(words.contains("release command of web"), "{words}");

    let first = nonna(&installation, &["deploy"])?.ok()?;
    assert!(
        format!("{}{}", first.stdout, first.stderr).contains("migrating v1"),
        "what it prints is streamed: {first:?}"
    );
    assert!(installation.get(HOST, "/")?.body.starts_with("v1 "));
    assert_eq!(running(&installation)?, counts(&[("web", 1), ("worker", 1)]));
    let images: std::collections::BTreeSet<String> = engine::containers(installation.id())?
        .iter()
        .map(|container| container["ImageID"].to_string())
        .collect();
    assert_eq!(images.len(), 1, "one image for both");
    let logs = nonna(&installation, &["logs", "worker"])?.ok()?;
    assert!(logs.stdout.contains("working"), "{logs:?}");

    // Nothing changed: nothing to do, and nothing is run again.
    nonna(&installation, &["deploy"])?.ok()?;
    // The worker alone.
    nonna(&installation, &["scale", "worker=3"])?.ok()?;
    assert_eq!(running(&installation)?, counts(&[("web", 1), ("worker", 3)]));

    // A change of the source: one build, once more the command, and the number
    // of workers stays.
    crew(&installation, "two", release, &[])?;
    nonna(&installation, &["deploy"])?.ok()?;
    assert_eq!(running(&installation)?, counts(&[("web", 1), ("worker", 3)]));
    let ran = |installation: &Installation| -> anyhow::Result<String> {
        Ok(
            nonna(installation, &["exec", "web", "--", "cat", "/data/migrations"])?
                .ok()?
                .stdout,
        )
    };
    assert_eq!(ran(&installation)?, "v1\nv2\n");

    // A command that fails stops the deployment; the old release serves all
    // the time, and nothing is left of the new one.
    crew(&installation, "three", "sh -c 'echo no such column; exit 3'", &[])?;
    let watcher = Watcher::start(installation.http(), HOST, "/", false);
    let failed = nonna(&installation, &["deploy"])?.failed_with("job_failed")?;
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(
        said.contains("exit code 3") && said.contains("no such column"),
        "{said}"
    );
    let seen = watcher.stop();
    assert_eq!(seen.bad, [], "of {} good ones", seen.good);
    assert_eq!(running(&installation)?, counts(&[("web", 1), ("worker", 3)]));
    assert_eq!(ran(&installation)?, "v1\nv2\n");

    // One that takes too long is stopped.
    let slow = "project = \"crew\"\n[services.web]\nhealth = \"/health\"\nvolumes = { data = \"/data\" }\nrelease_timeout = \"1s\"\nstop_timeout = \"1s\"\n";
    crew(&installation, "three", "sleep 1000", &[("nonna.toml", slow)])?;
    let failed = nonna(&installation, &["deploy"])?.failed_with("job_failed")?;
    assert!(
        format!("{failed:?}").contains("did not end within 1 s"),
        "{failed:?}"
    );
    assert_eq!(running(&installation)?, counts(&[("web", 1), ("worker", 3)]));

    // Going back runs no command.
    nonna(&installation, &["rollback", "v1", "--service", "web"])?.ok()?;
    assert_eq!(ran(&installation)?, "v1\nv2\n");

    // A process type that is gone from the Procfile goes.
    crew(
        &installation,
        "four",
        "true",
        &[("Procfile", "web: /app $PORT\n"), ("nonna.toml", slow)],
    )?;
    nonna(&installation, &["deploy"])?.ok()?;
    assert_eq!(running(&installation)?, counts(&[("web", 1)]));

    // A typo: the line, and what was meant.
    crew(
        &installation,
        "five",
        "true",
        &[("Procfile", "web: /app $PORT\nworker sleep 1\n")],
    )?;
    let typo = nonna(&installation, &["deploy"])?.failed_with("invalid_input")?;
    assert!(
        typo.stderr.contains("Procfile:2:1") && typo.stderr.contains("worker: sleep 1"),
        "{typo:?}"
    );
    Ok(())
}

#[test]
fn app_json_makes_a_secret_up_once_and_wants_what_is_required() -> anyhow::Result<()> {
    let installation = Installation::start()?;
    let app = r#"{
        "env": {"COLOUR": "green", "KEY": {"generator": "secret"}, "TOKEN": {"description": "yours"}},
        "formation": {"worker": {"quantity": 2}},
        "scripts": {"postdeploy": "sh -c 'echo seeded >> /data/seed'"},
        "addons": ["heroku-postgresql"]
    }"#;
    crew(&installation, "one", "true", &[("app.json", app)])?;
    let missing = nonna(&installation, &["deploy"])?.failed_with("missing_secret")?;
    assert!(missing.stderr.contains("TOKEN"), "{missing:?}");
    assert!(
        missing.stderr.contains("app.json:5") || missing.stderr.contains("`addons` is not carried over"),
        "{missing:?}"
    );
    nonna(&installation, &["env", "set", "TOKEN=abc"])?.ok()?;
    nonna(&installation, &["deploy"])?.ok()?;
    assert_eq!(running(&installation)?, counts(&[("web", 1), ("worker", 2)]));
    assert_eq!(installation.get(HOST, "/env?COLOUR")?.body.trim(), "green");
    let key = installation.get(HOST, "/env?KEY")?.body.trim().to_owned();
    assert_eq!(key.len(), 64, "{key}");
    // A second deployment: the same secret, and no first data again.
    crew(&installation, "two", "true", &[("app.json", app)])?;
    nonna(&installation, &["deploy"])?.ok()?;
    assert_eq!(installation.get(HOST, "/env?KEY")?.body.trim(), key);
    let seed = nonna(&installation, &["exec", "web", "--", "cat", "/data/seed"])?.ok()?;
    assert_eq!(seed.stdout, "seeded\n");
    Ok(())
}

#[test]
fn a_compose_file_becomes_an_environment() -> anyhow::Result<()> {
    let installation = Installation::start()?;
    // The database stands in for one that takes its password from a file.
    let compose = r#"
name: stack
services:
  web:
    build:
      context: ./front
    ports: ["8080:8080"]
    environment:
      GREETING: ${GREETING:-hello}
    healthcheck:
      test: ["CMD", "true"]
      interval: 1s
      timeout: 1s
    depends_on:
      my_db:
        condition: service_healthy
  my_db:
    image: nonna-test/app:v1
    command: ["sh", "-c", "cp /run/secrets/db-password /data/password; exec /app"]
    volumes: ["data:/data"]
    secrets: [db-password]
    stop_grace_period: 1s
    healthcheck:
      test: ["CMD-SHELL", "test -s /data/password"]
      interval: 1s
      timeout: 1s
volumes:
  data:
secrets:
  db-password:
    file: ./secret.txt
networks:
  default:
"#;
    installation.project(
        "crew",
        &[
            ("compose.yaml", compose),
            ("secret.txt", "correct horse"),
            ("front/Dockerfile", "FROM nonna-test/app:v2\n"),
        ],
    )?;
    let plan = nonna(&installation, &["plan"])?.ok()?;
    assert!(plan.stdout.contains("my-db"), "{plan:?}");
    assert!(
        plan.stderr.contains("compose.yaml:"),
        "what is not carried over is listed: {plan:?}"
    );
    let first = nonna(&installation, &["deploy"])?.ok()?;
    assert!(!format!("{first:?}").contains("correct horse"));
    let host = "stack.localhost";
    let greeting = installation.get(host, "/env?GREETING")?;
    assert_eq!((greeting.status, greeting.body.trim()), (200, "hello"));
    // By the name that Compose knows, and the one that Nonna gave.
    for name in ["my_db", "my-db"] {
        let found = nonna(
            &installation,
            &[
                "exec",
                "web",
                "--",
                "sh",
                "-c",
                &format!("nslookup {name} || getent hosts {name} || ping -c 1 -w 2 {name}"),
            ],
        )?;
        assert_eq!(found.code, Some(0), "{found:?}");
    }
    let password = nonna(&installation, &["exec", "my-db", "--", "cat", "/data/password"])?.ok()?;
    assert_eq!(password.stdout, "correct horse");
    let other = nonna(&installation, &["exec", "web", "--", "env"])?.ok()?;
    assert!(
        !other.stdout.contains("correct horse"),
        "only who was granted it has it"
    );
    // Named, it is the same: nothing to do. The secret is not read again.
    let again = nonna(&installation, &["deploy", "compose.yaml"])?.ok()?;
    assert!(format!("{again:?}").contains("Nothing to do"), "{again:?}");

    // It leaves as it came: what is exported is read again.
    nonna(&installation, &["export", "exported"])?.ok()?;
    let exported = installation.folder().join("crew/exported");
    let text = std::fs::read_to_string(exported.join("compose.yaml"))?;
    assert!(
        text.contains("./front") && text.contains("db_password") && text.contains("my_db"),
        "{text}"
    );
    std::fs::create_dir_all(exported.join("front"))?;
    std::fs::copy(
        installation.folder().join("crew/front/Dockerfile"),
        exported.join("front/Dockerfile"),
    )?;
    let mut command = installation.command(["plan", "compose.yaml", "--project", "again"])?;
    let output = command.current_dir(&exported).env("db_password", "x").output()?;
    let read = Ran::from(output).ok()?;
    assert!(read.stdout.contains("my-db"), "{read:?}");

    // What would have rights over the machine is refused, and nothing moves.
    // Where its administrator could allow it, the refusal says how.
    installation.project(
        "crew",
        &[(
            "compose.yaml",
            "services:\n  web:\n    image: nonna-test/app:v1\n    pid: host\n    volumes: [\"/:/host\"]\n",
        )],
    )?;
    let refused = nonna(&installation, &["deploy"])?.failed_with("invalid_input")?;
    assert!(
        refused.stderr.contains("compose.yaml:4:10") && refused.stderr.contains("compose.yaml:5:15"),
        "{refused:?}"
    );
    for (wanted, setting) in [
        ("privileged: true", "--allow-privileged on"),
        (
            "volumes: [\"/srv/media:/media\"]",
            "--allow-host-paths /srv/media",
        ),
    ] {
        installation.project(
            "crew",
            &[(
                "compose.yaml",
                &format!("services:\n  web:\n    image: nonna-test/app:v1\n    {wanted}\n"),
            )],
        )?;
        let refused = nonna(&installation, &["deploy"])?.failed_with("forbidden")?;
        assert!(refused.stderr.contains(setting), "{refused:?}");
    }
    assert_eq!(installation.get(host, "/")?.status, 200);
    Ok(())
}

#[test]
fn what_an_administrator_allows_of_the_machine_is_given_and_no_more() -> anyhow::Result<()> {
    let media = tempfile::tempdir()?;
    std::fs::create_dir(media.path().join("films"))?;
    std::fs::write(media.path().join("films/one"), "la strada\n")?;
    let path = media.path().display().to_string();
    let installation = Installation::with(Options {
        arguments: vec![
            "--allow-host-paths".into(),
            path.clone(),
            "--allow-privileged".into(),
            "on".into(),
        ],
        ..Options::default()
    })?;
    let deploy = |service: &str| -> anyhow::Result<Ran> {
        let text = format!(
            "services:\n  web:\n    image: nonna-test/app:v1\n    command: /app 8080\n    ports: [\"8080\"]\n{service}"
        );
        installation.project("crew", &[("compose.yaml", &text)])?;
        nonna(&installation, &["deploy"])
    };
    let said = deploy(&format!("    volumes: [\"{path}/films:/films:ro\"]\n"))?.ok()?;
    assert!(said.stderr.contains("allow_host_paths"), "{said:?}");
    let run = |command: &str| nonna(&installation, &["exec", "web", "--", "sh", "-c", command]);
    assert_eq!(run("cat /films/one")?.ok()?.stdout, "la strada\n");
    assert!(run("echo x > /films/two")?.ok().is_err(), "it is read only");

    // A link inside leads out of what is allowed.
    std::os::unix::fs::symlink("/etc", media.path().join("out"))?;
    let refused =
        deploy(&format!("    volumes: [\"{path}/out:/etc-of-the-machine\"]\n"))?.failed_with("forbidden")?;
    assert!(refused.stderr.contains("of the machine"), "{refused:?}");

    // Whether the engine itself may give that depends on where it runs: the
    // plan shows that it is not refused.
    let text = "services:\n  web:\n    image: nonna-test/app:v1\n    privileged: true\n";
    installation.project("crew", &[("compose.yaml", text)])?;
    let plan = nonna(&installation, &["plan"])?.ok()?;
    assert!(
        plan.stdout.contains("what it gets of the machine changed"),
        "{plan:?}"
    );
    Ok(())
}
