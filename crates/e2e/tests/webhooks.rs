//! Deploys from a forge: what a forge sends and is answered, with the real git
//! on both sides and a real container engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::time::{Duration, Instant};

use nonna_e2e::forge::{self, Forge, Kind, Sshd};
use nonna_e2e::git::WorkingCopy;
use nonna_e2e::{Installation, Options, Ran, http};
use serde_json::Value;

const TOKEN: &str = "frg_5f2b9c7d1e3a48609b7c";
const REPOSITORY: &str = "acme/shop";

fn manifest(project: &str) -> String {
    format!("project = \"{project}\"\n[services.web]\nhealth = \"/health\"\n")
}

fn dockerfile(greeting: &str) -> String {
    format!("FROM nonna-test/app:v1\nENV GREETING={greeting}\nCOPY . /src\n")
}

/// A repository on the forge with an app in it: a working copy of it, and its
/// first commit.
fn shop<'n>(nonna: &'n Installation, forge: &Forge) -> anyhow::Result<(WorkingCopy<'n>, String)> {
    forge.create(REPOSITORY)?;
    let copy = WorkingCopy::init(nonna, "shop")?;
    copy.commit(&[
        ("nonna.toml", &manifest("shop")),
        ("Dockerfile", &dockerfile("one")),
    ])?;
    let commit = forge.receive(&copy, REPOSITORY, "main")?;
    Ok((copy, commit))
}

