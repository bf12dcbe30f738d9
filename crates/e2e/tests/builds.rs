//! Builds: the queue, their logs, building anew, caches, what is removed, and
//! that no build starves what serves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nonna_e2e::load::Watcher;
use nonna_e2e::second_engine::SecondEngine;
use nonna_e2e::{Installation, Options, Ran, engine};
use serde_json::Value;

/// A text that no other run of any test has built.
fn unique(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{name}-{}-{}", std::process::id(), now.unwrap().as_nanos())
}

fn with_arguments(arguments: &[&str]) -> anyhow::Result<Installation> {
    Installation::with(Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Options::default()
    })
}

fn eventually(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A Dockerfile whose app serves what its build wrote.
fn serving(steps: &str) -> String {
    format!(
        "FROM busybox:latest\nWORKDIR /srv\nCOPY . .\n{steps}\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/srv\"]\n"
    )
}

fn begin(nonna: &Installation, folder: &str) -> anyhow::Result<Child> {
    let log = std::fs::File::create(nonna.folder().join(format!("{folder}.log")))?;
    Ok(nonna
        .command(["deploy"])?
        .current_dir(nonna.folder().join(folder))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?)
}

fn said(nonna: &Installation, folder: &str) -> String {
    std::fs::read_to_string(nonna.folder().join(format!("{folder}.log"))).unwrap_or_default()
}

fn interrupt(child: &Child) -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id())?).unwrap();
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::INT)?)
}

/// The builds that are not over, as `project: state`.
fn queue(nonna: &Installation) -> Vec<String> {
    let answer = nonna
        .nonna(["builds", "--json"])
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    let builds = answer["builds"].as_array().unwrap().clone();
    builds
        .iter()
        .map(|build| {
            let project = build["project"].as_str().unwrap();
            match build["position"].as_u64() {
                Some(position) => format!("{project}: {position}"),
                None => format!("{project}: running"),
            }
        })
        .collect()
}

#[test]
fn builds_wait_for_their_turn_and_can_be_cancelled_waiting_and_building() -> anyhow::Result<()> {
    let nonna = with_arguments(&["--build-concurrency", "1"])?;
    let salt = unique("queue");
    for project in ["first", "second", "third"] {
        let steps = match project {
            "third" => format!("RUN echo {salt}"),
            _ => format!("RUN echo begun-{project}-{salt} && sleep 600"),
        };
        nonna.project(
            project,
            &[("Dockerfile", &serving(&steps)), ("index.html", project)],
        )?;
    }
    let mut first = begin(&nonna, "first")?;
    eventually("the first one builds", Duration::from_secs(60), || {
        said(&nonna, "first").contains("| begun-first")
    });
    let mut second = begin(&nonna, "second")?;
    eventually("the second one waits", Duration::from_secs(30), || {
        said(&nonna, "second").contains("waits for its turn to build: next, 1 build is under way")
    });
    let mut third = begin(&nonna, "third")?;
    eventually("the third one waits behind it", Duration::from_secs(30), || {
        said(&nonna, "third").contains("place 2 in the queue")
    });
    assert_eq!(queue(&nonna), ["first: running", "second: 1", "third: 2"]);

    interrupt(&second)?;
    assert_eq!(second.wait()?.code(), Some(1));
    assert!(
        said(&nonna, "second").contains("[cancelled]"),
        "{}",
        said(&nonna, "second")
    );
    eventually("the third one moves up", Duration::from_secs(10), || {
        said(&nonna, "third").contains("waits for its turn to build: next")
    });
    assert_eq!(queue(&nonna), ["first: running", "third: 1"]);

    interrupt(&first)?;
    assert_eq!(first.wait()?.code(), Some(1));
    assert_eq!(third.wait()?.code(), Some(0), "{}", said(&nonna, "third"));
    assert_eq!(nonna.get("third.localhost", "/")?.body.trim(), "third");
    assert!(queue(&nonna).is_empty());
    // What was cancelled left nothing.
    let left = nonna.belongings()?;
    assert!(
        left.iter()
            .all(|name| !name.contains("first") && !name.contains("second")),
        "{left:?}"
    );
    Ok(())
}

