//! Forwarders against a destination that fails on purpose: each record at
//! least once, whatever happens, and nothing lost without a word.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nonna_logs::forward::{BatchLimits, Forward, ForwardCounters, Start, start};
use nonna_logs::{Batch, LogProxy, Options, Query, Scope, Source, Stream, query};
use nonna_testkit::logs::{Behaviour, FakeDestination, Receiver};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Setting {
    proxy: Arc<LogProxy>,
    fake: FakeDestination,
    counters: Arc<ForwardCounters>,
    closing: CancellationToken,
    tracker: TaskTracker,
}

fn forward(fake: &FakeDestination, when: &str, begin: Start) -> Forward {
    Forward {
        name: "test".to_owned(),
        destination: Box::new(fake.clone()),
        expr: query::parse(when).unwrap(),
        start: begin,
        batch: BatchLimits {
            bytes: 64 * 1024,
            records: 100,
            wait: Duration::from_millis(20),
        },
    }
}

impl Setting {
    fn start(folder: &Path, fake: &FakeDestination, options: Options, when: &str, begin: Start) -> Self {
        let proxy = Arc::new(LogProxy::open(folder, options).unwrap());
        let (closing, tracker) = (CancellationToken::new(), TaskTracker::new());
        let made = forward(fake, when, begin);
        let counters = start(&proxy, folder, made, closing.clone(), &tracker).unwrap();
        Self {
            proxy,
            fake: fake.clone(),
            counters,
            closing,
            tracker,
        }
    }

    fn simple(folder: &Path, fake: &FakeDestination) -> Self {
        Self::start(folder, fake, Options::default(), "service:web", Start::Now)
    }

    async fn write(&self, lines: impl IntoIterator<Item = String>) {
        let source = Source::new("web", "1", Stream::Network);
        let lines: Vec<String> = lines.into_iter().collect();
        for part in lines.chunks(1000) {
            let batch = Batch::of_lines(&source, part.iter().map(String::as_bytes));
            self.proxy
                .intake()
                .push(batch)
                .await
                .unwrap()
                .wait()
                .await
                .unwrap();
        }
    }

    async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !reached(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.counters);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn lines(&self) -> Vec<String> {
        self.fake.got().into_iter().map(|got| got.line).collect()
    }

    async fn end(self) {
        self.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn says(&self, words: &str) -> bool {
        let query = Query::new(Scope::Everything, query::parse("service:nonna/logs").unwrap());
        let mut found = false;
        self.proxy
            .search_blocking(&query, &Default::default(), |entry| {
                found |= entry.text().contains(words);
                true
            })
            .unwrap();
        found
    }
}

/// Keeps lines while nothing forwards them.
async fn keep(folder: &Path, lines: impl IntoIterator<Item = String>) {
    let proxy = LogProxy::open(folder, Options::default()).unwrap();
    let source = Source::new("web", "1", Stream::Network);
    let lines: Vec<String> = lines.into_iter().collect();
    let batch = Batch::of_lines(&source, lines.iter().map(String::as_bytes));
    proxy.intake().push(batch).await.unwrap().wait().await.unwrap();
}

fn numbered(from: usize, to: usize) -> impl Iterator<Item = String> {
    (from..to).map(|n| format!("line {n:06}"))
}

#[tokio::test]
async fn what_comes_is_sent_in_order_and_the_position_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    let first = Setting::simple(folder.path(), &fake);
    first.write(numbered(0, 2500)).await;
    first.until("sent", |s| s.fake.got().len() == 2500).await;
    first.end().await;
    let asked = fake.asked();
    // Nothing is sent again after a proper end, and what came without a
    // forwarder is sent when there is one.
    keep(folder.path(), numbered(2500, 2600)).await;
    let second = Setting::simple(folder.path(), &fake);
    second.until("sent", |s| s.fake.got().len() == 2600).await;
    assert_eq!(second.lines(), numbered(0, 2600).collect::<Vec<_>>());
    assert!(fake.asked() <= asked + 2, "{} {asked}", fake.asked());
    assert_eq!(second.counters.sent.load(Ordering::Relaxed), 100);
    second.end().await;
}

#[tokio::test]
async fn only_what_matches_is_sent_and_only_from_now_on() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    keep(folder.path(), ["old".to_owned()]).await;
    let setting = Setting::simple(folder.path(), &fake);
    let other = Batch::of_lines(&Source::new("other", "1", Stream::Network), [&b"other"[..]]);
    setting
        .proxy
        .intake()
        .push(other)
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    setting.write(["new".to_owned()]).await;
    setting.until("sent", |s| s.fake.got().len() == 1).await;
    assert_eq!(setting.lines(), ["new"]);
    // What does not match is behind it too.
    let end = *setting.proxy.stored().borrow();
    setting
        .until("passed", |s| s.counters.position.load(Ordering::Relaxed) == end)
        .await;
    setting.end().await;
}