fn greeting(nonna: &Installation, host: &str) -> String {
    nonna
        .get(host, "/env?GREETING")
        .map(|answer| answer.body.trim().to_owned())
        .unwrap_or_default()
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Now, in seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A repository that is connected.
struct Connected {
    project: String,
    kind: Kind,
    path: String,
    secret: String,
    answer: Value,
}

impl Connected {
    /// Connects a repository as a user does, and reads what is printed.
    fn new(
        nonna: &Installation,
        forge: &Forge,
        kind: Kind,
        project: &str,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        Self::at(
            nonna,
            &forge.url(REPOSITORY),
            Some(&forge.api()),
            kind,
            project,
            more,
        )
    }

    fn at(
        nonna: &Installation,
        url: &str,
        api: Option<&str>,
        kind: Kind,
        project: &str,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let mut command = nonna.command([
            "git",
            "connect",
            url,
            "-p",
            project,
            "--forge",
            kind.as_str(),
            "--json",
        ])?;
        command.args(more);
        if let Some(api) = api {
            command.args(["--api", api, "--token"]);
        }
        let file = nonna.folder().join(format!("token-{project}"));
        std::fs::write(&file, format!("{TOKEN}\n"))?;
        let answer = Ran::from(command.stdin(std::fs::File::open(file)?).output()?)
            .ok()?
            .json()?;
        Ok(Self {
            project: project.to_owned(),
            kind,
            path: answer["connection"]["webhook_path"].as_str().unwrap().to_owned(),
            secret: answer["secret"].as_str().unwrap_or_default().to_owned(),
            answer,
        })
    }

    /// The message of a push that happens now.
    fn push(&self, branch: &str, commit: &str) -> forge::Message {
        forge::push(self.kind, &self.secret, REPOSITORY, branch, commit, now())
    }

    fn deliveries(&self, nonna: &Installation) -> Vec<Value> {
        let listed = nonna
            .nonna(["git", "deliveries", "-p", &self.project, "--json"])
            .unwrap();
        listed.ok().unwrap().json().unwrap().as_array().unwrap().clone()
    }

    /// Waits until the delivery of this number is over.
    fn end_of(&self, nonna: &Installation, number: &Value) -> Value {
        let mut found = Value::Null;
        wait_for("the end of a delivery", || {
            let all = self.deliveries(nonna);
            found = all
                .into_iter()
                .find(|d| d["number"] == *number)
                .unwrap_or_default();
            found["state"] == "done"
        });
        found
    }

    /// Sends a message that is accepted and waits for its end.
    fn deployed(&self, nonna: &Installation, message: &forge::Message) -> Value {
        let answer = message.send(nonna, &self.path).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        self.end_of(nonna, &answer["deliveries"][0])
    }
}

fn release(nonna: &Installation, place: &str, service: &str) -> Value {
    let (project, environment) = place.split_once('/').unwrap();
    let state = nonna
        .ask(
            "GET",
            &format!("/v1/projects/{project}/environments/{environment}"),
            "",
        )
        .unwrap();
    let state: Value = serde_json::from_str(&state.body).unwrap_or_default();
    let services = state["services"].as_array().cloned().unwrap_or_default();
    services
        .into_iter()
        .find(|s| s["name"] == service)
        .map(|s| s["release"].clone())
        .unwrap_or_default()
}

#[test]
fn a_push_told_by_each_kind_of_forge_is_fetched_deployed_and_told_back() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let forge = Forge::start(Some(TOKEN))?;
    forge.create(REPOSITORY)?;
    let mut secrets = Vec::new();
    for kind in Kind::ALL {
        let project = kind.as_str();
        let host = format!("{project}.localhost");
        let copy = WorkingCopy::init(&nonna, project)?;
        let connected = Connected::new(&nonna, &forge, kind, project, &[])?;
        secrets.push(connected.secret.clone());
        if let Some(ping) = forge::ping(kind, &connected.secret, REPOSITORY) {
            let answer = ping.send(&nonna, &connected.path)?;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(answer.body.contains("The webhook works"), "{}", answer.body);
        }

        copy.commit(&[
            ("nonna.toml", &manifest(project)),
            ("Dockerfile", &dockerfile("one")),
        ])?;
        let commit = forge.receive(&copy, REPOSITORY, "main")?;
        // Statuses are told again where the forge does not take them at once.
        forge.refuse_statuses(2);
        let end = connected.deployed(&nonna, &connected.push("main", &commit));
        assert_eq!(end["result"], "deployed", "{end}");
        assert_eq!(end["commit"], commit.as_str());
        assert_eq!(greeting(&nonna, &host), "one");
        let (pending, success, failure) = match kind {
            Kind::Github | Kind::Gitea => ("pending", "success", "failure"),
            Kind::Gitlab => ("running", "success", "failed"),
            Kind::Bitbucket => ("INPROGRESS", "SUCCESSFUL", "FAILED"),
        };
        let told = forge.wait_for_status(&commit, success)?;
        let text = told.body.to_string();
        assert!(text.contains(&format!("nonna/{project}/production")), "{text}");
        assert!(text.contains(&host), "the app's address is in it: {text}");
        assert!(told.token.ends_with(TOKEN), "{}", told.token);
        let path = match kind {
            Kind::Github | Kind::Gitea => format!("/api/v1/repos/acme/shop/statuses/{commit}"),
            Kind::Gitlab => format!("/api/v1/projects/acme%2Fshop/statuses/{commit}"),
            Kind::Bitbucket => format!("/api/v1/repositories/acme/shop/commit/{commit}/statuses/build"),
        };
        assert_eq!(told.path, path);

        // One that does not build: told with the reason, and the old one serves.
        copy.commit(&[("Dockerfile", "FROM nonna-test/app:v1\nRUN exit 3\n")])?;
        let broken = forge.receive(&copy, REPOSITORY, "main")?;
        let end = connected.deployed(&nonna, &connected.push("main", &broken));
        assert_eq!(end["result"], "failed", "{end}");
        forge.wait_for_status(&broken, pending)?;
        let told = forge.wait_for_status(&broken, failure)?;
        assert!(
            told.body["description"].as_str().unwrap().contains("build"),
            "{}",
            told.body
        );
        assert_eq!(greeting(&nonna, &host), "one");
        let number = end["number"].to_string();
        let log = nonna
            .nonna(["git", "deliveries", "-p", project, "-n", &number])?
            .ok()?;
        for words in [
            "Fetching main of",
            "Deploying main",
            "[build web]",
            "[build_failed]",
        ] {
            assert!(log.stdout.contains(words), "wanted `{words}` in:\n{}", log.stdout);
        }
        assert!(log.stdout.contains("v1 goes on serving"), "{}", log.stdout);
    }
    // A status that the forge takes long over is not overtaken by the next one.
    let copy = WorkingCopy::at(&nonna, nonna.folder().join("bitbucket"));
    let connected = Connected::new(&nonna, &forge, Kind::Bitbucket, "bitbucket", &["--new-secret"])?;
    secrets.push(connected.secret.clone());
    copy.commit(&[("Dockerfile", &dockerfile("one"))])?;
    let commit = forge.receive(&copy, REPOSITORY, "main")?;
    forge.delay_next_status(Duration::from_millis(1500));
    let end = connected.deployed(&nonna, &connected.push("main", &commit));
    assert_eq!(end["result"], "unchanged", "it is what serves: {end}");
    let all = forge.statuses();
    let told: Vec<&Value> = all
        .iter()
        .filter(|told| told.path.contains(&commit))
        .map(|told| &told.body["state"])
        .collect();
    assert_eq!(told, ["INPROGRESS", "SUCCESSFUL"]);

    // The forge would see a token in a process's arguments or environment.
    let mut seen = std::process::Command::new("sleep")
        .arg("30")
        .env("X", TOKEN)
        .spawn()?;
    let found = forge.look_for_token();
    seen.kill()?;
    seen.wait()?;
    assert!(found.is_some());
    // What is secret is nowhere but where it is kept, sealed.
    assert_eq!(forge.leaked(), None);
    let audit = format!("{:?}", nonna.nonna(["git", "list", "-p", "github", "--json"])?);
    let log = nonna.log();
    for secret in secrets.iter().map(String::as_str).chain([TOKEN]) {
        assert!(secret.len() > 20, "there is one");
        assert!(!log.contains(secret), "the server's log holds a secret");
        assert!(!audit.contains(secret));
        for entry in walk(&nonna.data()) {
            let bytes = std::fs::read(&entry).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{} holds a secret", entry.display());
        }
    }
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

#[test]
fn nothing_is_learnt_without_the_secret_and_nothing_is_taken_twice() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let forge = Forge::start(None)?;
    let (_, commit) = shop(&nonna, &forge)?;
    let github = Connected::new(&nonna, &forge, Kind::Github, "shop", &[])?;

    // A wrong secret, none at all, and a webhook that is not there are answered
    // with the same words.
    let good = github.push("main", &commit);
    let mut bad = forge::push(Kind::Github, "another secret", REPOSITORY, "main", &commit, now());
    let wrong = bad.send(&nonna, &github.path)?;
    assert_eq!(wrong.status, 401, "{}", wrong.body);
    let mut answers = vec![wrong.body];
    answers.push(
        good.clone()
            .with("X-Hub-Signature-256", "")
            .send(&nonna, &github.path)?
            .body,
    );
    let mut changed = good.clone();
    changed.body = changed.body.replace("octo-dev", "somebody");
    answers.push(changed.send(&nonna, &github.path)?.body);
    let nowhere = "/v1/git/hooks/con-aaaaaaaaaaaaaaaa";
    answers.push(good.send(&nonna, nowhere)?.body);
    answers.push(good.send(&nonna, "/v1/git/hooks/..%2f..%2fetc")?.body);
    bad.headers.clear();
    answers.push(bad.send(&nonna, &github.path)?.body);
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(!answers[0].contains("shop"), "{answers:?}");
    assert_eq!(forge.fetches(), 0);
    assert!(github.deliveries(&nonna).is_empty(), "nothing is kept of them");

    // The right one is deployed, once.
    let end = github.deployed(&nonna, &good);
    assert_eq!(end["result"], "deployed", "{end}");
    let fetched = forge.fetches();
    let again = good.send(&nonna, &github.path)?;
    assert_eq!(again.status, 409, "{}", again.body);
    assert!(again.body.contains("not taken twice"), "{}", again.body);
    // Under another id it is the same message: the id is not signed.
    let renamed = good
        .clone()
        .with("X-GitHub-Delivery", "00000000-0000-0000-0000-000000000000");
    assert_eq!(renamed.send(&nonna, &github.path)?.status, 409);
    // One that happened before comes late: what serves is newer.
    let older = forge::push(
        Kind::Github,
        &github.secret,
        REPOSITORY,
        "main",
        &"2".repeat(40),
        now() - 3600,
    );
    let late = older.send(&nonna, &github.path)?;
    assert_eq!(late.status, 200, "{}", late.body);
    assert!(late.body.contains("A later push"), "{}", late.body);
    assert_eq!(forge.fetches(), fetched, "none of these was fetched for");

    // Sealed is what only the secret opens; a server that starts again knows
    // what it has seen.
    let mut nonna = nonna;
    nonna.stop_server()?;
    nonna.start_server()?;
    assert_eq!(good.send(&nonna, &github.path)?.status, 409);

    // What is too large, and what is no message.
    let mut large = good.clone();
    large.body = "x".repeat(6 * 1024 * 1024);
    assert_eq!(large.send(&nonna, &github.path)?.status, 413);
    let garbage = forge::sign(Kind::Github, &github.secret, "push", "not JSON".to_owned());
    let answer = garbage.send(&nonna, &github.path)?;
    assert_eq!(answer.status, 400, "{}", answer.body);

    // Guessing is slowed down, and others are not.
    let mut last = 0;
    for _ in 0..12 {
        last = bad.send(&nonna, &github.path)?.status;
    }
    assert_eq!(last, 429);
    let mut last = 0;
    for _ in 0..12 {
        last = bad.send(&nonna, nowhere)?.status;
    }
    assert_eq!(last, 429, "the same for one that is not there");
    let other = Connected::new(&nonna, &forge, Kind::Gitlab, "other", &[])?;
    let ignored = forge::push(Kind::Gitlab, &other.secret, REPOSITORY, "x", &commit, now());
    assert_eq!(ignored.send(&nonna, &other.path)?.status, 200);
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn what_is_no_push_of_a_followed_branch_is_ignored_with_words() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let forge = Forge::start(None)?;
    let (copy, commit) = shop(&nonna, &forge)?;
    let gitea = Connected::new(&nonna, &forge, Kind::Gitea, "shop", &[])?;
    let ignored = |message: forge::Message, words: &str| {
        let answer = message.send(&nonna, &gitea.path).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains(words), "wanted `{words}` in {}", answer.body);
    };
    ignored(
        gitea.push("feature/x", &commit),
        "No environment follows the branch feature/x",
    );
    ignored(gitea.push("main", &"0".repeat(40)), "was deleted");
    let tag = gitea
        .push("main", &commit)
        .body
        .replace("refs/heads/main", "refs/tags/v1");
    ignored(
        forge::sign(Kind::Gitea, &gitea.secret, "push", tag),
        "the tag v1 moved",
    );
    let issue = "{\"action\":\"opened\"}".to_owned();
    ignored(
        forge::sign(Kind::Gitea, &gitea.secret, "issues", issue),
        "`issues`",
    );
    let other = forge::push(Kind::Gitea, &gitea.secret, "acme/other", "main", &commit, now());
    ignored(other, "acme/other");
    assert_eq!(forge.fetches(), 0);
    assert_eq!(nonna.belongings()?, Vec::<String>::new());
    let words = nonna.nonna(["git", "deliveries", "-p", "shop"])?.ok()?.stdout;
    assert_eq!(words.matches("ignored").count(), 5, "{words}");

    // Another branch goes to another environment; the webhook stays the same.
    let second = Connected::new(
        &nonna,
        &forge,
        Kind::Gitea,
        "shop",
        &["-b", "feature/x", "-e", "staging"],
    )?;
    assert!(second.answer["secret"].is_null(), "it is shown once");
    assert_eq!(second.path, gitea.path);
    copy.commit(&[("Dockerfile", &dockerfile("staged"))])?;
    let staged = forge.receive(&copy, REPOSITORY, "feature/x")?;
    let end = gitea.deployed(&nonna, &gitea.push("feature/x", &staged));
    assert!(end["message"].as_str().unwrap().contains("shop/staging"), "{end}");
    assert_eq!(release(&nonna, "shop/staging", "web"), "v1");
    assert_eq!(release(&nonna, "shop/production", "web"), Value::Null);

    // Without a push: what is there now is deployed because a user says so.
    let by_hand = nonna
        .nonna(["git", "deploy", "acme/shop", "-b", "main", "-p", "shop"])?
        .ok()?;
    assert!(
        by_hand.stdout.contains("Deployed shop/production"),
        "{}",
        by_hand.stdout
    );
    assert_eq!(greeting(&nonna, "shop.localhost"), "one");

    // Disconnected, its webhook is one that is not there.
    let first = ["git", "disconnect", "acme/shop", "-b", "feature/x", "-p", "shop"];
    nonna.nonna(first)?.ok()?;
    ignored(gitea.push("feature/x", &commit), "No environment follows");
    nonna
        .nonna(["git", "disconnect", "acme/shop", "-p", "shop"])?
        .ok()?;
    assert_eq!(gitea.push("main", &commit).send(&nonna, &gitea.path)?.status, 401);
    assert_eq!(
        greeting(&nonna, "shop.localhost"),
        "one",
        "what serves goes on serving"
    );
    let forges = nonna.data().join("git/forges");
    assert_eq!(std::fs::read_dir(forges)?.count(), 0, "what was fetched is gone");
    Ok(())
}