#[test]
fn the_log_of_a_build_stays_with_its_release() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    let salt = unique("log");
    let write = |step: &str| nonna.project("app", &[("Dockerfile", &serving(step)), ("index.html", "hello")]);
    write(&format!("RUN echo said-{salt}"))?;
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    // A release that takes the same image.
    nonna.nonna_in("app", &["env", "set", "A=1"])?.ok()?;
    write(&format!("RUN echo wrong-{salt} && exit 3"))?;
    nonna.nonna_in("app", &["deploy"])?.failed_with("build_failed")?;

    nonna.kill_server()?;
    nonna.start_server()?;
    let log = |release: &[&str]| -> anyhow::Result<Ran> {
        let mut arguments = vec!["builds", "logs"];
        arguments.extend(release);
        nonna.nonna_in("app", &arguments)?.ok()
    };
    assert!(log(&["v1"])?.stdout.contains(&format!("said-{salt}")));
    let second = log(&["v2"])?;
    assert!(second.stdout.contains(&format!("said-{salt}")), "{second:?}");
    assert!(second.stderr.contains("built for v1"), "{second:?}");
    let failed = log(&[])?.stdout;
    assert!(
        failed.contains(&format!("wrong-{salt}")) && failed.contains("failed: "),
        "{failed}"
    );
    let json = log(&["v1", "--json"])?.json()?;
    assert_eq!(json["state"], "succeeded");
    nonna
        .nonna_in("app", &["builds", "logs", "v99"])?
        .failed_with("not_found")?;
    Ok(())
}

/// The app's build counts how often its cache of dependencies was used, and
/// serves that with the moment it was built at. `salt` is part of the command.
fn counting(nonna: &Installation, salt: &str, page: &str) -> anyhow::Result<()> {
    let step = format!(
        "RUN --mount=type=cache,target=/kept echo {salt} >> /kept/uses && \
         wc -l < /kept/uses > uses && cat /proc/uptime > built"
    );
    nonna.project("app", &[("Dockerfile", &serving(&step)), ("index.html", page)])?;
    Ok(())
}

fn served(nonna: &Installation, path: &str) -> anyhow::Result<String> {
    Ok(nonna.get("app.localhost", path)?.body.trim().to_owned())
}

#[test]
fn nothing_changed_builds_nothing_and_no_cache_builds_everything() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let salt = unique("anew");
    counting(&nonna, &salt, &salt)?;
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    let built = served(&nonna, "/built")?;
    assert_eq!(served(&nonna, "/uses")?, "1", "the cache is this service's own");
    let again = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(again.stderr.contains("Nothing to do"), "{again:?}");

    // Another source: the step runs again, with the dependencies of before.
    counting(&nonna, &salt, &format!("{salt} changed"))?;
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert_eq!(served(&nonna, "/uses")?, "2");
    // Back to the first source: its image is still there.
    counting(&nonna, &salt, &salt)?;
    let back = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(!back.stderr.contains("[build"), "{back:?}");
    assert_eq!(served(&nonna, "/built")?, built);
    // Without its image it is built again, of what the builder has kept.
    let releases = nonna.nonna_in("app", &["releases", "--json"])?.ok()?.json()?;
    let second = releases[1]["image"].as_str().unwrap();
    eventually("the old replica is gone", Duration::from_secs(20), || {
        engine::call("DELETE", &format!("/images/{second}?force=true")).is_ok()
    });
    counting(&nonna, &salt, &format!("{salt} changed"))?;
    let rebuilt = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(rebuilt.stderr.contains("[build"), "{rebuilt:?}");
    assert_eq!(served(&nonna, "/")?, format!("{salt} changed"));

    let before = served(&nonna, "/built")?;
    let anew = nonna.nonna_in("app", &["deploy", "--no-cache"])?.ok()?;
    assert_ne!(served(&nonna, "/built")?, before, "the step ran again: {anew:?}");
    assert_eq!(served(&nonna, "/uses")?, "1", "with no dependencies of before");
    Ok(())
}

