//! The logs of services: kept once each over every end of the server, found
//! again, followed without a gap, rid of secrets, shown to nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nonna_e2e::{Installation, Ran, engine};
use serde_json::Value;

/// Prints numbered lines for ever, about two hundred a second.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo \"count $i end\"; usleep 4000; done";

fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A worker that runs this script.
fn worker(script: &str, extra: &str) -> String {
    format!(
        "project = \"shop\"\n[services.worker]\nimage = \"nonna-test/app:v1\"\nport = false\n\
         command = [\"sh\", \"-c\", '''{script}''']\nstop_timeout = \"1s\"\n{extra}\n"
    )
}

fn deploy(nonna: &Installation, manifest: &str) -> anyhow::Result<Ran> {
    nonna.project("shop", &[("nonna.toml", manifest)])?;
    nonna.nonna_in("shop", &["deploy"])?.ok()
}

fn logs(nonna: &Installation, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut all = vec!["logs", "--json"];
    all.extend_from_slice(arguments);
    let ran = nonna.nonna_in("shop", &all)?.ok()?;
    ran.stdout
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

fn texts(lines: &[Value]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line["line"].as_str().unwrap().to_owned())
        .collect()
}

/// The numbers of `count N end` among these lines.
fn counts(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| line.strip_prefix("count ")?.strip_suffix(" end")?.parse().ok();
    lines.iter().filter_map(number).collect()
}

fn assert_without_gap(numbers: &[u64]) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "a gap, a repetition or another order");
    }
}

