//! `git push nonna`: what a developer sees, with the real git on one side and
//! a real container engine on the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nonna_e2e::git::WorkingCopy;
use nonna_e2e::{Installation, Options, Ran, engine};

const HOST: &str = "shop.localhost";
const MANIFEST: &str = "project = \"shop\"\n[services.web]\nhealth = \"/health\"\n";

fn dockerfile(greeting: &str) -> String {
    format!("FROM nonna-test/app:v1\nENV GREETING={greeting}\nCOPY . /src\n")
}

fn greeting(nonna: &Installation) -> String {
    nonna
        .get(HOST, "/env?GREETING")
        .map(|answer| answer.body.trim().to_owned())
        .unwrap_or_default()
}

/// A working copy whose remote is set up by `nonna git setup`.
fn set_up<'n>(nonna: &'n Installation, name: &str) -> anyhow::Result<WorkingCopy<'n>> {
    let copy = WorkingCopy::init(nonna, name)?;
    let run = nonna
        .command(["git", "setup"])?
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(copy.folder())
        .args(["--project", "shop"])
        .output()?;
    Ran::from(run).ok()?;
    Ok(copy)
}

/// What a branch is on the server.
fn remote(copy: &WorkingCopy<'_>, reference: &str) -> anyhow::Result<Option<String>> {
    let listed = copy.git(&["ls-remote", "nonna", reference])?.ok()?.stdout;
    Ok(listed.split_whitespace().next().map(str::to_owned))
}

fn refused(ran: &Ran, words: &str) {
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains(words), "wanted `{words}` in:\n{}", ran.stderr);
}

#[test]
fn a_push_is_built_told_line_by_line_and_serves_and_a_bad_one_leaves_the_branch() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let copy = set_up(&nonna, "shop")?;
    let config = std::fs::read_to_string(copy.folder().join(".git/config"))?;
    assert!(!config.contains(&nonna.token()?), "a token is in .git/config");

    let first = copy.commit(&[("nonna.toml", MANIFEST), ("Dockerfile", &dockerfile("one"))])?;
    let pushed = copy.push(&["nonna", "main"])?.ok()?;
    for words in [
        "remote: Deploying main",
        "remote: [build web]",
        "remote: Deployed shop/production v1",
        HOST,
    ] {
        assert!(
            pushed.stderr.contains(words),
            "wanted `{words}` in:\n{}",
            pushed.stderr
        );
    }
    assert_eq!(greeting(&nonna), "one");
    assert_eq!(remote(&copy, "refs/heads/main")?, Some(first.clone()));

    // A commit that changes no input deploys nothing, says so, and moves.
    let empty = copy.commit(&[])?;
    let before = engine::containers(nonna.id())?;
    let pushed = copy.push(&["nonna", "main"])?.ok()?;
    assert!(
        pushed.stderr.contains("remote: Nothing changed"),
        "{}",
        pushed.stderr
    );
    assert_eq!(before[0]["Id"], engine::containers(nonna.id())?[0]["Id"]);
    assert_eq!(remote(&copy, "refs/heads/main")?, Some(empty.clone()));

    // A build that fails: the reason is told, the branch stays, the old serves.
    copy.commit(&[(
        "Dockerfile",
        "FROM nonna-test/app:v1\nRUN echo some words; exit 3\n",
    )])?;
    let failed = copy.push(&["nonna", "main"])?;
    refused(&failed, "pre-receive hook declined");
    refused(&failed, "[build_failed]");
    refused(&failed, "some words");
    refused(&failed, "v1 goes on serving");
    assert_eq!(remote(&copy, "refs/heads/main")?, Some(empty.clone()));
    assert_eq!(greeting(&nonna), "one");
    // Nothing of it is kept: its objects were in quarantine.
    let objects = nonna.data().join("git/projects/shop.git/objects");
    for entry in std::fs::read_dir(&objects)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(
            matches!(name.as_str(), "info" | "pack") || name.len() == 2,
            "{name}"
        );
    }

    // Mended, the same push works.
    let mended = copy.commit(&[("Dockerfile", &dockerfile("two"))])?;
    copy.push(&["nonna", "main"])?.ok()?;
    assert_eq!(greeting(&nonna), "two");
    assert_eq!(remote(&copy, "refs/heads/main")?, Some(mended.clone()));

    // A force push is a deployment like any other.
    copy.git(&["reset", "--quiet", "--hard", &first])?.ok()?;
    let forced = copy.commit(&[("Dockerfile", &dockerfile("three"))])?;
    refused(&copy.push(&["nonna", "main"])?, "rejected");
    copy.push(&["--force", "nonna", "main"])?.ok()?;
    assert_eq!(greeting(&nonna), "three");
    assert_eq!(remote(&copy, "refs/heads/main")?, Some(forced));

    // The repository can be cloned, shallow too, and pushed from there.
    let url = format!("http://x:{}@{}/git/shop.git", nonna.token()?, nonna.api());
    let shallow = nonna.folder().join("shallow");
    let cloned = nonna_e2e::git::command(nonna.folder())
        .args(["clone", "--quiet", "--depth=1", &url])
        .arg(&shallow)
        .output()?;
    Ran::from(cloned).ok()?;
    let shallow = WorkingCopy::at(&nonna, shallow);
    shallow.commit(&[("Dockerfile", &dockerfile("four"))])?;
    shallow.push(&["origin", "main"])?.ok()?;
    assert_eq!(greeting(&nonna), "four");

    // Who else pushes must fetch first.
    copy.commit(&[("Dockerfile", &dockerfile("five"))])?;
    refused(&copy.push(&["nonna", "main"])?, "rejected");
    assert_eq!(greeting(&nonna), "four");

    // The audit and the log know of it, and no token is in either.
    let log = nonna.log();
    assert!(
        !log.contains("panicked") && !log.contains(&nonna.token()?),
        "{log}"
    );
    Ok(())
}

