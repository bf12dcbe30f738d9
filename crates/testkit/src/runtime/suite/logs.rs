//! What replicas print is read, merged and followed.

use std::time::Duration;

use futures_util::StreamExt;
use nonna_engine::ports::runtime::{LogLine, LogQuery};
use nonna_model::ReleaseNumber;

use super::setting::{Setting, eventually};

async fn all(setting: &Setting, service: &nonna_model::ServiceId, query: &LogQuery) -> Vec<LogLine> {
    let lines = setting.runtime.logs(service, query).await.unwrap();
    lines.map(Result::unwrap).collect().await
}

pub async fn lines_that_were_printed_are_read(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 2).await.unwrap();
    let query = LogQuery::default();
    eventually("both replicas have printed", || async {
        let lines = all(setting, &web.service, &query).await;
        [0, 1]
            .iter()
            .all(|index| lines.iter().any(|line| line.index == *index))
    })
    .await;
    let lines = all(setting, &web.service, &query).await;
    assert!(lines.is_sorted_by_key(|line| line.at));
    assert!(
        lines
            .iter()
            .all(|line| line.release == ReleaseNumber(1) && line.at > 0)
    );
    let one = LogQuery {
        index: Some(1),
        tail: Some(1),
        ..LogQuery::default()
    };
    let lines = all(setting, &web.service, &one).await;
    assert_eq!(lines.iter().map(|line| line.index).collect::<Vec<_>>(), [1]);
    let future = LogQuery {
        since: Some(lines[0].at + 3_600_000),
        ..LogQuery::default()
    };
    assert_eq!(all(setting, &web.service, &future).await, []);
    let past = LogQuery {
        until: Some(lines[0].at - 3_600_000),
        ..LogQuery::default()
    };
    assert_eq!(all(setting, &web.service, &past).await, []);
}

pub async fn new_lines_are_followed_of_later_replicas_too(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut lines = setting.runtime.logs(&web.service, &query).await.unwrap();
    let within = Duration::from_secs(20);
    let first = tokio::time::timeout(within, lines.next())
        .await
        .expect("the old lines come");
    assert_eq!(first.unwrap().unwrap().release, ReleaseNumber(1));
    let mut next = web.clone();
    next.release = ReleaseNumber(2);
    let later = async {
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await {
            let line = line.unwrap();
            assert!(!seen.contains(&line), "it came twice: {line:?}");
            seen.push(line.clone());
            if line.release == ReleaseNumber(2) {
                return;
            }
        }
        panic!("the stream ended");
    };
    let (started, ()) = tokio::time::timeout(within, async { tokio::join!(setting.start(&next, 1), later) })
        .await
        .expect("the new replica's lines come");
    started.unwrap();
}

pub async fn the_output_of_one_replica_is_read_on_behind_a_moment(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 2).await.unwrap();
    let within = Duration::from_secs(20);
    let observed = setting.runtime.observe(&web.scope.environment).await.unwrap();
    let replica = observed.replicas_of(&web.service)[1].id.clone();
    let mut output = setting.runtime.output(&replica, None).await.unwrap();
    let first = tokio::time::timeout(within, output.next())
        .await
        .expect("what was printed comes")
        .unwrap()
        .unwrap();
    assert!(first.nanos > 0);
    drop(output);
    let mut after = setting.runtime.output(&replica, Some(first.nanos)).await.unwrap();
    // It goes on until the process ends, and has nothing of before.
    let rest = async {
        let mut seen = Vec::new();
        while let Some(line) = after.next().await {
            seen.push(line.unwrap());
        }
        seen
    };
    let (stopped, seen) = tokio::time::timeout(within, async {
        tokio::join!(setting.runtime.stop_replicas(&web.service, web.release), rest)
    })
    .await
    .expect("the output ends with the process");
    stopped.unwrap();
    assert!(seen.iter().all(|line| line.nanos > first.nanos), "{seen:?}");
    let mut gone = setting.runtime.output("no-such-replica", None).await.unwrap();
    assert!(gone.next().await.is_none());
}

pub async fn long_lines_are_whole(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    let script = "head -c 50000 /dev/zero | tr '\\0' x; echo; exec /app";
    web.spec.command = Some(["sh", "-c", script].map(String::from).to_vec());
    setting.start(&web, 1).await.unwrap();
    let lines = all(setting, &web.service, &LogQuery::default()).await;
    assert!(
        lines.iter().any(|line| line.line == "x".repeat(50_000)),
        "{}",
        lines.len()
    );
}

pub async fn both_outputs_are_told_apart(setting: &Setting) {
    let web = setting.launch("web", &[("NOISE_LINES", "10")]);
    setting.start(&web, 1).await.unwrap();
    eventually("all lines are there", || async {
        let lines = all(setting, &web.service, &LogQuery::default()).await;
        lines.iter().filter(|line| line.stderr).count() == 2
            && lines.iter().filter(|line| !line.stderr).count() >= 8
    })
    .await;
}