/// `nonna logs --follow` in the background, and what it prints.
struct Follower {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Follower {
    fn start(nonna: &Installation, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = nonna
            .command(["logs", "--follow", "--json"].iter().chain(arguments))?
            .current_dir(nonna.folder().join("shop"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let json: Value = serde_json::from_str(&line).unwrap_or_default();
                if send
                    .send(json["line"].as_str().unwrap_or_default().to_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// What comes within this time.
    fn take(&self, within: Duration) -> Vec<String> {
        let deadline = Instant::now() + within;
        let mut all = Vec::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            all.push(line);
        }
        all
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_line_is_there_once_though_the_server_is_killed_and_restarted() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    deploy(&nonna, &worker(COUNT, ""))?;
    let follower = Follower::start(&nonna, &["worker", "-n", "1000000"])?;
    let mut followed = Vec::new();
    for round in 0..4 {
        followed.extend(follower.take(Duration::from_millis(1500)));
        if round % 2 == 0 {
            nonna.kill_server()?;
        } else {
            nonna.stop_server()?;
        }
        // The app goes on meanwhile.
        std::thread::sleep(Duration::from_secs(1));
        nonna.start_server()?;
    }
    // What was printed while nobody listened is there soon.
    let before = counts(&texts(&logs(&nonna, &["worker", "-n", "1"])?))
        .pop()
        .unwrap_or(0);
    eventually("lines come again", Duration::from_secs(20), || {
        let last = logs(&nonna, &["worker", "-n", "1"]).unwrap_or_default();
        counts(&texts(&last)).pop().is_some_and(|now| now > before + 400)
    });
    let all = logs(&nonna, &["worker", "--since", "1h"])?;
    let numbers = counts(&texts(&all));
    assert_eq!(numbers.first(), Some(&1));
    assert_without_gap(&numbers);
    assert!(numbers.len() > 1000, "{}", numbers.len());
    let line = &all[0];
    assert_eq!(
        (
            line["service"].as_str(),
            line["release"].as_str(),
            line["replica"].as_u64(),
            line["stream"].as_str()
        ),
        (Some("worker"), Some("v1"), Some(0), Some("stdout"))
    );
    // Whoever followed all the time saw each once as well.
    followed.extend(follower.take(Duration::from_secs(2)));
    let numbers = counts(&followed);
    assert_eq!(numbers.first(), Some(&1));
    assert_without_gap(&numbers);
    assert!(numbers.len() > 1000, "{}", numbers.len());
    assert!(!nonna.log().contains("panicked"));
    Ok(())
}

#[test]
fn lines_are_found_by_text_level_field_replica_and_time_and_exported() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let script = "echo 'level=info msg=\"order 17 stored\" status=200'; \
                  echo '{\"level\":\"error\",\"msg\":\"payment failed\",\"status\":500,\"trace_id\":\"abc123\"}'; \
                  echo 'plain words /a/path' >&2; printf 'evil \\033[2J\\033]0;x\\007 end\\n'; \
                  echo 'WARN slow query'; exec sleep 100000";
    deploy(&nonna, &worker(script, ""))?;
    eventually("all lines are there", Duration::from_secs(20), || {
        logs(&nonna, &["worker"]).is_ok_and(|lines| lines.len() >= 5)
    });
    let found = |arguments: &[&str]| -> Vec<String> { texts(&logs(&nonna, arguments).unwrap()) };
    let one = |arguments: &[&str], text: &str| {
        let lines = found(arguments);
        assert!(
            lines.len() == 1 && lines[0].contains(text),
            "{arguments:?}: {lines:?}"
        );
    };
    one(&["--grep", "17 sto"], "order 17");
    one(&["--regex", "pay[a-z]+ fai"], "payment");
    one(&["--regex", "/a/p.th$"], "plain");
    one(&["--level", "error"], "payment");
    assert_eq!(found(&["--level", "warn"]).len(), 2);
    one(&["--field", "status=500"], "payment");
    one(&["--field", "trace_id"], "payment");
    one(&["--stream", "stderr"], "plain words");
    one(&["--query", "(order OR payment) -status=500"], "order 17");
    assert_eq!(found(&["--replica", "v1.0"]).len(), 5);
    assert_eq!(found(&["--replica", "v1"]).len(), 5);
    assert_eq!(found(&["--replica", "v2"]).len(), 0);
    assert_eq!(found(&["--service", "worker", "-g", "order"]).len(), 1);
    assert_eq!(found(&["--until", "1h"]).len(), 0);
    assert_eq!(found(&["--since", "1h"]).len(), 5);
    let oldest = found(&["worker"]);
    let mut newest = found(&["worker", "--newest"]);
    newest.reverse();
    assert_eq!(oldest, newest);
    assert_eq!(found(&["worker", "-n", "2"]), oldest[3..]);
    let around = logs(&nonna, &["-g", "evil", "-C", "1"])?;
    assert!(
        around.len() >= 2 && around.iter().any(|line| line["context"] == true),
        "{around:?}"
    );

    // A terminal is shown nothing that steers it.
    let shown = nonna.nonna_in("shop", &["logs", "worker"])?.ok()?.stdout;
    assert!(
        shown.contains("evil") && !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
        "{shown:?}"
    );
    let wrong = nonna
        .nonna_in("shop", &["logs", "--query", "a OR"])?
        .failed_with("invalid_input")?;
    assert!(wrong.stderr.contains("character 5"), "{wrong:?}");

    // What Nonna did is there too, where it is asked for.
    let own = found(&["--stream", "nonna", "--since", "1h"]);
    assert!(
        own.iter().any(|line| line.contains("deployment succeeded")),
        "{own:?}"
    );

    let exported = nonna.ask(
        "GET",
        "/v1/projects/shop/environments/production/logs/export?stream=stdout,stderr",
        "",
    )?;
    let lines: Vec<Value> = exported
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5, "{}", exported.body);
    assert_eq!(lines[0]["service"], "shop/production/worker");
    // Each stream keeps its order; what comes by two at once has none.
    let stdout: Vec<&Value> = lines.iter().filter(|line| line["stream"] == "stdout").collect();
    assert_eq!(stdout[1]["level"], "error");
    assert!(
        lines
            .iter()
            .any(|line| line["line"] == "evil \u{1b}[2J\u{1b}]0;x\u{7} end")
    );
    Ok(())
}

#[test]
fn a_follower_sees_what_was_and_what_comes_once_each_and_filtered() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    deploy(&nonna, &worker(COUNT, ""))?;
    std::thread::sleep(Duration::from_secs(2));
    let all = Follower::start(&nonna, &["worker", "-n", "1000000"])?;
    let some = Follower::start(&nonna, &["worker", "--regex", "count [0-9]*7 end"])?;
    let (all, some) = (
        all.take(Duration::from_secs(4)),
        some.take(Duration::from_millis(500)),
    );
    let numbers = counts(&all);
    assert_eq!(numbers.first(), Some(&1));
    assert_without_gap(&numbers);
    assert!(numbers.len() > 400, "{}", numbers.len());
    let some = counts(&some);
    assert!(
        some.len() > 40 && some.iter().all(|number| number % 10 == 7),
        "{some:?}"
    );
    assert!(some.windows(2).all(|pair| pair[0] + 10 == pair[1]), "{some:?}");
    Ok(())
}

/// Sets the secret `WORD`.
fn set_word(nonna: &Installation, value: &str) -> anyhow::Result<()> {
    let mut child = nonna
        .command(["secret", "set", "WORD"])?
        .current_dir(nonna.folder().join("shop"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    child.stdin.take().unwrap().write_all(value.as_bytes())?;
    anyhow::ensure!(child.wait()?.success(), "the secret was not set");
    Ok(())
}

#[test]
fn a_secret_is_taken_out_of_lines_and_stays_out_when_it_changes() -> anyhow::Result<()> {
    let mut nonna = Installation::start()?;
    let script = "while :; do echo \"the word is $WORD!\"; sleep 0.2; done";
    let secret = "zebra-crossing-9";
    nonna.project("shop", &[("nonna.toml", &worker(script, ""))])?;
    set_word(&nonna, secret)?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let shown = |nonna: &Installation| texts(&logs(nonna, &["worker", "-n", "3"]).unwrap_or_default());
    let redacted = |nonna: &Installation| {
        let lines = shown(nonna);
        !lines.is_empty() && lines.iter().all(|line| line == "the word is [redacted]!")
    };
    eventually("lines come", Duration::from_secs(20), || redacted(&nonna));
    // The server that comes next knows it too.
    nonna.kill_server()?;
    nonna.start_server()?;
    std::thread::sleep(Duration::from_secs(2));
    assert!(redacted(&nonna), "{:?}", shown(&nonna));
    set_word(&nonna, "giraffe-house-7")?;
    eventually("the new release prints", Duration::from_secs(20), || {
        logs(&nonna, &["worker", "-n", "1"])
            .is_ok_and(|lines| lines.iter().any(|line| line["release"] == "v2"))
    });
    let all = texts(&logs(&nonna, &["--stream", "all", "--since", "1h"])?);
    assert!(all.len() > 5);
    for line in &all {
        assert!(!line.contains(secret) && !line.contains("giraffe"), "{line}");
    }
    // Nor does the disk have them.
    for value in [secret, "giraffe-house-7"] {
        let found = std::process::Command::new("grep")
            .args(["-rla", value])
            .arg(nonna.data().join("logs"))
            .output()?;
        assert!(
            found.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&found.stdout)
        );
    }
    Ok(())
}

#[test]
fn nobody_without_a_token_and_no_other_environment_reads_them_and_what_is_destroyed_is_forgotten()
-> anyhow::Result<()> {
    let nonna = Installation::start()?;
    deploy(&nonna, &worker("echo hello from shop; exec sleep 100000", ""))?;
    eventually("the line is there", Duration::from_secs(20), || {
        logs(&nonna, &["worker"]).is_ok_and(|lines| lines.len() == 1)
    });
    let at = "/v1/projects/shop/environments/production";
    for path in ["/logs", "/logs/export", "/services/worker/logs"] {
        let answer = nonna.ask_as(None, "GET", &format!("{at}{path}"), "")?;
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.body.contains("hello"), "{path}");
    }
    let staging = || -> anyhow::Result<Ran> {
        let of = ["logs", "--json", "--environment", "staging"];
        let all = ["--stream", "all", "--since", "1h"];
        nonna.nonna_in("shop", &[&of[..], &all[..]].concat())?.ok()
    };
    nonna
        .nonna_in("shop", &["deploy", "--environment", "staging"])?
        .ok()?;
    let other = staging()?;
    // Its own lines, none of the other's.
    assert_eq!(
        other.stdout.matches("hello from shop").count(),
        1,
        "{}",
        other.stdout
    );
    nonna
        .nonna_in("shop", &["destroy", "--environment", "staging", "--yes"])?
        .ok()?;
    nonna
        .nonna_in("shop", &["deploy", "--environment", "staging"])?
        .ok()?;
    let again = staging()?;
    assert!(!again.stdout.contains("\"release\":\"v2\""), "{}", again.stdout);
    assert!(
        again.stdout.matches("hello from shop").count() <= 1,
        "{}",
        again.stdout
    );
    assert_eq!(texts(&logs(&nonna, &["worker"])?), ["hello from shop"]);
    assert!(!engine::containers(nonna.id())?.is_empty());
    Ok(())
}

/// The value of a `GET` of Loki's API.
fn loki(nonna: &Installation, path: &str) -> anyhow::Result<Value> {
    let answer = nonna.ask("GET", &format!("/loki/api/v1/{path}"), "")?;
    anyhow::ensure!(answer.status == 200, "{path}: {answer:?}");
    Ok(serde_json::from_str(&answer.body)?)
}

/// Percent-encodes a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn loki_clients_read_lines_counts_and_labels() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let script = "for i in 1 2 3; do echo \"level=info n=$i stored\"; done; \
                  echo 'level=error n=4 failed status=500' >&2; exec sleep 100000";
    deploy(&nonna, &worker(script, ""))?;
    eventually("all lines are there", Duration::from_secs(20), || {
        logs(&nonna, &["worker"]).is_ok_and(|lines| lines.len() == 4)
    });
    let app = "{project=\"shop\", environment=\"production\", service=\"worker\", stream=~\"std.*\"}";
    let asked = |more: &str| format!("query_range?query={}", encoded(&format!("{app}{more}")));