#[test]
fn tags_other_branches_and_what_cannot_be_pushed_are_told_in_words() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let copy = set_up(&nonna, "shop")?;
    copy.commit(&[("nonna.toml", MANIFEST), ("Dockerfile", &dockerfile("one"))])?;

    // A branch that nobody follows is kept.
    copy.git(&["switch", "--quiet", "-c", "feature/x"])?.ok()?;
    let pushed = copy.push(&["nonna", "feature/x"])?.ok()?;
    assert!(
        pushed.stderr.contains("no environment follows it"),
        "{}",
        pushed.stderr
    );
    assert!(remote(&copy, "refs/heads/feature/x")?.is_some());
    assert_eq!(nonna.belongings()?, Vec::<String>::new());

    // A tag too.
    copy.git(&["tag", "v1"])?.ok()?;
    let pushed = copy.push(&["nonna", "v1"])?.ok()?;
    assert!(pushed.stderr.contains("The tag v1 is kept"), "{}", pushed.stderr);

    // Told to follow it, it is deployed where it was told to.
    let mut follow = nonna.command(["git", "follow", "feature/x", "staging", "-p", "shop"])?;
    Ran::from(follow.output()?).ok()?;
    copy.commit(&[("Dockerfile", &dockerfile("staged"))])?;
    let pushed = copy.push(&["nonna", "feature/x"])?.ok()?;
    assert!(
        pushed.stderr.contains("Deployed shop/staging v1"),
        "{}",
        pushed.stderr
    );
    // So is one that the manifest names.
    let manifest = format!("{MANIFEST}[environments.qa]\nbranch = \"quality\"\n");
    copy.git(&["switch", "--quiet", "-c", "quality"])?.ok()?;
    copy.commit(&[("nonna.toml", &manifest)])?;
    let pushed = copy.push(&["nonna", "quality"])?.ok()?;
    assert!(pushed.stderr.contains("Deployed shop/qa v1"), "{}", pushed.stderr);

    // What follows cannot be deleted; what does not can.
    refused(&copy.push(&["nonna", "--delete", "feature/x"])?, "follows it");
    copy.push(&["nonna", "--delete", "v1"])?.ok()?;

    // Names that are neither branch nor tag, and those that are tricks.
    refused(
        &copy.push(&["nonna", "HEAD:refs/notes/x"])?,
        "neither a branch nor a tag",
    );
    refused(&copy.push(&["nonna", "HEAD:refs/heads/--upload-pack=x"])?, "");
    refused(&copy.push(&["nonna", "HEAD:refs/heads/-x"])?, "");

    // A pointer of Git LFS, and a submodule.
    copy.git(&["switch", "--quiet", "-c", "main-2"])?.ok()?;
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n",
        "a".repeat(64)
    );
    copy.commit(&[("model.bin", &pointer)])?;
    let lfs = copy.push(&["nonna", "HEAD:main"])?;
    refused(&lfs, "Git LFS");
    refused(&lfs, "model.bin");
    copy.commit(&[("model.bin", "here")])?;
    let head = copy.head()?;
    copy.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{head},vendor/lib"),
    ])?
    .ok()?;
    copy.git(&["commit", "--quiet", "-m", "Submodule"])?.ok()?;
    let submodule = copy.push(&["nonna", "HEAD:main"])?;
    refused(&submodule, "submodule: vendor/lib");
    assert_eq!(remote(&copy, "refs/heads/main")?, None);

    // A link out of the repository reads nothing of the server's machine.
    copy.git(&["rm", "--quiet", "--cached", "vendor/lib"])?.ok()?;
    std::fs::remove_file(copy.folder().join("nonna.toml"))?;
    std::os::unix::fs::symlink("/etc/passwd", copy.folder().join("nonna.toml"))?;
    copy.commit(&[])?;
    let link = copy.push(&["nonna", "HEAD:main"])?;
    refused(&link, "leads out of the commit");
    assert!(!link.stderr.contains("root:"), "{}", link.stderr);

    // A wrong token, and none.
    for (user, words) in [
        ("x:nonna_wrong@", "Authentication failed"),
        ("", "could not read Username"),
    ] {
        let url = format!("http://{user}{}/git/shop.git", nonna.api());
        refused(
            &copy.git(&["-c", "credential.helper=", "push", &url, "main-2"])?,
            words,
        );
    }
    // A project that cannot be, and a repository that is not there.
    let url = format!("http://x:{}@{}/git", nonna.token()?, nonna.api());
    refused(&copy.push(&[&format!("{url}/..%2f..%2fetc.git"), "main-2"])?, "");
    refused(
        &copy.git(&["fetch", &format!("{url}/nothing.git")])?,
        "Nothing was pushed",
    );
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn what_is_too_large_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        variables: vec![("NONNA_BUILD_CONTEXT_LIMIT".to_owned(), "8MB".to_owned())],
        ..Options::default()
    })?;
    let copy = set_up(&nonna, "shop")?;
    copy.commit(&[("nonna.toml", MANIFEST), ("Dockerfile", &dockerfile("one"))])?;
    // What does not compress is too large on its way …
    let noise = std::process::Command::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=40", "status=none"])
        .arg(format!("of={}", copy.folder().join("noise.bin").display()))
        .status()?;
    assert!(noise.success());
    copy.commit(&[])?;
    refused(&copy.push(&["nonna", "main"])?, "exceeds maximum allowed size");
    // … what does is when it is unpacked, before it is written out.
    std::fs::remove_file(copy.folder().join("noise.bin"))?;
    copy.git(&["reset", "--quiet", "--soft", "HEAD~1"])?.ok()?;
    std::fs::File::create(copy.folder().join("zeros.bin"))?.set_len(200_000_000)?;
    copy.commit(&[])?;
    let unpacked = copy.push(&["nonna", "main"])?;
    refused(&unpacked, "at most 8000000 are allowed");
    refused(&unpacked, "zeros.bin");
    assert_eq!(remote(&copy, "refs/heads/main")?, None);
    let size = std::process::Command::new("du")
        .args(["-sk"])
        .arg(nonna.data())
        .output()?;
    let kilobytes: u64 = String::from_utf8_lossy(&size.stdout)
        .split_whitespace()
        .next()
        .unwrap()
        .parse()?;
    assert!(kilobytes < 6_000, "{kilobytes} KB are left of what was refused");
    Ok(())
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_pushes_ctrl_c_and_a_killed_server_leave_branch_and_app_agreeing() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    let folder = {
        let copy = set_up(&nonna, "shop")?;
        copy.commit(&[("nonna.toml", MANIFEST), ("Dockerfile", &dockerfile("one"))])?;
        copy.push(&["nonna", "main"])?.ok()?;

        // The engine keeps what steps led to: each run has steps of its own, or
        // a second one would not be slow.
        let unique = nonna.id().to_owned();
        let steps = move |seconds: u32, greeting: &str| {
            format!("FROM nonna-test/app:v1\nRUN echo {unique} && sleep {seconds}\nENV GREETING={greeting}\n")
        };
        // Two at once of the same state: one wins, the other is told.
        let slow = |greeting: &str| steps(3, greeting);
        let base = copy.head()?;
        copy.commit(&[("Dockerfile", &slow("first"))])?;
        copy.git(&["branch", "first"])?.ok()?;
        copy.git(&["reset", "--quiet", "--hard", &base])?.ok()?;
        copy.commit(&[("Dockerfile", &slow("second"))])?;
        copy.git(&["branch", "second"])?.ok()?;
        let start = |branch: &str| {
            copy.command(&["push", "nonna", &format!("{branch}:main")])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        let one = start("first")?;
        let two = start("second")?;
        let (one, two) = (
            Ran::from(one.wait_with_output()?),
            Ran::from(two.wait_with_output()?),
        );
        let winners = [&one, &two].iter().filter(|ran| ran.code == Some(0)).count();
        assert_eq!(winners, 1, "{}\n---\n{}", one.stderr, two.stderr);
        let (winner, loser) = if one.code == Some(0) {
            ("first", &two)
        } else {
            ("second", &one)
        };
        assert!(
            loser.stderr.contains("in the meantime") || loser.stderr.contains("rejected"),
            "{}",
            loser.stderr
        );
        assert_eq!(greeting(&nonna), winner);
        let main = remote(&copy, "refs/heads/main")?;
        assert_eq!(
            main,
            Some(copy.git(&["rev-parse", winner])?.ok()?.stdout.trim().to_owned())
        );

        // Ctrl-C in the client cancels the deployment.
        copy.git(&["reset", "--quiet", "--hard", winner])?.ok()?;
        copy.commit(&[("Dockerfile", &steps(60, "never"))])?;
        let mut push = copy
            .command(&["push", "nonna", "main"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal sends Ctrl-C to all processes of the command.
            .process_group(0)
            .spawn()?;
        let unfinished = |nonna: &Installation| {
            nonna
                .ask("GET", "/v1/projects/shop/environments/production", "")
                .is_ok_and(|answer| !answer.body.contains("\"deployment\":null"))
        };
        wait_for("a deployment", || unfinished(&nonna));
        std::thread::sleep(Duration::from_millis(500));
        let pid = rustix::process::Pid::from_raw(i32::try_from(push.id())?).unwrap();
        rustix::process::kill_process_group(pid, rustix::process::Signal::INT)?;
        push.wait()?;
        wait_for("the end of the deployment", || !unfinished(&nonna));
        assert_eq!(greeting(&nonna), winner);
        assert_eq!(remote(&copy, "refs/heads/main")?, main);

        // The server dies under a push.
        copy.commit(&[("Dockerfile", &slow("after"))])?;
        let push = start("main")?;
        wait_for("a deployment", || unfinished(&nonna));
        let folder = copy.folder().to_owned();
        (folder, push, main)
    };
    let (folder, push, main) = folder;
    nonna.kill_server()?;
    let push = Ran::from(push.wait_with_output()?);
    assert_ne!(push.code, Some(0), "{}", push.stderr);
    nonna.start_server()?;
    let copy = WorkingCopy::at(&nonna, folder);
    assert_eq!(remote(&copy, "refs/heads/main")?, main);
    let remains: Vec<String> = std::fs::read_dir(nonna.data().join("git/projects/shop.git/objects"))?
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("incoming"))
        .collect();
    assert_eq!(remains, Vec::<String>::new());
    // Pushing again is enough, whatever became of the deployment.
    copy.push(&["nonna", "main"])?.ok()?;
    assert_eq!(greeting(&nonna), "after");
    assert_eq!(remote(&copy, "refs/heads/main")?, Some(copy.head()?));
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn setup_tells_git_the_authority_and_leaves_a_remote_of_somebody_else_alone() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let copy = WorkingCopy::init(&nonna, "shop")?;
    let ca = nonna.folder().join("ca.pem");
    std::fs::write(&ca, "")?;
    let file = nonna.folder().join("config/nonna/config.toml");
    let config = std::fs::read_to_string(&file)?;
    let with_ca = config.replace("token = ", &format!("ca = \"{}\"\ntoken = ", ca.display()));
    std::fs::write(&file, with_ca)?;
    let run = nonna
        .command(["git", "setup", "-p", "shop"])?
        .current_dir(copy.folder())
        .output()?;
    Ran::from(run).ok()?;
    let written = copy
        .git(&["config", &format!("http.http://{}.sslCAInfo", nonna.api())])?
        .ok()?;
    assert_eq!(written.stdout.trim(), ca.display().to_string());
    // Set up again it is the same; another remote of the name is not touched.
    let again = || -> anyhow::Result<Ran> {
        let run = nonna
            .command(["git", "setup", "-p", "shop"])?
            .current_dir(copy.folder())
            .output()?;
        Ok(run.into())
    };
    again()?.ok()?;
    copy.git(&[
        "remote",
        "set-url",
        "nonna",
        "https://elsewhere.example.org/x.git",
    ])?
    .ok()?;
    let elsewhere = again()?;
    assert_eq!(elsewhere.code, Some(2));
    assert!(
        elsewhere.stderr.contains("elsewhere.example.org"),
        "{}",
        elsewhere.stderr
    );
    Ok(())
}
