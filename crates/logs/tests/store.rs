//! What was acknowledged is there, whatever happens; what is asked is answered
//! as a plain scan would.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nonna_logs::{
    Batch, Entry, Expr, Level, LogProxy, News, Options, Order, Query, RateLimit, Record, Scope, Source,
    Stream, query,
};
use proptest::prelude::*;

fn web() -> Arc<Source> {
    Source::new("shop/production/web", "web.1", Stream::Stdout)
}

fn push(proxy: &LogProxy, source: &Arc<Source>, lines: &[String]) {
    let batch = Batch::of_lines(source, lines.iter().map(String::as_bytes));
    proxy.intake().try_push(batch).unwrap().wait_blocking().unwrap();
}

fn ask(proxy: &LogProxy, query: &Query) -> Vec<Entry> {
    let mut found = Vec::new();
    proxy
        .search_blocking(query, &AtomicBool::new(false), |entry| {
            found.push(entry);
            true
        })
        .unwrap();
    found
}

fn all(proxy: &LogProxy) -> Vec<Entry> {
    let mut query = Query::new(Scope::Everything, Expr::All);
    query.order = Order::OldestFirst;
    ask(proxy, &query)
}

fn lines(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|e| String::from_utf8_lossy(&e.line).into_owned())
        .collect()
}

fn corpus(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| match n % 4 {
            0 => format!(
                "{{\"ts\":\"2026-11-24T08:{:02}:{:02}.{:03}Z\",\"level\":\"info\",\"msg\":\"order {n} stored\",\"id\":\"{:016x}\"}}",
                n / 60 % 60, n % 60, n % 1000, n * 7_919
            ),
            1 => format!(
                "10.0.{}.{} - - [24/Nov/2026:08:{:02}:{:02} +0000] \"GET /p/{n} HTTP/1.1\" 200 {}",
                n / 256 % 256, n % 256, n / 60 % 60, n % 60, n * 31
            ),
            2 => format!("I1124 08:{:02}:{:02}.{:06} 1 main.go:{}] tick {n}", n / 60 % 60, n % 60, n, n % 500),
            _ if n % 8 == 3 => format!("plain {n} \u{1}mark é {}", "y".repeat(n % 90)),
            _ => format!("raw {n} \u{2}mark {:032x} {}", n * 77_777_777, "y".repeat(n % 90)),
        })
        .collect()
}

#[test]
fn lines_come_back_byte_by_byte_from_journal_blocks_and_settled_blocks() {
    let temp = tempfile::tempdir().unwrap();
    let given = corpus(40_000);
    let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
    for part in given.chunks(997) {
        push(&proxy, &web(), part);
    }
    assert_eq!(lines(&all(&proxy)), given);
    proxy.settle_blocking();
    let found = all(&proxy);
    assert_eq!(lines(&found), given);
    assert!(found.iter().enumerate().all(|(n, e)| e.number == n as u64));
    drop(proxy);
    let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
    assert_eq!(lines(&all(&proxy)), given);
    let mut out = Vec::new();
    proxy
        .export_blocking(&Query::new(Scope::Everything, Expr::All), &mut out)
        .unwrap();
    for (text, line) in String::from_utf8(out).unwrap().lines().zip(&given) {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(json["line"], line.as_str());
    }
}

