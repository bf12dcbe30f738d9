//! What was acknowledged survives a kill.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nonna_engine::Code;
use nonna_store::records::NewAudit;
use nonna_store::{DataFolder, SqliteStore, Store};

const FOLDER: &str = "NONNA_TEST_CRASH_FOLDER";
const WRITERS: usize = 8;

fn entry(actor: String, round: &str) -> NewAudit {
    NewAudit {
        at: 1,
        actor,
        address: None,
        action: "write".to_owned(),
        target: round.to_owned(),
        detail: None,
    }
}

/// Not a test of its own: what the other test starts as a process and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_until_killed() {
    let Ok(path) = std::env::var(FOLDER) else {
        return;
    };
    let folder = DataFolder::lock(Path::new(&path)).unwrap();
    let store = std::sync::Arc::new(SqliteStore::open_in(&folder, None).unwrap());
    let writers = (0..WRITERS).map(|writer| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0.. {
                let number = store
                    .append_audit(entry(format!("writer {writer}"), &n.to_string()))
                    .await
                    .unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nkept {number} {writer} {n}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let mut acknowledged = Vec::new();
    for round in 1..=8_usize {
        let mut child = Killed(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "write_until_killed", "--nocapture"])
                .env(FOLDER, &path)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut killed = false;
        // Whatever the pipe still holds after the kill was acknowledged too.
        for line in lines.map_while(Result::ok) {
            let Some(kept) = line.strip_prefix("kept ") else {
                continue;
            };
            acknowledged.push(kept.to_owned());
            seen += 1;
            if seen == round * 17 && !killed {
                let error = DataFolder::lock(&path).unwrap_err();
                assert_eq!(error.code, Code::Conflict);
                assert!(
                    error.message.contains(&format!("process {}", child.0.id())),
                    "{error}"
                );
                child.0.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed, "the child ended by itself in round {round}");
        drop(child);

        let folder = DataFolder::lock(&path).unwrap();
        let store = SqliteStore::open_in(&folder, None).unwrap();
        let all = store.list_audit(None, u32::MAX).await.unwrap();
        let kept: std::collections::BTreeSet<String> = all
            .iter()
            .map(|a| {
                let writer = a.entry.actor.trim_start_matches("writer ");
                format!("{} {writer} {}", a.sequence, a.entry.target)
            })
            .collect();
        for one in &acknowledged {
            assert!(kept.contains(one), "`{one}` is lost after round {round}");
        }
        // What was written but not acknowledged is whole or not there.
        assert!(all.len() >= acknowledged.len());
        assert!(all.len() <= acknowledged.len() + round * WRITERS);
    }
}