#[tokio::test]
async fn a_forwarder_can_begin_with_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    keep(folder.path(), ["old".to_owned()]).await;
    let setting = Setting::start(
        folder.path(),
        &fake,
        Options::default(),
        "service:web",
        Start::Oldest,
    );
    setting.until("sent", |s| s.fake.got().len() == 1).await;
    setting.end().await;
}

#[tokio::test]
async fn an_outage_loses_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    let setting = Setting::simple(folder.path(), &fake);
    fake.behave(Behaviour::Busy(None));
    setting.write(numbered(0, 5000)).await;
    setting
        .until("failed", |s| s.counters.failures.load(Ordering::Relaxed) > 1)
        .await;
    assert!(setting.counters.down.load(Ordering::Relaxed));
    assert!(fake.got().is_empty());
    fake.behave(Behaviour::Takes);
    setting.until("sent", |s| s.fake.got().len() == 5000).await;
    assert_eq!(setting.lines(), numbered(0, 5000).collect::<Vec<_>>());
    setting.until("told", |s| s.says("takes records again")).await;
    assert!(setting.says("takes no records (it is busy)"));
    assert!(!setting.counters.down.load(Ordering::Relaxed));
    setting.end().await;
}

#[tokio::test]
async fn it_is_asked_again_when_it_wants_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    let setting = Setting::simple(folder.path(), &fake);
    fake.behave(Behaviour::Busy(Some(2)));
    let begun = Instant::now();
    setting.write(["x".to_owned()]).await;
    setting.until("asked", |s| s.fake.asked() == 1).await;
    fake.behave(Behaviour::Takes);
    setting.until("sent", |s| s.fake.got().len() == 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(fake.asked(), 2);
    setting.end().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_set_aside_and_the_rest_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    let setting = Setting::simple(folder.path(), &fake);
    fake.behave(Behaviour::Refuses("7"));
    setting.write(numbered(0, 100)).await;
    setting.until("sent", |s| s.fake.got().len() == 81).await;
    assert_eq!(setting.counters.refused.load(Ordering::Relaxed), 19);
    let aside = std::fs::read_to_string(folder.path().join("forward/test.refused.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), 19);
    let first: serde_json::Value = serde_json::from_str(aside.lines().next().unwrap()).unwrap();
    assert_eq!(first["refused"], "it is not wanted");
    assert_eq!(first["record"]["line"], "line 000007");
    setting
        .until("told", |s| s.says("refuses records for good"))
        .await;
    setting.end().await;
}

#[tokio::test]
async fn what_is_too_much_at_once_is_sent_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    let setting = Setting::simple(folder.path(), &fake);
    fake.behave(Behaviour::TakesAtMost(3));
    setting.write(numbered(0, 200)).await;
    setting.until("sent", |s| s.fake.got().len() == 200).await;
    assert_eq!(setting.counters.refused.load(Ordering::Relaxed), 0);
    setting.end().await;
}

#[tokio::test]
async fn what_the_store_had_to_remove_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeDestination::new();
    let options = Options {
        max_bytes: 1024 * 1024,
        ..Options::default()
    };
    let setting = Setting::start(folder.path(), &fake, options, "service:web", Start::Now);
    fake.behave(Behaviour::Busy(None));
    // Far more than the store may keep, and nothing that compresses.
    let mut random = [0_u8; 600];
    for part in 0..40 {
        let mut lines = Vec::new();
        for line in 0..1000 {
            getrandom::fill(&mut random).unwrap();
            lines.push(format!("{part} {line} {}", data_encoding::BASE64.encode(&random)));
        }
        setting.write(lines).await;
    }
    setting
        .until("removed", |s| {
            s.proxy.settle_blocking();
            s.proxy.oldest() > 10_000
        })
        .await;
    fake.behave(Behaviour::Takes);
    let end = *setting.proxy.stored().borrow();
    setting
        .until("passed", |s| s.counters.position.load(Ordering::Relaxed) >= end)
        .await;
    let (sent, lost) = (
        setting.counters.sent.load(Ordering::Relaxed),
        setting.counters.lost.load(Ordering::Relaxed),
    );
    assert!(lost > 0, "{sent} {lost}");
    // Each of them is accounted for; those of the proxy itself are not sent.
    assert!(sent + lost >= 40_000, "{sent} {lost}");
    assert_eq!(fake.got().len() as u64, sent);
    setting
        .until("told", |s| s.says("were removed from the store"))
        .await;
    setting.end().await;
}