#[test]
fn only_what_a_service_watches_builds_it_anew() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let forge = Forge::start(None)?;
    forge.create(REPOSITORY)?;
    let copy = WorkingCopy::init(&nonna, "shop")?;
    let manifest = "project = \"shop\"\n\
        [services.web]\nsource = \".\"\ndockerfile = \"web/Dockerfile\"\nwatch = [\"web\", \"shared/**/*.txt\"]\n\
        [services.api]\nsource = \".\"\ndockerfile = \"api/Dockerfile\"\nwatch = [\"api\", \"!api/docs\"]\n";
    copy.commit(&[
        ("nonna.toml", manifest),
        (
            "web/Dockerfile",
            "FROM nonna-test/app:v1\nCOPY . /src\nENV GREETING=web\n",
        ),
        (
            "api/Dockerfile",
            "FROM nonna-test/app:v1\nCOPY . /src\nENV GREETING=api\n",
        ),
        ("api/docs/a", "1"),
        ("shared/deep/a.txt", "1"),
        ("README.md", "1"),
    ])?;
    // The messages name README.md only, whatever changed: what was fetched
    // decides.
    let github = Connected::new(&nonna, &forge, Kind::Github, "shop", &[])?;
    let push = |files: &[(&str, &str)]| -> anyhow::Result<Value> {
        copy.commit(files)?;
        let commit = forge.receive(&copy, REPOSITORY, "main")?;
        Ok(github.deployed(&nonna, &github.push("main", &commit)))
    };
    let releases = || {
        let of = |service| {
            release(&nonna, "shop/production", service)
                .as_str()
                .unwrap_or("-")
                .to_owned()
        };
        (of("web"), of("api"))
    };
    let is = |web: &str, api: &str| assert_eq!(releases(), (web.to_owned(), api.to_owned()));
    push(&[])?;
    is("v1", "v1");
    let nothing = push(&[("README.md", "2"), ("api/docs/a", "2"), ("shared/b.bin", "2")])?;
    assert_eq!(nothing["result"], "unchanged", "{nothing}");
    is("v1", "v1");
    push(&[("web/a", "2")])?;
    is("v2", "v1");
    push(&[("api/a", "2"), ("README.md", "3")])?;
    is("v2", "v2");
    push(&[("shared/deep/a.txt", "2")])?;
    is("v3", "v2");

    // Connected for one service, the other stays what it is.
    Connected::new(&nonna, &forge, Kind::Github, "shop", &["-s", "api"])?;
    push(&[("api/a", "3"), ("web/a", "3")])?;
    is("v3", "v3");
    Ok(())
}

