//! What a user does with one app, from the first deploy to its end, through
//! the real binary, a real container engine and the edge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use nonna_e2e::load::Watcher;
use nonna_e2e::{Installation, engine};

const HOST: &str = "shop.localhost";

fn manifest(version: &str, extra: &str) -> String {
    format!(
        "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:{version}\"\nhealth = \"/health\"\n{extra}\n"
    )
}

fn deploy(nonna: &Installation, version: &str, extra: &str) -> anyhow::Result<nonna_e2e::Ran> {
    let folder = nonna.project("shop", &[("nonna.toml", &manifest(version, extra))])?;
    nonna.nonna(["deploy".as_ref(), folder.as_os_str()])
}

fn in_shop(nonna: &Installation, arguments: &[&str]) -> anyhow::Result<nonna_e2e::Ran> {
    let mut command = nonna.command(arguments)?;
    let output = command.current_dir(nonna.folder().join("shop")).output()?;
    Ok(nonna_e2e::Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[test]
fn an_image_is_deployed_changed_rolled_back_scaled_paused_and_destroyed() -> anyhow::Result<()> {
    let nonna = Installation::start()?;

    // First deploy: says the URL, and the edge answers.
    let first = deploy(&nonna, "v1", "")?.ok()?;
    assert!(
        first.stdout.contains(HOST) || first.stderr.contains(HOST),
        "{first:?}"
    );
    assert!(nonna.get(HOST, "/")?.body.starts_with("v1 "));

    // Again: nothing to do.
    let before = engine::containers(nonna.id())?;
    deploy(&nonna, "v1", "")?.ok()?;
    let after = engine::containers(nonna.id())?;
    assert_eq!(before[0]["Id"], after[0]["Id"]);

    // A plan changes nothing.
    nonna.project("shop", &[("nonna.toml", &manifest("v2", ""))])?;
    let plan = in_shop(&nonna, &["plan"])?.ok()?;
    assert!(plan.stdout.contains("nonna-test/app:v2"), "{plan:?}");
    assert!(nonna.get(HOST, "/")?.body.starts_with("v1 "));

    // A change, under load: no request is lost.
    let watcher = Watcher::start(nonna.http(), HOST, "/", false);
    deploy(&nonna, "v2", "")?.ok()?;
    assert!(nonna.get(HOST, "/")?.body.starts_with("v2 "));

    // A variable makes a new release.
    in_shop(&nonna, &["env", "set", "GREETING=hello"])?.ok()?;
    assert_eq!(nonna.get(HOST, "/env?GREETING")?.body.trim(), "hello");

    // Back to v2, which knew no greeting: as a new release.
    in_shop(&nonna, &["rollback", "v2"])?.ok()?;
    assert_eq!(nonna.get(HOST, "/env?GREETING")?.status, 404);
    let releases = in_shop(&nonna, &["releases", "--json"])?.ok()?;
    assert!(releases.stdout.contains("v4"), "{releases:?}");

    in_shop(&nonna, &["scale", "web=3"])?.ok()?;
    assert_eq!(engine::containers(nonna.id())?.len(), 3);
    in_shop(&nonna, &["scale", "web=1"])?.ok()?;
    assert_eq!(engine::containers(nonna.id())?.len(), 1);

    let seen = watcher.stop();
    assert_eq!(seen.bad, [], "of {} good ones", seen.good);
    assert!(seen.good > 20, "the watcher asked only {} times", seen.good);

    // Commands in and beside the replica; their exit codes are passed on.
    let exec = in_shop(
        &nonna,
        &["exec", "web", "--", "sh", "-c", "echo $NONNA_RELEASE; exit 7"],
    )?;
    assert_eq!((exec.code, exec.stdout.trim()), (Some(7), "v4"), "{exec:?}");
    let run = in_shop(
        &nonna,
        &[
            "run",
            "web",
            "--",
            "sh",
            "-c",
            "echo from a fresh replica; exit 3",
        ],
    )?;
    assert_eq!(
        (run.code, run.stdout.trim()),
        (Some(3), "from a fresh replica"),
        "{run:?}"
    );

    // Paused: nothing runs, the edge says so; resumed: it answers again.
    in_shop(&nonna, &["pause", "web"])?.ok()?;
    assert_eq!(engine::containers(nonna.id())?.len(), 0);
    assert_eq!(nonna.get(HOST, "/")?.status, 503);
    in_shop(&nonna, &["resume", "web"])?.ok()?;
    assert_eq!(nonna.get(HOST, "/")?.status, 200);

    // Destroying needs the name.
    let refused = in_shop(&nonna, &["destroy"])?;
    assert_ne!(refused.code, Some(0));
    assert_eq!(nonna.get(HOST, "/")?.status, 200);
    in_shop(&nonna, &["destroy", "--yes", "--confirm", "production"])?.ok()?;
    assert_eq!(nonna.belongings()?, Vec::<String>::new());
    assert_eq!(nonna.get(HOST, "/")?.status, 404);
    Ok(())
}

#[test]
fn a_release_that_never_gets_healthy_is_rolled_back_and_the_error_says_why() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    deploy(&nonna, "v1", "")?.ok()?;
    let watcher = Watcher::start(nonna.http(), HOST, "/", false);
    let cases = [
        ("EXIT_CODE = 42", "42"),
        ("EAT_MB = 200", "memory"),
        ("LISTEN_PORT = 3000", "3000"),
        ("LISTEN_HOST = \"127.0.0.1\"", "127.0.0.1"),
        ("HEALTH_STATUS = 500", "500"),
    ];
    for (variables, word) in cases {
        let extra = format!(
            "health = {{ http = \"/health\", start_period = \"3s\" }}\nmemory = \"64MB\"\nvariables = {{ {} }}",
            variables.replace('\n', ", ")
        );
        let text = manifest("v2", &extra).replacen("health = \"/health\"\n", "", 1);
        let folder = nonna.project("shop", &[("nonna.toml", &text)])?;
        let failed = nonna.nonna(["deploy".as_ref(), folder.as_os_str()])?;
        assert_eq!(failed.code, Some(1), "{variables}: {failed:?}");
        let said = format!("{}{}", failed.stdout, failed.stderr);
        assert!(said.contains(word), "{variables}: no {word:?} in {said}");
        assert_eq!(
            engine::containers(nonna.id())?.len(),
            1,
            "{variables}: something is left behind"
        );
        assert!(nonna.get(HOST, "/")?.body.starts_with("v1 "));
    }
    let seen = watcher.stop();
    assert_eq!(seen.bad, []);
    assert_eq!(seen.bodies.len(), 1, "only v1 ever answered");
    Ok(())
}

#[test]
fn services_of_an_environment_find_each_other_by_name_and_no_others() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let text = "project = \"shop\"\n\
        [services.web]\nimage = \"nonna-test/app:v1\"\n\
        [services.api]\nimage = \"nonna-test/app:v2\"\n";
    let folder = nonna.project("shop", &[("nonna.toml", text)])?;
    nonna.nonna(["deploy".as_ref(), folder.as_os_str()])?.ok()?;
    let answer = nonna.get(HOST, "/get?api:8080/")?;
    assert!(answer.body.starts_with("v2 "), "{answer:?}");

    // The same in another environment: it sees its own `api`, and not this one's.
    nonna
        .nonna([
            "deploy".as_ref(),
            folder.as_os_str(),
            "-e".as_ref(),
            "staging".as_ref(),
        ])?
        .ok()?;
    let production: Vec<String> = engine::containers(nonna.id())?
        .iter()
        .filter(|c| c["Labels"]["nonna.environment-name"] == "production")
        .filter_map(|c| {
            let networks = c["NetworkSettings"]["Networks"].as_object()?;
            Some(networks.values().next()?["IPAddress"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(production.len(), 2);
    let status = nonna
        .nonna(["status", "--json", "--project", "shop", "-e", "staging"])?
        .ok()?;
    let url = status
        .stdout
        .split('"')
        .find(|part| part.starts_with("http://") && part.contains("staging"));
    let host = url
        .and_then(|u| u.strip_prefix("http://"))
        .and_then(|u| u.split([':', '/']).next());
    let host = host.unwrap_or_default().to_owned();
    for address in production {
        let answer = nonna.get(&host, &format!("/get?{address}:8080/"))?;
        assert_eq!(
            answer.status, 502,
            "staging reached production at {address}: {answer:?}"
        );
    }
    Ok(())
}
