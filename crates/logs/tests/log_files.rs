//! What goes into the logs comes out, within their bounds.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nonna_logs::{LogFiles, LogOptions, LogRecord, ReadQuery};

fn options() -> LogOptions {
    LogOptions {
        // Nothing is written but when it must be.
        flush_interval: Duration::from_secs(3600),
        ..LogOptions::default()
    }
}

fn web() -> Arc<str> {
    "shop/production/web".into()
}

fn append(logs: &LogFiles, service: &Arc<str>, numbers: std::ops::Range<i64>) {
    for n in numbers {
        logs.append(service, LogRecord::new(n, &format!("line {n}")));
    }
}

async fn numbers(logs: &LogFiles, service: &str, query: ReadQuery) -> Vec<i64> {
    logs.read(service, query)
        .await
        .unwrap()
        .iter()
        .map(LogRecord::at)
        .collect()
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

#[tokio::test]
async fn records_are_read_in_order_and_filtered() {
    let temp = tempfile::tempdir().unwrap();
    let logs = LogFiles::open(temp.path(), &options()).unwrap();
    append(&logs, &web(), 0..100);
    append(&logs, &"shop/production/api".into(), 500..510);
    let all = ReadQuery::default();
    assert_eq!(
        numbers(&logs, &web(), all.clone()).await,
        (0..100).collect::<Vec<_>>()
    );
    assert_eq!(numbers(&logs, "shop/production", all.clone()).await, [0_i64; 0]);
    let tail = ReadQuery {
        tail: Some(3),
        ..all.clone()
    };
    assert_eq!(numbers(&logs, &web(), tail).await, [97, 98, 99]);
    let between = ReadQuery {
        since: Some(10),
        until: Some(12),
        ..all.clone()
    };
    assert_eq!(numbers(&logs, &web(), between).await, [10, 11, 12]);
    let grep = ReadQuery {
        grep: Some("line 9".into()),
        tail: Some(2),
        ..all
    };
    assert_eq!(numbers(&logs, &web(), grep).await, [98, 99]);
    assert_eq!(logs.dropped(), 0);
}

#[tokio::test]
async fn they_are_there_after_a_restart_and_a_torn_line_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let logs = LogFiles::open(temp.path(), &options()).unwrap();
    append(&logs, &web(), 0..10);
    drop(logs);
    let folder = temp.path().join("shop_production_web");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut torn = OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(b"{\"at\":10,\"line\":\"hal").unwrap();
    drop(torn);

    let logs = LogFiles::open(temp.path(), &options()).unwrap();
    append(&logs, &web(), 11..13);
    let mut wanted: Vec<i64> = (0..10).collect();
    wanted.extend([11, 12]);
    assert_eq!(numbers(&logs, &web(), ReadQuery::default()).await, wanted);
}

#[tokio::test]
async fn the_size_is_bounded_and_the_loud_do_not_push_out_the_quiet() {
    let temp = tempfile::tempdir().unwrap();
    let max_bytes = 200_000;
    let logs = LogFiles::open(
        temp.path(),
        &LogOptions {
            max_bytes,
            ..options()
        },
    )
    .unwrap();
    append(&logs, &"shop/production/quiet".into(), 0..50);
    for round in 0..50 {
        append(&logs, &web(), round * 1_000..(round + 1) * 1_000);
        logs.flush().await.unwrap();
        assert!(size(temp.path()) <= max_bytes, "{}", size(temp.path()));
    }
    let quiet = numbers(&logs, "shop/production/quiet", ReadQuery::default()).await;
    assert_eq!(quiet.len(), 50);
    let loud = numbers(&logs, &web(), ReadQuery::default()).await;
    assert_eq!(loud.last(), Some(&49_999));
    assert!(
        loud.windows(2).all(|w| w[1] == w[0] + 1),
        "the newest, without a gap"
    );
    assert!(
        size(temp.path()) > max_bytes / 2,
        "not more was removed than had to be"
    );
    drop(logs);

    // A smaller bound holds from the start.
    drop(
        LogFiles::open(
            temp.path(),
            &LogOptions {
                max_bytes: 50_000,
                ..options()
            },
        )
        .unwrap(),
    );
    assert!(size(temp.path()) <= 50_000);
}