#[test]
fn a_server_killed_between_accepting_and_deploying_goes_on_where_it_was() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    let forge = Forge::start(Some(TOKEN))?;
    let (copy, commit) = shop(&nonna, &forge)?;
    // The engine keeps what steps led to: each run has steps of its own.
    let slow = format!(
        "FROM nonna-test/app:v1\nRUN echo {} && sleep 4\nENV GREETING=two\n",
        nonna.id()
    );
    copy.commit(&[("Dockerfile", &slow)])?;
    let second = copy.head()?;
    let folder = copy.folder().to_owned();
    drop(copy);
    let gitlab = Connected::new(&nonna, &forge, Kind::Gitlab, "shop", &[])?;

    // Killed before anything was fetched.
    forge.hold(true);
    let answer = gitlab.push("main", &commit).send(&nonna, &gitlab.path)?;
    assert_eq!(answer.status, 202, "{}", answer.body);
    wait_for("a fetch", || forge.fetches() > 0);
    nonna.kill_server()?;
    forge.hold(false);
    nonna.start_server()?;
    forge.wait_for_status(&commit, "success")?;
    assert_eq!(greeting(&nonna, "shop.localhost"), "one");

    // Killed in the middle of the build.
    let copy = WorkingCopy::at(&nonna, folder);
    assert_eq!(forge.receive(&copy, REPOSITORY, "main")?, second);
    drop(copy);
    let answer = gitlab.push("main", &second).send(&nonna, &gitlab.path)?;
    assert_eq!(answer.status, 202, "{}", answer.body);
    wait_for("a deployment", || {
        gitlab
            .deliveries(&nonna)
            .first()
            .is_some_and(|d| !d["deployment"].is_null())
    });
    let begun = gitlab.deliveries(&nonna)[0]["deployment"].clone();
    nonna.kill_server()?;
    nonna.start_server()?;
    let told = forge.wait_for_status(&second, "success");
    if told.is_err() {
        eprintln!("{:?}", gitlab.deliveries(&nonna));
    }
    told?;
    assert_eq!(greeting(&nonna, "shop.localhost"), "two");
    let last = gitlab.deliveries(&nonna)[0].clone();
    assert_eq!(last["deployment"], begun, "it is the same deployment");
    assert_eq!(release(&nonna, "shop/production", "web"), "v2");

    // Of pushes that come while one is deployed, the last is, and once.
    forge.hold(true);
    let before = forge.fetches();
    let mut numbers = Vec::new();
    let copy = WorkingCopy::at(&nonna, nonna.folder().join("shop"));
    for greeting in ["three", "four", "five"] {
        copy.commit(&[("Dockerfile", &dockerfile(greeting))])?;
        let commit = forge.receive(&copy, REPOSITORY, "main")?;
        let answer = gitlab.push("main", &commit).send(&nonna, &gitlab.path)?;
        let answer: Value = serde_json::from_str(&answer.body)?;
        numbers.push(answer["deliveries"][0].clone());
        wait_for("the first one's turn", || forge.fetches() > before);
    }
    forge.hold(false);
    let ends: Vec<Value> = numbers
        .iter()
        .map(|number| gitlab.end_of(&nonna, number))
        .collect();
    assert_eq!(ends[1]["result"], "superseded", "{ends:?}");
    assert_eq!(greeting(&nonna, "shop.localhost"), "five");
    let deployed = ends.iter().filter(|end| end["result"] == "deployed").count();
    assert_eq!(
        deployed, 1,
        "what was fetched first was the last already: {ends:?}"
    );
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn forges_reach_webhooks_by_a_host_of_their_own_and_nothing_else_there() -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        arguments: vec!["--webhooks".to_owned(), "hooks.localhost".to_owned()],
        ..Options::default()
    })?;
    let forge = Forge::start(None)?;
    let (_, commit) = shop(&nonna, &forge)?;
    let connect = |more: &[&str]| {
        let address = forge.url(REPOSITORY);
        let arguments = [&["git", "connect", &address, "-p", "shop"], more].concat();
        nonna.nonna(arguments)
    };
    // The host does not say which kind of forge it is.
    let unknown = connect(&[])?;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("--forge"), "{}", unknown.stderr);
    let printed = connect(&["--forge", "forgejo"])?.ok()?.stdout;
    let value = |name: &str| -> String {
        let line = printed.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in:\n{printed}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert!(
        printed.contains("main is deployed to shop/production"),
        "{printed}"
    );
    let (url, secret) = (value("Target URL"), value("Secret "));
    let path = url
        .strip_prefix("http://hooks.localhost")
        .and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)))
        .unwrap_or_else(|| panic!("{url}"));
    let message = forge::push(Kind::Gitea, &secret, REPOSITORY, "main", &commit, now());
    let answer = message.send_to(nonna.http(), "hooks.localhost", path)?;
    assert_eq!(answer.status, 202, "{}", answer.body);
    wait_for("the app", || greeting(&nonna, "shop.localhost") == "one");

    // Of the API nothing else is there, whatever the path tries.
    for other in [
        "/v1/version",
        "/healthz",
        "/v1/git/hooks/../../version",
        "/v1/git/hooks/%2e%2e/%2e%2e/version",
        "/v1/git/hookshealthz",
    ] {
        let answer = http::get(nonna.http(), "hooks.localhost", other)?;
        assert!(
            matches!(answer.status, 400 | 404 | 405),
            "{other}: {}",
            answer.status
        );
        assert!(!answer.body.contains("\"version\""), "{other}: {}", answer.body);
    }
    // Wrong signatures are counted by who sends, as the edge names them.
    let bad = forge::push(Kind::Gitea, "wrong", REPOSITORY, "main", &commit, now());
    let mut last = 0;
    for _ in 0..12 {
        last = bad.send_to(nonna.http(), "hooks.localhost", path)?.status;
    }
    assert_eq!(last, 429);
    Ok(())
}

