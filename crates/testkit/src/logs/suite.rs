//! What every destination of logs does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on has failed, and says where; the cases' names say what they show"
)]

use std::sync::Arc;
use std::time::Duration;

use nonna_logs::forward::{Destination, Failure, Parcel, Taken};
use nonna_logs::{Entry, Level, Source, Stream};

use super::{Behaviour, Got, Receiver};

/// A destination, and what receives from it.
pub struct Fixture {
    /// The destination; where it has a secret, it is `s3cret-of-the-test`.
    pub destination: Box<dyn Destination>,
    /// Its receiver.
    pub receiver: Arc<dyn Receiver>,
}

/// The secret that no failure may tell.
pub const SECRET: &str = "s3cret-of-the-test";
const TIME: i64 = 1_700_000_000_123_456_000;

/// A record of this number.
#[must_use]
pub fn entry(number: u64, line: &str) -> Entry {
    Entry {
        number,
        time: TIME + i64::try_from(number).unwrap_or_default() * 1_000_000,
        source: Source::new("shop/production/web", "web.1", Stream::Network),
        level: Level::Warn,
        line: line.as_bytes().to_vec(),
        fields: vec![("user_id".to_owned(), "7 \"seven\" \\ ]".to_owned())],
        trace: None,
        context: false,
    }
}

fn entries(lines: &[&str]) -> Vec<Entry> {
    (1..)
        .zip(lines)
        .map(|(number, line)| entry(number, line))
        .collect()
}

async fn send(fixture: &Fixture, entries: &[Entry]) -> Result<Taken, Failure> {
    let store: Arc<str> = "0123456789abcdef".into();
    let sending = fixture.destination.send(Parcel {
        store: &store,
        entries,
    });
    tokio::time::timeout(Duration::from_secs(30), sending)
        .await
        .expect("a destination gives up by itself")
}

fn lines(got: &[Got]) -> Vec<&str> {
    let mut lines: Vec<&str> = got.iter().map(|got| got.line.as_str()).collect();
    lines.sort_unstable();
    lines
}

/// What a failure says.
fn words(failure: &Failure) -> &str {
    match failure {
        Failure::Unavailable { why, .. } | Failure::Refused { why } => why,
        Failure::TooLarge => "",
    }
}

pub async fn what_is_sent_arrives_as_it_is(fixture: Fixture) {
    let sent = entries(&[
        "plain",
        "two\nlines",
        "grüße \u{1b}[31m \"quoted\" \\ {\"a\":1}",
        "<13>1 - [x]",
    ]);
    assert_eq!(send(&fixture, &sent).await, Ok(Taken::default()));
    let mut got = fixture.receiver.got();
    got.sort_by_key(|got| got.time);
    assert_eq!(got.len(), sent.len());
    for (got, sent) in got.iter().zip(&sent) {
        assert_eq!(got.line.as_bytes(), sent.line);
        assert_eq!((&*got.service, &*got.replica), ("shop/production/web", "web.1"));
        assert_eq!(got.level, Level::Warn);
        assert_eq!(got.time, sent.time);
        // Under its name, or within what the protocol makes of it.
        let value = &sent.fields[0].1;
        let as_json = serde_json::to_string(value).unwrap();
        let found = got
            .fields
            .iter()
            .any(|(name, text)| (name.ends_with("user_id") && text == value) || text.contains(&as_json));
        assert!(found, "{:?}", got.fields);
    }
}

pub async fn many_records_arrive_each_once(fixture: Fixture) {
    let sent: Vec<Entry> = (0..3000).map(|n| entry(n, &format!("line {n:04}"))).collect();
    for part in sent.chunks(1000) {
        assert_eq!(send(&fixture, part).await, Ok(Taken::default()));
    }
    let got = fixture.receiver.got();
    let expected: Vec<String> = (0..3000).map(|n| format!("line {n:04}")).collect();
    assert_eq!(lines(&got), expected);
}