#[tokio::test]
async fn following_neither_misses_nor_repeats() {
    let temp = tempfile::tempdir().unwrap();
    let logs = Arc::new(
        LogFiles::open(
            temp.path(),
            &LogOptions {
                watch: 20_000,
                queue: 20_000,
                ..options()
            },
        )
        .unwrap(),
    );
    let writer = std::thread::spawn({
        let logs = Arc::clone(&logs);
        move || {
            for n in 0..5_000 {
                append(&logs, &web(), n..n + 1);
                append(&logs, &"other".into(), n..n + 1);
                if n % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut follow = logs.follow(&web(), ReadQuery::default()).await.unwrap();
    let mut seen: Vec<i64> = follow.past.iter().map(LogRecord::at).collect();
    while seen.last() != Some(&4_999) {
        let record = tokio::time::timeout(Duration::from_secs(20), follow.live.next()).await;
        seen.push(record.expect("records keep coming").unwrap().at());
    }
    writer.join().unwrap();
    assert_eq!(logs.dropped(), 0);
    assert_eq!(seen, (0..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn too_much_at_once_is_dropped_and_counted() {
    let temp = tempfile::tempdir().unwrap();
    let logs = LogFiles::open(
        temp.path(),
        &LogOptions {
            queue: 4,
            ..options()
        },
    )
    .unwrap();
    append(&logs, &web(), 0..20_000);
    let kept = numbers(&logs, &web(), ReadQuery::default()).await.len() as u64;
    assert!(logs.dropped() > 0, "a queue of four took all of twenty thousand");
    assert_eq!(kept + logs.dropped(), 20_000);
}

#[tokio::test]
async fn a_slow_watcher_is_told_what_it_missed() {
    let temp = tempfile::tempdir().unwrap();
    let logs = LogFiles::open(
        temp.path(),
        &LogOptions {
            watch: 8,
            ..options()
        },
    )
    .unwrap();
    let mut slow = logs.subscribe(&web()).await.unwrap();
    append(&logs, &web(), 0..100);
    logs.flush().await.unwrap();
    let first = slow.next().await.unwrap().at();
    assert_eq!(slow.missed(), u64::try_from(first).unwrap());
    assert!(first > 50);
    drop(logs);
    while slow.next().await.is_some() {}
}

#[tokio::test]
async fn a_record_cannot_forge_another() {
    let temp = tempfile::tempdir().unwrap();
    let logs = LogFiles::open(temp.path(), &options()).unwrap();
    logs.append(
        &web(),
        LogRecord::new(1, "GET /\"}\n{\"at\":2,\"line\":\"admin logged in\"}\n\u{1b}[1A"),
    );
    logs.append(&"../../evil\0".into(), LogRecord::new(3, "x"));
    let records = logs.read(&web(), ReadQuery::default()).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].at(), 1);
    assert!(!records[0].line().contains(['\n', '\u{1b}']));
    assert_eq!(numbers(&logs, "../../evil\0", ReadQuery::default()).await, [3]);
    assert!(!temp.path().parent().unwrap().join("evil").exists());
}

#[tokio::test]
async fn a_forgotten_service_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let logs = LogFiles::open(temp.path(), &options()).unwrap();
    append(&logs, &web(), 0..10);
    logs.flush().await.unwrap();
    append(&logs, &web(), 10..20);
    logs.forget(&web()).await.unwrap();
    logs.forget("never/was/there").await.unwrap();
    assert_eq!(size(temp.path()), 0);
    assert_eq!(numbers(&logs, &web(), ReadQuery::default()).await, [0_i64; 0]);
    append(&logs, &web(), 20..21);
    assert_eq!(numbers(&logs, &web(), ReadQuery::default()).await, [20]);
}

#[tokio::test]
async fn records_are_written_in_time() {
    let temp = tempfile::tempdir().unwrap();
    let flush_interval = Duration::from_millis(20);
    let logs = LogFiles::open(
        temp.path(),
        &LogOptions {
            flush_interval,
            ..options()
        },
    )
    .unwrap();
    append(&logs, &web(), 0..1);
    for _ in 0..500 {
        if size(temp.path()) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing was written in ten seconds");
}