#[test]
fn a_repository_that_is_too_large_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let nonna = Installation::with(Options {
        variables: vec![("NONNA_BUILD_CONTEXT_LIMIT".to_owned(), "8MB".to_owned())],
        ..Options::default()
    })?;
    let forge = Forge::start(None)?;
    forge.create(REPOSITORY)?;
    let copy = WorkingCopy::init(&nonna, "shop")?;
    let noise = std::process::Command::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=40", "status=none"])
        .arg(format!("of={}", copy.folder().join("noise.bin").display()))
        .status()?;
    assert!(noise.success());
    copy.commit(&[
        ("nonna.toml", &manifest("shop")),
        ("Dockerfile", &dockerfile("one")),
    ])?;
    let large = forge.receive(&copy, REPOSITORY, "main")?;
    let gitea = Connected::new(&nonna, &forge, Kind::Gitea, "shop", &[])?;
    let end = gitea.deployed(&nonna, &gitea.push("main", &large));
    assert_eq!(end["result"], "failed", "{end}");
    assert!(
        end["message"].as_str().unwrap().contains("[limit_exceeded]"),
        "{end}"
    );
    let left: u64 = walk(&nonna.data().join("git"))
        .iter()
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum();
    assert!(left < 1_000_000, "{left} bytes are left of what was refused");

    // Without it the next push is deployed.
    std::fs::remove_file(copy.folder().join("noise.bin"))?;
    copy.commit(&[])?;
    let small = forge.receive(&copy, REPOSITORY, "main")?;
    let end = gitea.deployed(&nonna, &gitea.push("main", &small));
    assert_eq!(end["result"], "deployed", "{end}");
    Ok(())
}