    // As https://grafana.com/docs/loki/latest/reference/loki-http-api/ has it.
    let all = loki(&nonna, &asked(""))?;
    assert_eq!(all["status"], "success");
    assert_eq!(all["data"]["resultType"], "streams");
    assert!(all["data"]["stats"].is_object());
    let streams = all["data"]["result"].as_array().unwrap();
    assert_eq!(streams.len(), 2, "{all}");
    let info = streams
        .iter()
        .find(|stream| stream["stream"]["level"] == "info")
        .unwrap();
    assert_eq!(info["stream"]["service_name"], "shop/production/worker");
    assert_eq!(info["stream"]["replica"], "v1.0");
    assert_eq!(info["stream"]["stream"], "stdout");
    let values = info["values"].as_array().unwrap();
    assert_eq!(values.len(), 3);
    // Newest first, nanoseconds as text.
    assert_eq!(values[0][1], "level=info n=3 stored");
    let times: Vec<i64> = values
        .iter()
        .map(|value| value[0].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b) && times[0] > 1_700_000_000_000_000_000);
    let forward = loki(
        &nonna,
        &format!("{}&direction=forward&limit=1", asked("|= \"stored\"")),
    )?;
    assert_eq!(
        forward["data"]["result"][0]["values"][0][1],
        "level=info n=1 stored"
    );
    let failed = loki(&nonna, &asked(" | logfmt | status >= 500"))?;
    assert_eq!(
        failed["data"]["result"][0]["values"][0][1],
        "level=error n=4 failed status=500"
    );
    let window = format!("{}&start={}&end={}", asked(""), times[2], times[0]);
    let window = loki(&nonna, &window)?;
    let inside: usize = window["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["values"].as_array().unwrap().len())
        .sum();
    assert!((1..4).contains(&inside), "the end is not of it: {window}");

    let counted = loki(
        &nonna,
        &format!(
            "query?query={}",
            encoded(&format!("sum by (level) (count_over_time({app}[10m]))"))
        ),
    )?;
    assert_eq!(counted["data"]["resultType"], "vector");
    let of = |level: &str| {
        let found = counted["data"]["result"].as_array().unwrap().iter();
        found
            .filter(|one| one["metric"]["level"] == level)
            .map(|one| one["value"][1].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("info"), of("error")),
        (vec!["3".to_owned()], vec!["1".to_owned()]),
        "{counted}"
    );
    let matrix = loki(
        &nonna,
        &format!(
            "query_range?step=60&query={}",
            encoded(&format!("sum(count_over_time({app}[1m]))"))
        ),
    )?;
    assert_eq!(matrix["data"]["resultType"], "matrix");
    assert_eq!(matrix["data"]["result"][0]["values"][0][1], "4", "{matrix}");
    let health = loki(&nonna, "query?query=vector(1)%2Bvector(1)")?;
    assert_eq!(health["data"]["result"][0]["value"][1], "2");

    let labels = loki(&nonna, "labels")?;
    for name in [
        "environment",
        "level",
        "project",
        "release",
        "replica",
        "service",
        "service_name",
        "stream",
    ] {
        assert!(
            labels["data"].as_array().unwrap().iter().any(|one| one == name),
            "{name}: {labels}"
        );
    }
    assert_eq!(
        loki(&nonna, "label/project/values")?["data"],
        serde_json::json!(["shop"])
    );
    let levels = loki(&nonna, "label/level/values")?;
    assert!(
        levels["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one == "error"),
        "{levels}"
    );
    let series = loki(
        &nonna,
        &format!("series?match[]={}", encoded("{stream=\"stderr\"}")),
    )?;
    assert_eq!(series["data"].as_array().unwrap().len(), 1, "{series}");
    assert_eq!(series["data"][0]["service"], "worker");
    let stats = loki(&nonna, &format!("index/stats?query={}", encoded(app)))?;
    assert!(stats["streams"].as_u64().unwrap() >= 2, "{stats}");

    // Mistakes are the caller's, strangers are not let in, Grafana's way of
    // logging in is.
    let wrong = nonna.ask("GET", "/loki/api/v1/query_range?query=%7Bx", "")?;
    assert!(
        wrong.status == 400 && wrong.body.contains("parse error at"),
        "{wrong:?}"
    );
    let much = nonna.ask("GET", &format!("/loki/api/v1/{}&limit=100000", asked("")), "")?;
    assert!(
        much.status == 400 && much.body.contains("max entries limit"),
        "{much:?}"
    );
    for path in [
        "labels",
        "series",
        "query?query=%7B%7D",
        "query_range?query=%7B%7D",
        "tail?query=%7B%7D",
    ] {
        let path = format!("/loki/api/v1/{path}");
        let answer = nonna.ask_as(None, "GET", &path, "")?;
        let refused = answer.status == 401 || path.contains("tail") && answer.status == 400;
        assert!(refused && !answer.body.contains("stored"), "{path}: {answer:?}");
    }
    let basic = data_encoding::BASE64.encode(format!("grafana:{}", nonna.token()?).as_bytes());
    let answer = nonna.ask_as(Some(&format!("Basic {basic}")), "GET", "/loki/api/v1/labels", "")?;
    assert_eq!(answer.status, 200);
    Ok(())
}

/// The server's own memory in kilobytes: what it alone has, without its
/// program's pages.
fn anonymous_kb(nonna: &Installation) -> anyhow::Result<u64> {
    let pid = nonna.pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    Ok(line.unwrap().trim().trim_end_matches("kB").trim().parse()?)
}

#[test]
fn the_logs_of_fifty_services_cost_little_memory() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let before = anonymous_kb(&nonna)?;
    let mut manifest = "project = \"shop\"\n".to_owned();
    for number in 0..50 {
        manifest.push_str(&format!(
            "[services.worker{number}]\nimage = \"nonna-test/app:v1\"\nport = false\nstop_timeout = \"1s\"\n\
             command = [\"sh\", \"-c\", \"while :; do echo tick {number}; sleep 1; done\"]\n"
        ));
    }
    deploy(&nonna, &manifest)?;
    eventually("each prints", Duration::from_secs(60), || {
        let lines = logs(&nonna, &["-g", "tick", "--since", "10s"]).unwrap_or_default();
        let services: std::collections::BTreeSet<&str> =
            lines.iter().filter_map(|line| line["service"].as_str()).collect();
        services.len() == 50
    });
    std::thread::sleep(Duration::from_secs(10));
    let after = anonymous_kb(&nonna)?;
    eprintln!("the server's memory: {before} kB before, {after} kB with fifty services");
    assert!(
        after.saturating_sub(before) < 24 * 1024,
        "{before} kB before, {after} kB after"
    );
    Ok(())
}