/// The ids of all records of the builder's cache.
fn records() -> anyhow::Result<Vec<String>> {
    let usage = engine::get("/system/df")?;
    let all = usage["BuildCache"].as_array().cloned().unwrap_or_default();
    Ok(all
        .iter()
        .filter_map(|r| r["ID"].as_str().map(str::to_owned))
        .collect())
}

#[test]
fn clearing_the_cache_removes_only_what_this_installation_made() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let other = Installation::start()?;
    let salt = unique("clear");
    let dependencies = |of: &Installation| -> anyhow::Result<Vec<String>> {
        let answer = of.nonna(["cache", "--json"])?.ok()?.json()?;
        let caches = answer["caches"].as_array().cloned().unwrap_or_default();
        Ok(caches
            .iter()
            .filter(|cache| cache["kind"] == "dependencies" && cache["service"] == "web")
            .filter_map(|cache| cache["id"].as_str().map(str::to_owned))
            .collect())
    };
    // The same app in two installations: the same commands.
    let deployed = |of: &Installation| -> anyhow::Result<Vec<String>> {
        counting(of, &salt, &salt)?;
        of.nonna_in("app", &["deploy"])?.ok()?;
        dependencies(of)
    };
    let (ours, theirs) = (deployed(&nonna)?, deployed(&other)?);
    assert_eq!((ours.len(), theirs.len()), (1, 1), "{ours:?} {theirs:?}");
    assert_ne!(ours, theirs, "installations share no cache");

    let cleared = nonna.nonna_in("app", &["cache", "clear", "web"])?.ok()?;
    assert!(cleared.stdout.contains("Removed"), "{cleared:?}");
    assert!(dependencies(&nonna)?.is_empty());
    let left = records()?;
    assert!(!left.contains(&ours[0]) && left.contains(&theirs[0]));
    // What its image is made of stays, and serves.
    assert_eq!(served(&nonna, "/")?, salt);
    nonna
        .nonna([
            "cache",
            "clear",
            "--project",
            "nobody",
            "--environment",
            "production",
        ])?
        .failed_with("not_found")?;
    let nothing = nonna.nonna(["cache", "clear", "--all"])?.ok()?;
    assert!(records()?.contains(&theirs[0]), "{nothing:?}");
    other.nonna(["cache", "clear", "--all"])?.ok()?;
    Ok(())
}

#[test]
fn a_service_may_give_its_builds_less_time() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let salt = unique("time");
    let app = |step: &str, timeout: &str| {
        let manifest = format!("project = \"app\"\n[services.web]\nbuild_timeout = \"{timeout}\"\n");
        nonna.project(
            "app",
            &[
                ("Dockerfile", &serving(step)),
                ("index.html", "hello"),
                ("nonna.toml", &manifest),
            ],
        )
    };
    app(&format!("RUN echo {salt}"), "5m")?;
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    // Another time is no other source: nothing is built.
    app(&format!("RUN echo {salt}"), "4m")?;
    let again = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(!again.stderr.contains("[build"), "{again:?}");
    app(&format!("RUN echo {salt} && sleep 300"), "2s")?;
    let stopped = nonna.nonna_in("app", &["deploy"])?.failed_with("build_limit")?;
    assert!(stopped.stderr.contains("longer than 2 s"), "{stopped:?}");
    assert_eq!(served(&nonna, "/")?, "hello");
    Ok(())
}

#[test]
fn what_nonna_toml_says_of_a_build_is_done_and_is_part_of_what_is_unchanged() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let salt = unique("said");
    let app = |build: &str| {
        let manifest =
            format!("project = \"app\"\n[build]\n{build}\nstart = \"python -m http.server $PORT\"\n");
        // Without the table, the Dockerfile would decide.
        nonna.project(
            "app",
            &[
                ("Dockerfile", "FROM busybox:latest\nRUN exit 9\n"),
                ("index.html", "hello"),
                ("nonna.toml", &manifest),
            ],
        )
    };
    let said = |command: &str| {
        format!("language = \"python\"\ninstall = \"echo {salt} > /opt/venv/said\"\ncommand = \"{command}\"")
    };
    app(&said("cat /opt/venv/said > page && id -u > who"))?;
    let first = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert_eq!(served(&nonna, "/page")?, salt, "{first:?}");
    assert!(
        first.stderr.contains("`build.command` in nonna.toml"),
        "{first:?}"
    );
    let again = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(again.stderr.contains("Nothing to do"), "{again:?}");

    app(&said("echo another > page"))?;
    let other = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(other.stderr.contains("[build"), "{other:?}");
    assert_eq!(served(&nonna, "/page")?, "another");

    // Neither is a Dockerfile set aside in silence, nor is a command.
    app("")?;
    let both = nonna.nonna_in("app", &["deploy"])?.failed_with("invalid_input")?;
    assert!(
        both.stderr.contains("`build.start`") && both.stderr.contains("`Dockerfile`"),
        "{both:?}"
    );
    app("language = \"static\"\ncommand = \"make\"")?;
    let useless = nonna.nonna_in("app", &["deploy"])?.failed_with("invalid_input")?;
    assert!(useless.stderr.contains("`build.command`"), "{useless:?}");
    assert_eq!(served(&nonna, "/page")?, "another");
    Ok(())
}