#[test]
fn what_cannot_be_connected_is_refused_with_words() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let file = nonna.folder().join("token");
    std::fs::write(&file, format!("{TOKEN}\n"))?;
    let refused = |arguments: &[&str], words: &str| {
        let mut command = nonna.command(["git", "connect", "-p", "shop"]).unwrap();
        let input = std::fs::File::open(&file).unwrap();
        let ran = Ran::from(command.args(arguments).stdin(input).output().unwrap());
        assert_ne!(ran.code, Some(0), "{}", ran.stdout);
        assert!(ran.stderr.contains(words), "wanted `{words}` in:\n{}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    };
    refused(
        &["http://forge.example.org/a/b", "--forge", "gitea"],
        "plain http",
    );
    refused(&["https://x:hunter2@github.com/a/b"], "a user or a password");
    refused(&["file:///etc"], "only https, http and ssh");
    refused(&["ext::sh -c x"], "spaces");
    refused(
        &["git@github.com:a/b", "--branch=--upload-pack=x"],
        "No branch can have that name",
    );
    refused(&["git@github.com:a/b", "-e", "Prod"], "Prod");
    let clear = [
        "https://github.com/a/b",
        "--token",
        "--api",
        "http://api.example.org",
    ];
    refused(&clear, "in the clear");
    let listed = nonna.nonna(["git", "list", "-p", "shop", "--json"])?;
    assert_eq!(listed.ok()?.json()?, serde_json::json!([]));
    // Of another project's connection nothing is seen or changed.
    let made = nonna.nonna(["git", "connect", "git@github.com:a/b", "-p", "shop", "--json"])?;
    let made = made.ok()?.json()?;
    let id = made["connection"]["id"].as_str().unwrap();
    for verb in ["disconnect", "deploy"] {
        let path = format!("/v1/projects/other/git/connections/{id}/{verb}");
        assert_eq!(nonna.ask("POST", &path, "{}")?.status, 404);
    }
    let path = format!("/v1/projects/other/git/connections/{id}/deliveries");
    assert_eq!(nonna.ask("GET", &path, "")?.status, 404);
    Ok(())
}

#[test]
fn over_ssh_the_deploy_key_opens_and_a_changed_host_key_is_refused() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let forge = Forge::start(None)?;
    let mut sshd = Sshd::start()?;
    let (copy, commit) = shop(&nonna, &forge)?;
    let url = format!(
        "ssh://root@127.0.0.1:{}{}",
        sshd.port(),
        forge.path(REPOSITORY).display()
    );
    let gitea = Connected::at(&nonna, &url, None, Kind::Gitea, "shop", &[])?;
    let key = gitea.answer["connection"]["public_key"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(key.starts_with("ssh-ed25519 "), "{key}");

    // The forge does not know the key yet.
    let end = gitea.deployed(&nonna, &gitea.push("main", &commit));
    assert_eq!(end["result"], "failed", "{end}");
    assert!(end["message"].as_str().unwrap().contains("[forbidden]"), "{end}");

    sshd.let_in(&key)?;
    let by_hand = nonna.nonna(["git", "deploy", "-p", "shop"])?.ok()?;
    assert!(
        by_hand.stdout.contains("is known from now on by the key ssh-"),
        "{}",
        by_hand.stdout
    );
    assert_eq!(greeting(&nonna, "shop.localhost"), "one");
    let listed = nonna
        .nonna(["git", "list", "-p", "shop", "--json"])?
        .ok()?
        .json()?;
    let known = listed[0]["host_keys"].as_array().unwrap();
    assert!(
        known.iter().any(|k| k.as_str().unwrap().contains("SHA256:")),
        "{listed}"
    );

    // Somebody else answers there.
    copy.commit(&[("Dockerfile", &dockerfile("two"))])?;
    let next = forge.receive(&copy, REPOSITORY, "main")?;
    sshd.new_host_key()?;
    let end = gitea.deployed(&nonna, &gitea.push("main", &next));
    assert_eq!(end["result"], "failed", "{end}");
    assert!(
        end["message"].as_str().unwrap().contains("another host key"),
        "{end}"
    );
    assert_eq!(greeting(&nonna, "shop.localhost"), "one");
    assert!(!nonna.log().contains("PRIVATE KEY"));
    for entry in walk(&nonna.data()) {
        let bytes = std::fs::read(&entry).unwrap_or_default();
        assert!(
            !bytes.windows(11).any(|w| w == b"PRIVATE KEY"),
            "{} holds the private key",
            entry.display()
        );
    }
    Ok(())
}
