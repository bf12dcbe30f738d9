//! What is captured is kept once: each line, whatever ends the process.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests; one is a program that tells its parent how far it is"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nonna_engine::{Code, Error, Result};
use nonna_logs::capture::{Capture, Container, Lines, Output, Pumped, Read, pump};
use nonna_logs::{Entry, Expr, LogProxy, Options, Order, Query, Scope, Stream};

fn container() -> Container {
    Container {
        id: "c0ffee".into(),
        service: "shop/production/web".into(),
        replica: "v3.0".into(),
    }
}

fn all(proxy: &LogProxy) -> Vec<Entry> {
    let mut query = Query::new(Scope::Everything, Expr::All);
    query.order = Order::OldestFirst;
    let mut found = Vec::new();
    proxy
        .search_blocking(&query, &AtomicBool::new(false), |entry| {
            found.push(entry);
            true
        })
        .unwrap();
    found
}

fn texts(proxy: &LogProxy) -> Vec<String> {
    all(proxy)
        .iter()
        .filter(|entry| entry.source.stream != Stream::Proxy)
        .map(|entry| String::from_utf8_lossy(&entry.line).into_owned())
        .collect()
}

/// Without a gap, a duplicate or an invention. Where an error waits for its
/// trace, lines of the other stream pass it: only each stream has its order.
fn assert_once_each(found: &[String]) {
    let number = |text: &String| text.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    let mut numbers: Vec<u64> = found.iter().map(number).collect();
    numbers.sort_unstable();
    let wrong = (0..).zip(&numbers).find(|(wanted, got)| wanted != *got);
    assert_eq!(wrong, None, "of {}", numbers.len());
    for text in found {
        assert!(
            *text == numbered(number(text)),
            "not as it was printed: {text:.60}"
        );
    }
}

/// Lines that are made up from their number, which is the position. Breaks
/// now and then.
struct Script {
    lines: u64,
    each: u64,
    breaks: AtomicU32,
    line: fn(u64) -> String,
}

struct Reading {
    next: u64,
    lines: u64,
    each: u64,
    breaks: bool,
    line: fn(u64) -> String,
}

#[async_trait]
impl Capture for Script {
    async fn open(&self, _: &Container, position: Option<&[u8]>) -> Result<Box<dyn Output>> {
        let next = position.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        Ok(Box::new(Reading {
            next,
            lines: self.lines,
            each: self.each,
            breaks: self
                .breaks
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok(),
            line: self.line,
        }))
    }
}

#[async_trait]
impl Output for Reading {
    async fn read(&mut self, lines: &mut Lines) -> Result<Read> {
        if self.next >= self.lines {
            return Ok(Read::End);
        }
        if self.breaks && self.next % 100 >= 50 {
            return Err(Error::provider(Code::RuntimeUnavailable, "The engine is being restarted.").retry());
        }
        tokio::task::yield_now().await;
        for _ in 0..self.each.min(self.lines - self.next) {
            let stderr = self.next.is_multiple_of(3);
            lines.push(
                stderr,
                Some(1_000_000_000 * 1_000_000_000),
                (self.line)(self.next).as_bytes(),
            );
            self.next += 1;
        }
        Ok(Read::More)
    }

    fn position(&self) -> Vec<u8> {
        self.next.to_le_bytes().to_vec()
    }
}

fn numbered(number: u64) -> String {
    match number % 50 {
        // Errors, behind which a trace might come.
        7 => format!("number {number} ERROR something went wrong"),
        _ => format!("number {number} {}", "x".repeat(150)),
    }
}

#[tokio::test]
async fn a_source_that_breaks_is_read_on_where_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
    let script = Script {
        lines: 1_000,
        each: 1,
        breaks: AtomicU32::new(3),
        line: numbered,
    };
    assert_eq!(pump(&proxy, &script, &container()).await.unwrap(), Pumped::All);
    assert_once_each(&texts(&proxy));
    assert_eq!(texts(&proxy).len(), 1_000);
    let entries = all(&proxy);
    assert_eq!(entries[0].source.stream, Stream::Stderr);
    assert_eq!(entries[1].source.stream, Stream::Stdout);
    assert_eq!(&*entries[1].source.replica, "v3.0");
    assert_eq!(proxy.position("c0ffee"), Some(1_000_u64.to_le_bytes().to_vec()));
    // What has ended is not read again.
    pump(&proxy, &script, &container()).await.unwrap();
    assert_eq!(texts(&proxy).len(), 1_000);
    proxy.retain_positions(|key| key != "c0ffee");
    assert_eq!(proxy.position("c0ffee"), None);
}

/// Every third line is standard error's.
const TRACE: [&str; 8] = [
    "Traceback (most recent call last):",
    "one",
    "two",
    "  File \"a.py\", line 1, in <module>",
    "three",
    "four",
    "ValueError: no such thing",
    "five",
];

#[tokio::test]
async fn a_stack_trace_that_comes_piece_by_piece_is_one_record() {
    let temp = tempfile::tempdir().unwrap();
    let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
    let script = Script {
        lines: 8,
        each: 1,
        breaks: AtomicU32::new(0),
        line: |number| TRACE[usize::try_from(number).unwrap()].to_owned(),
    };
    pump(&proxy, &script, &container()).await.unwrap();
    let mut found = texts(&proxy);
    found.sort();
    let trace = [TRACE[0], TRACE[3], TRACE[6]].join("\n");
    assert_eq!(found, [trace.as_str(), "five", "four", "one", "three", "two"]);
}

async fn capture_into(folder: &Path) {
    let proxy = Arc::new(LogProxy::open(folder, Options::default()).unwrap());
    let script = Script {
        lines: u64::MAX,
        each: 37,
        breaks: AtomicU32::new(0),
        line: numbered,
    };
    let telling = Arc::clone(&proxy);
    tokio::spawn(async move {
        let mut stored = telling.stored();
        while stored.changed().await.is_ok() {
            println!("stored {}", *stored.borrow());
        }
    });
    pump(&proxy, &script, &container()).await.unwrap();
}

#[test]
#[ignore = "a program for the test below"]
fn capturer_that_is_killed() {
    let folder = std::env::var_os("NONNA_LOGS_TEST_FOLDER").unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(capture_into(Path::new(&folder)));
}

#[test]
fn each_line_is_there_once_however_often_the_process_is_killed() {
    let temp = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..6_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "capturer_that_is_killed", "--ignored", "--nocapture"])
            .env("NONNA_LOGS_TEST_FOLDER", temp.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut heard = out.lines().map_while(std::result::Result::ok);
        // Some rounds die within the first journal, some behind several.
        for _ in 0..(2 + round * 4) {
            heard.by_ref().find(|line| line.starts_with("stored ")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        let proxy = LogProxy::open(temp.path(), Options::default()).unwrap();
        let found = texts(&proxy);
        assert_once_each(&found);
        assert!(found.len() > before);
        before = found.len();
        let position = proxy.position("c0ffee").unwrap();
        assert_eq!(position, (before as u64).to_le_bytes());
    }
    assert!(
        temp.path().join("positions.json").exists(),
        "journals were given up on the way"
    );
}