#[test]
fn a_build_alone_changes_nothing_that_runs_and_is_what_a_deploy_then_takes() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let salt = unique("alone");
    counting(&nonna, &salt, &salt)?;
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    let before = served(&nonna, "/built")?;
    let belongings = engine::containers(nonna.id())?.len();

    counting(&nonna, &salt, &format!("{salt} changed"))?;
    let built = nonna.nonna_in("app", &["build"])?.ok()?;
    assert!(built.stderr.contains("[build web] "), "{built:?}");
    assert!(
        built.stdout.contains("sha256:") && built.stdout.contains("Dockerfile"),
        "{built:?}"
    );
    assert_eq!(served(&nonna, "/built")?, before, "nothing was deployed");
    assert_eq!(engine::containers(nonna.id())?.len(), belongings);
    let again = nonna.nonna_in("app", &["build", "--json"])?.ok()?;
    let last: Vec<Value> = again
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(last[0]["event"], "built", "{again:?}");
    assert_eq!(last[0]["unchanged"], true);
    assert_eq!(last[0]["release"], "v2");

    // The deploy takes it, and its log is there.
    let deployed = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert_eq!(served(&nonna, "/")?, format!("{salt} changed"), "{deployed:?}");
    assert_eq!(served(&nonna, "/uses")?, "2", "it was not built a third time");
    let releases = nonna.nonna_in("app", &["releases", "--json"])?.ok()?.json()?;
    assert_eq!(releases[0]["image"], last[0]["image"]);
    let log = nonna.nonna_in("app", &["builds", "logs", "v2"])?.ok()?;
    assert!(log.stdout.contains(&salt), "{log:?}");

    // One that fails says so; one that is left is stopped.
    nonna.project(
        "app",
        &[(
            "Dockerfile",
            serving(&format!("RUN echo {salt} && exit 4")).as_str(),
        )],
    )?;
    let failed = nonna.nonna_in("app", &["build"])?.failed_with("build_failed")?;
    assert!(failed.stderr.contains("exit code 4"), "{failed:?}");
    nonna.project(
        "app",
        &[(
            "Dockerfile",
            serving(&format!("RUN echo left-{salt} && sleep 600")).as_str(),
        )],
    )?;
    let mut child = nonna
        .command(["build"])?
        .current_dir(nonna.folder().join("app"))
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(nonna.folder().join("left.log"))?)
        .spawn()?;
    eventually("it builds", Duration::from_secs(60), || {
        std::fs::read_to_string(nonna.folder().join("left.log"))
            .is_ok_and(|text| text.contains(&format!("left-{salt}")))
    });
    assert_eq!(queue(&nonna), ["app: running"]);
    interrupt(&child)?;
    child.wait()?;
    eventually("it is stopped", Duration::from_secs(30), || {
        queue(&nonna).is_empty()
    });
    assert_eq!(served(&nonna, "/")?, format!("{salt} changed"));
    Ok(())
}