#[test]
fn a_query_answers_as_a_plain_scan_does() {
    let temp = tempfile::tempdir().unwrap();
    let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
    let (front, api) = (web(), Source::new("shop/production/api", "api.1", Stream::Stderr));
    let given = corpus(30_000);
    for (n, part) in given.chunks(500).enumerate() {
        push(&proxy, if n % 2 == 0 { &front } else { &api }, part);
    }
    let everything = all(&proxy);
    assert_eq!(everything.len(), given.len());
    for settled in [false, true] {
        if settled {
            proxy.settle_blocking();
        }
        for text in [
            "stored",
            "\"order 400 stored\"",
            "*rder*",
            "*08:1*",
            "\"2026-11-24T08:00\"",
            "*Nov/2026*",
            "*Z\"*",
            "/tick [0-9]+7$/",
            "level:info",
            "level:>=error",
            "service:api tick",
            "NOT plain -stored",
            "id=\"0000000000607cf8\"",
            "plain OR tick",
            "*yyyyyyyyyy*",
            "nothing",
            "mark",
            "*T08*",
            "*:*",
            "200 NOT service:web",
            "\"I1124\"",
            "*\u{1}m*",
            "404",
            "*7cf8*",
            "*cf8\"*",
            "*fade*",
            "*abc*",
            "\"0000000000607cf8\"",
            "raw *cafe*",
        ] {
            let expr = query::parse(text).unwrap();
            let wanted: Vec<u64> = everything
                .iter()
                .filter(|entry| {
                    let mut batch = Batch::new();
                    let source = batch.source(&entry.source);
                    batch.push(
                        source,
                        &Record {
                            time: Some(entry.time),
                            level: Some(entry.level),
                            fields: &[],
                            line: &entry.line,
                        },
                    );
                    expr.matches(&batch.get(0).unwrap())
                })
                .map(|entry| entry.number)
                .collect();
            let mut query = Query::new(Scope::Everything, expr);
            query.order = Order::OldestFirst;
            let found: Vec<u64> = ask(&proxy, &query).iter().map(|e| e.number).collect();
            assert_eq!(found, wanted, "{text}, settled: {settled}");
            query.order = Order::NewestFirst;
            query.limit = 7;
            let newest: Vec<u64> = ask(&proxy, &query).iter().map(|e| e.number).collect();
            let expected: Vec<u64> = wanted.iter().rev().take(7).copied().collect();
            assert_eq!(newest, expected, "{text}, newest first");
        }
    }
    let scope = Scope::Services(["shop/production/api".into()].into());
    assert_eq!(ask(&proxy, &Query::new(scope, Expr::All)).len(), 15_000);
    let scope = Scope::Environments(["shop/staging".into()].into());
    assert!(ask(&proxy, &Query::new(scope, Expr::All)).is_empty());
    let mut near = Query::new(Scope::Everything, query::parse("\"order 400 stored\"").unwrap());
    near.context = (2, 1);
    let found: Vec<(u64, bool)> = ask(&proxy, &near).iter().map(|e| (e.number, e.context)).collect();
    assert_eq!(found, [(398, true), (399, true), (400, false), (401, true)]);
    // Where matches are near each other no record is given twice.
    near.expr = query::parse("\"order 400 stored\" OR \"order 404 stored\" OR \"order 408 stored\"").unwrap();
    near.context = (3, 3);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        near.order = order;
        let mut found: Vec<(u64, bool)> = ask(&proxy, &near).iter().map(|e| (e.number, e.context)).collect();
        found.sort_unstable();
        let wanted: Vec<(u64, bool)> = (397..=411).map(|n| (n, !matches!(n, 400 | 404 | 408))).collect();
        assert_eq!(found, wanted, "{order:?}");
    }
    proxy.forget("shop/production/api").unwrap();
    assert_eq!(all(&proxy).len(), 15_000);
    proxy.forget("shop/staging/").unwrap();
    assert_eq!(all(&proxy).len(), 15_000);
    proxy.forget("shop/production/").unwrap();
    assert_eq!(all(&proxy).len(), 0);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_a_crash_leaves_nothing_is_invented_and_the_start_is_kept(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), cut in any::<bool>()) {
        use std::sync::OnceLock;
        static WHOLE: OnceLock<(tempfile::TempDir, Vec<String>)> = OnceLock::new();
        let (whole, given) = WHOLE.get_or_init(|| {
            let temp = tempfile::tempdir().unwrap();
            let given = corpus(20_000);
            let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
            for part in given.chunks(301) {
                push(&proxy, &web(), part);
            }
            drop(proxy);
            (temp, given)
        });
        let temp = tempfile::tempdir().unwrap();
        copy(whole.path(), temp.path());
        let all_files = files(temp.path());
        let path = &all_files[file.index(all_files.len())];
        let mut bytes = fs::read(path).unwrap();
        let place = at.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] ^= 0xa5 }
        fs::write(path, &bytes).unwrap();
        let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
        let mut last = None;
        for entry in all(&proxy) {
            if entry.source.stream == Stream::Proxy {
                continue;
            }
            prop_assert_eq!(String::from_utf8_lossy(&entry.line), given[usize::try_from(entry.number).unwrap()].as_str());
            prop_assert!(last.is_none_or(|last| entry.number > last));
            last = Some(entry.number);
        }
        // It goes on from there.
        push(&proxy, &web(), &["after".to_owned()]);
        let found = ask(&proxy, &Query::new(Scope::Everything, Expr::words("after")));
        prop_assert_eq!(found.len(), 1);
    }
}

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "is started by `what_was_acknowledged_survives_kill_9`"]
fn writer_that_is_killed() {
    let Ok(folder) = std::env::var("NONNA_LOGS_TEST_FOLDER") else {
        return;
    };
    let start: usize = std::env::var("NONNA_LOGS_TEST_START").unwrap().parse().unwrap();
    let proxy = LogProxy::open(Path::new(&folder), Options::default()).unwrap();
    for n in 0_usize.. {
        let lines: Vec<String> = (0..100)
            .map(|m| format!("kept {} {}", start + n * 100 + m, "z".repeat(60)))
            .collect();
        push(&proxy, &web(), &lines);
        println!("acknowledged {}", start + (n + 1) * 100);
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let temp = tempfile::tempdir().unwrap();
    let mut start = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_that_is_killed", "--ignored", "--nocapture"])
            .env("NONNA_LOGS_TEST_FOLDER", temp.path())
            .env("NONNA_LOGS_TEST_START", start.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = start;
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut heard = out
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
        // Some rounds die within the first block, some behind several.
        for _ in 0..(30 + round * 150) {
            acknowledged = heard.next().unwrap();
        }
        child.kill().unwrap();
        acknowledged = heard.last().unwrap_or(acknowledged);
        child.wait().unwrap();
        let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
        let found: Vec<usize> = all(&proxy)
            .iter()
            .filter(|e| e.source.stream != Stream::Proxy)
            .map(|e| {
                String::from_utf8_lossy(&e.line)
                    .split(' ')
                    .nth(1)
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert!(
            found.iter().enumerate().all(|(at, n)| at == *n),
            "without a gap, a duplicate or an invention"
        );
        assert!(found.len() >= acknowledged, "{} of {acknowledged}", found.len());
        start = found.len();
    }
}

#[tokio::test]
async fn following_neither_misses_nor_repeats() {
    let temp = tempfile::tempdir().unwrap();
    let proxy = Arc::new(LogProxy::open(temp.path(), Options::default()).unwrap());
    let writer = std::thread::spawn({
        let proxy = Arc::clone(&proxy);
        move || {
            for n in 0..400 {
                let lines: Vec<String> = (0..20).map(|m| format!("n {}", n * 20 + m)).collect();
                push(&proxy, &web(), &lines);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(80)).await;
    let mut query = Query::new(Scope::Everything, Expr::words("n"));
    query.order = Order::OldestFirst;
    let mut following = proxy.follow(query);
    let mut seen = Vec::new();
    while let Some(entry) = following.past.recv().await {
        seen.push(entry.unwrap().number);
    }
    while seen.last() != Some(&7_999) {
        match tokio::time::timeout(Duration::from_secs(20), following.live.next())
            .await
            .unwrap()
            .unwrap()
        {
            News::Records(picked) => seen.extend(picked.iter().map(|(number, _)| number)),
            News::Missed(lost) => panic!("missed {lost}"),
        }
    }
    writer.join().unwrap();
    assert_eq!(seen, (0..8_000).collect::<Vec<_>>());
}

#[test]
fn two_hundred_services_at_once_and_clocks_that_go_backwards() {
    let temp = tempfile::tempdir().unwrap();
    let proxy = Arc::new(LogProxy::open(temp.path(), Options::default()).unwrap());
    let threads: Vec<_> = (0..200)
        .map(|service| {
            let proxy = Arc::clone(&proxy);
            std::thread::spawn(move || {
                let source = Source::new(&format!("shop/production/s{service}"), "1", Stream::Stdout);
                for n in 0..20_i64 {
                    let mut batch = Batch::new();
                    let index = batch.source(&source);
                    for m in 0..10_i64 {
                        let line = format!("line {} of {service} {}", n * 10 + m, "v".repeat(100));
                        // Each later record says that it is earlier.
                        batch.push(
                            index,
                            &Record {
                                time: Some((10_000 - n * 10 - m) * 1_000_000_000),
                                line: line.as_bytes(),
                                ..Record::default()
                            },
                        );
                    }
                    let ack = loop {
                        match proxy.intake().try_push(batch) {
                            Ok(ack) => break ack,
                            Err(nonna_logs::Refused::Full(back)) => batch = back,
                            Err(other) => panic!("{other:?}"),
                        }
                    };
                    ack.wait_blocking().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for settled in [false, true] {
        if settled {
            proxy.settle_blocking();
        }
        assert_eq!(all(&proxy).len(), 200 * 200);
        for service in [0, 77, 199] {
            let name = format!("shop/production/s{service}");
            let mut query = Query::new(Scope::Services([name.as_str().into()].into()), Expr::All);
            query.order = Order::OldestFirst;
            query.until = Some(9_900 * 1_000_000_000);
            let found = ask(&proxy, &query);
            assert_eq!(found.len(), 100);
            assert!(found.windows(2).all(|w| w[0].time > w[1].time));
        }
    }
}

#[test]
fn a_store_that_stands_still_keeps_what_its_quota_holds_and_tells_what_it_lost_beyond() {
    let temp = tempfile::tempdir().unwrap();
    let options = Options {
        spool_bytes: 4 * 1024 * 1024,
        ..Options::default()
    };
    let proxy = LogProxy::open(temp.path(), options).unwrap();
    proxy.freeze(true);
    let source = web();
    let (mut pushed, mut refused) = (Vec::new(), 0);
    let mut acknowledged = BTreeSet::new();
    while refused < 30 {
        let part: Vec<String> = (0..500)
            .map(|n| format!("n {} {}", pushed.len() + n, "q".repeat(90)))
            .collect();
        let batch = Batch::of_lines(&source, part.iter().map(String::as_bytes));
        match proxy.intake().try_push(batch).unwrap().wait_blocking() {
            Ok(()) => acknowledged.extend(part.iter().cloned()),
            Err(error) => {
                assert_eq!(error.code, nonna_engine::Code::DiskFull);
                assert!(error.retryable);
                refused += 1;
            }
        }
        pushed.extend(part);
    }
    // What the quota holds was taken, and can be found although it is in no block.
    assert!(
        acknowledged.len() * 90 > 3 * 1024 * 1024,
        "{}",
        acknowledged.len()
    );
    let dropped = pushed.len() - all(&proxy).len();
    assert!(dropped >= 29 * 500, "{dropped}");
    let metric = format!("nonna_logs_dropped_total{{reason=\"disk\"}} {dropped}\n");
    assert!(proxy.metrics().contains(&metric), "{metric}: {}", proxy.metrics());

    proxy.freeze(false);
    proxy.settle_blocking();
    push(&proxy, &source, &["after".to_owned()]);
    let found = all(&proxy);
    let (told, theirs): (Vec<Entry>, Vec<Entry>) = found
        .into_iter()
        .partition(|entry| entry.source.stream == Stream::Proxy);
    assert_eq!(
        lines(&told),
        [format!(
            "{dropped} records were dropped: the logs' disk took no more"
        )]
    );
    let theirs: BTreeSet<String> = lines(&theirs).into_iter().collect();
    assert!(acknowledged.is_subset(&theirs));
    assert_eq!(theirs.len() + dropped, pushed.len() + 1);
    assert!(proxy.metrics().contains(&metric), "told, not counted again");
}

#[test]
fn secrets_are_nowhere_on_the_disk_and_traces_are_one_record() {
    let temp = tempfile::tempdir().unwrap();
    let options = Options {
        rate_limit: Some(RateLimit {
            lines_per_second: 1,
            burst: 60,
        }),
        ..Options::default()
    };
    let proxy = LogProxy::open(temp.path(), options).unwrap();
    proxy.set_secrets([&b"value-that-nonna-holds"[..]]).unwrap();
    let text = "login password=hunter22 ok\nuses value-that-nonna-holds twice\n-----BEGIN RSA PRIVATE KEY-----\nMIIEsecretbody\n-----END RSA PRIVATE KEY-----\n2026-11-24T08:00:00Z ERROR x failed\njava.lang.IllegalStateException: why\n\tat a.B(C.java:1)\nplain";
    push(
        &proxy,
        &web(),
        &text.split('\n').map(str::to_owned).collect::<Vec<_>>(),
    );
    let source = web();
    let mut batch = Batch::new();
    let index = batch.source(&source);
    batch.push(
        index,
        &Record {
            fields: &[("db_password", "fieldsecret"), ("user", "ann")],
            line: b"with fields",
            ..Record::default()
        },
    );
    proxy.intake().try_push(batch).unwrap().wait_blocking().unwrap();
    let found = all(&proxy);
    assert_eq!(
        lines(&found),
        [
            "login password=[redacted] ok",
            "uses [redacted] twice",
            "[redacted]",
            "[redacted]",
            "[redacted]",
            "2026-11-24T08:00:00Z ERROR x failed\njava.lang.IllegalStateException: why\n\tat a.B(C.java:1)",
            "plain",
            "with fields"
        ]
    );
    assert_eq!(found[5].level, Level::Error);
    assert_eq!(
        found[7].fields,
        [
            ("db_password".to_owned(), "[redacted]".to_owned()),
            ("user".to_owned(), "ann".to_owned())
        ]
    );
    push(&proxy, &web(), &vec!["again".to_owned(); 100]);
    std::thread::sleep(Duration::from_millis(400));
    let told = ask(
        &proxy,
        &Query::new(
            Scope::Everything,
            query::parse("\"lines of this service were dropped\"").unwrap(),
        ),
    );
    assert_eq!(told.len(), 1, "{told:?}");
    proxy.settle_blocking();
    drop(proxy);
    for file in files(temp.path()) {
        let bytes = fs::read(file).unwrap();
        for secret in [
            "hunter22",
            "value-that-nonna-holds",
            "MIIEsecretbody",
            "fieldsecret",
        ] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
        }
    }
    let names: BTreeSet<_> = found.iter().map(|e| e.number).collect();
    assert_eq!(names.len(), found.len());
}