pub async fn a_failure_is_told_and_nothing_is_there(fixture: Fixture) {
    for behaviour in [Behaviour::Busy(None), Behaviour::Cuts, Behaviour::Forbids] {
        fixture.receiver.behave(behaviour.clone());
        let failure = send(&fixture, &entries(&["x"])).await.unwrap_err();
        assert!(
            matches!(failure, Failure::Unavailable { after: None, .. }),
            "{behaviour:?}: {failure:?}"
        );
        assert!(!words(&failure).is_empty());
        assert!(!words(&failure).contains(SECRET), "{failure:?}");
        assert!(fixture.receiver.got().is_empty());
    }
    fixture.receiver.behave(Behaviour::Takes);
    assert_eq!(send(&fixture, &entries(&["x"])).await, Ok(Taken::default()));
    assert_eq!(lines(&fixture.receiver.got()), ["x"]);
}

pub async fn it_tells_when_it_wants_to_be_asked_again(fixture: Fixture) {
    if !fixture.receiver.answers() {
        return;
    }
    fixture.receiver.behave(Behaviour::Busy(Some(7)));
    let failure = send(&fixture, &entries(&["x"])).await.unwrap_err();
    let Failure::Unavailable { after, .. } = failure else {
        panic!("{failure:?}");
    };
    assert_eq!(after, Some(Duration::from_secs(7)));
}

pub async fn what_is_too_large_is_told_apart(fixture: Fixture) {
    if !fixture.receiver.answers() {
        return;
    }
    fixture.receiver.behave(Behaviour::TakesAtMost(2));
    assert_eq!(
        send(&fixture, &entries(&["a", "b", "c"])).await,
        Err(Failure::TooLarge)
    );
    assert_eq!(send(&fixture, &entries(&["a", "b"])).await, Ok(Taken::default()));
}

pub async fn a_record_that_is_not_wanted_is_found(fixture: Fixture) {
    if !fixture.receiver.can_refuse() {
        return;
    }
    fixture.receiver.behave(Behaviour::Refuses("bad"));
    match send(&fixture, &entries(&["good", "bad", "fine"])).await {
        // The protocol says which.
        Ok(taken) => {
            assert_eq!(taken.refused.len(), 1);
            assert_eq!(taken.refused[0].0, 1);
            assert_eq!(lines(&fixture.receiver.got()), ["fine", "good"]);
        }
        // It does not: parts of it tell.
        Err(Failure::Refused { why }) => {
            assert!(!why.is_empty());
            assert!(fixture.receiver.got().is_empty());
            assert_eq!(send(&fixture, &entries(&["good"])).await, Ok(Taken::default()));
        }
        Err(failure) => panic!("{failure:?}"),
    }
}

pub async fn what_is_sent_twice_is_there_once_where_that_can_be_told(fixture: Fixture) {
    let sent = entries(&["a", "b"]);
    for _ in 0..2 {
        assert_eq!(send(&fixture, &sent).await, Ok(Taken::default()));
    }
    let expected: &[&str] = if fixture.receiver.knows_twice() {
        &["a", "b"]
    } else {
        &["a", "a", "b", "b"]
    };
    assert_eq!(lines(&fixture.receiver.got()), expected);
}

/// The cases, each as a test. Takes an expression that gives a future of a
/// [`Fixture`](crate::logs::suite::Fixture).
#[macro_export]
macro_rules! destination_suite {
    ($fixture:expr) => {
        $crate::destination_suite!(@tests $fixture;
            what_is_sent_arrives_as_it_is
            many_records_arrive_each_once
            a_failure_is_told_and_nothing_is_there
            it_tells_when_it_wants_to_be_asked_again
            what_is_too_large_is_told_apart
            a_record_that_is_not_wanted_is_found
            what_is_sent_twice_is_there_once_where_that_can_be_told
        );
    };
    (@tests $fixture:expr; $($case:ident)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::logs::suite::$case($fixture.await).await;
            }
        )+
    };
}