/// An image of one file, made without a build, with this name.
fn base_image(name: &str, text: &str) -> anyhow::Result<()> {
    let dockerfile = format!("FROM busybox:latest\nRUN echo {text} > /base\n");
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("Dockerfile"), dockerfile)?;
    let output = std::process::Command::new("/usr/bin/docker")
        .args(["build", "-q", "-t", name])
        .arg(folder.path())
        .env("DOCKER_BUILDKIT", "1")
        .output()?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn a_base_image_that_moved_is_built_upon_at_the_next_deploy() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let salt = unique("moved");
    let base = format!("nonna-e2e/{salt}:1");
    base_image(&base, "first")?;
    let dockerfile = format!(
        "FROM {base}\nCOPY index.html /www/index.html\nRUN cp /base /www/base\nEXPOSE 8080\n\
         CMD [\"/bin/sh\",\"-c\",\"exec httpd -f -p $PORT -h /www\"]\n"
    );
    nonna.project(
        "app",
        &[("Dockerfile", dockerfile.as_str()), ("index.html", salt.as_str())],
    )?;
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert_eq!(served(&nonna, "/base")?, "first");
    let again = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(again.stderr.contains("Nothing to do"), "{again:?}");

    base_image(&base, "second")?;
    let plan = nonna.nonna_in("app", &["plan"])?.ok()?;
    assert!(
        plan.stdout
            .contains(&format!("its base image {base} is another one now")),
        "{plan:?}"
    );
    nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert_eq!(served(&nonna, "/base")?, "second");
    let again = nonna.nonna_in("app", &["deploy"])?.ok()?;
    assert!(again.stderr.contains("Nothing to do"), "{again:?}");
    // `--pull` fetches it, and says so where no registry has it.
    let pulled = nonna.nonna_in("app", &["deploy", "--pull"])?;
    assert!(
        pulled.code == Some(1) && pulled.stderr.contains(&format!("Fetching {base}")),
        "{pulled:?}"
    );
    nonna.nonna_in("app", &["destroy", "--yes"])?.ok()?;
    let _ = engine::call("DELETE", &format!("/images/{base}?force=true"));
    Ok(())
}

/// What a run of `nonna gc` removed, or would: kind and name, in order.
fn collected(nonna: &Installation, arguments: &[&str]) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = vec!["gc", "--json"];
    all.extend(arguments);
    let answer = nonna.nonna(all)?.ok()?.json()?;
    let items: Vec<Value> = answer["items"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<(String, String)> = items
        .iter()
        .map(|item| {
            let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
            (text("kind"), text("name"))
        })
        .collect();
    found.sort();
    Ok(found)
}

#[test]
fn what_gc_shows_is_what_it_removes_and_what_serves_goes_on() -> anyhow::Result<()> {
    let nonna = with_arguments(&["--retention-releases", "2", "--retention-grace", "0s"])?;
    let salt = unique("gc");
    for version in 1..=3 {
        counting(&nonna, &salt, &format!("{salt} {version}"))?;
        nonna.nonna_in("app", &["deploy"])?.ok()?;
    }
    let images = || -> anyhow::Result<Vec<String>> {
        let filter = format!(
            "%7B%22label%22%3A%5B%22nonna.image.installation%3D{}%22%5D%7D",
            nonna.id()
        );
        let list = engine::get(&format!("/images/json?filters={filter}"))?;
        let list = list.as_array().cloned().unwrap_or_default();
        Ok(list
            .iter()
            .filter_map(|i| i["Id"].as_str().map(str::to_owned))
            .collect())
    };
    assert_eq!(images()?.len(), 3);
    // The replica of the release before may still be leaving.
    eventually("one replica is left", Duration::from_secs(20), || {
        engine::containers(nonna.id()).is_ok_and(|all| all.len() == 1)
    });
    let would = collected(&nonna, &["--dry-run"])?;
    assert_eq!(images()?.len(), 3, "nothing was removed");
    let kinds: Vec<&str> = would.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["context", "image"], "{would:?}");
    let watcher = Watcher::start(nonna.http(), "app.localhost", "/", false);
    let gone = collected(&nonna, &[])?;
    assert_eq!(gone, would);
    assert!(
        collected(&nonna, &[])?.is_empty(),
        "there is nothing left to remove"
    );
    let seen = watcher.stop();
    assert!(seen.bad.is_empty() && seen.good > 0, "{:?}", seen.bad);
    assert_eq!(images()?.len(), 2);

    // To v2 there is a way back even without its image: its source is kept.
    let releases = nonna.nonna_in("app", &["releases", "--json"])?.ok()?.json()?;
    let second = releases[1]["image"].as_str().unwrap();
    engine::call("DELETE", &format!("/images/{second}?force=true"))?;
    let back = nonna.nonna_in("app", &["rollback", "v2"])?.ok()?;
    assert!(back.stderr.contains("[build"), "{back:?}");
    assert_eq!(served(&nonna, "/")?, format!("{salt} 2"));
    // To v1 there is none any more, and that is said.
    let refused = nonna
        .nonna_in("app", &["rollback", "v1"])?
        .failed_with("image_not_found")?;
    assert!(
        refused.stderr.contains("no longer on this machine"),
        "{refused:?}"
    );
    assert_eq!(served(&nonna, "/")?, format!("{salt} 2"));

    // Of what is destroyed nothing is needed.
    nonna.nonna_in("app", &["destroy", "--yes"])?.ok()?;
    collected(&nonna, &[])?;
    assert!(images()?.is_empty(), "{:?}", images()?);
    Ok(())
}

#[test]
fn a_build_that_writes_without_end_is_stopped_and_an_app_goes_on_answering() -> anyhow::Result<()> {
    let second = SecondEngine::start(1200)?;
    for image in ["nonna-test/app:v1", "busybox:latest"] {
        second.load(image)?;
    }
    let nonna = with_arguments(&["--engine", &second.address(), "--build-disk", "100MB"])?;
    nonna.project(
        "shop",
        &[(
            "nonna.toml",
            "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:v1\"\nhealth = \"/health\"\n",
        )],
    )?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    // As fast as it may be, but not so fast that the disk is full at once.
    let step = "RUN i=0; while true; do dd if=/dev/zero of=/big$i bs=1M count=10 2>/dev/null; i=$((i+1)); sleep 0.1; done";
    nonna.project(
        "writer",
        &[("Dockerfile", &serving(step)), ("index.html", "writer")],
    )?;
    let watcher = Watcher::start(nonna.http(), "shop.localhost", "/", false);
    let begun = Instant::now();
    let stopped = nonna
        .nonna_in("writer", &["deploy"])?
        .failed_with("build_limit")?;
    assert!(
        stopped
            .stderr
            .contains("were written to the container engine's disk"),
        "{stopped:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
    let seen = watcher.stop();
    assert!(seen.bad.is_empty() && seen.good > 0, "{:?}", seen.bad);
    Ok(())
}

#[test]
fn a_build_that_forks_without_end_is_stopped_and_an_app_goes_on_answering() -> anyhow::Result<()> {
    let second = SecondEngine::start(256)?;
    for image in ["nonna-test/app:v1", "busybox:latest"] {
        second.load(image)?;
    }
    let nonna = with_arguments(&[
        "--engine",
        &second.address(),
        "--build-engine-cgroup",
        &second.control_group(),
        "--build-processes",
        "200",
    ])?;
    nonna.project(
        "shop",
        &[(
            "nonna.toml",
            "project = \"shop\"\n[services.web]\nimage = \"nonna-test/app:v1\"\nhealth = \"/health\"\n",
        )],
    )?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let doctor = nonna.nonna(["doctor"])?;
    assert!(doctor.stdout.contains("200 processes"), "{doctor:?}");

    let step = "RUN awk 'BEGIN { while (1) system(\"sleep 1000 &\") }'";
    nonna.project("bomb", &[("Dockerfile", &serving(step)), ("index.html", "bomb")])?;
    let watcher = Watcher::start(nonna.http(), "shop.localhost", "/", false);
    let begun = Instant::now();
    let stopped = nonna.nonna_in("bomb", &["deploy"])?.failed_with("build_limit")?;
    assert!(stopped.stderr.contains("200 processes"), "{stopped:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
    let seen = watcher.stop();
    assert!(
        seen.bad.is_empty() && seen.good > 50,
        "{} good, {:?}",
        seen.good,
        seen.bad
    );
    assert!(seen.longest < Duration::from_secs(2), "{:?}", seen.longest);
    Ok(())
}
