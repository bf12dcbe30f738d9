//! Which records of BuildKit's cache came of which of our builds.
//!
//! BuildKit does not say who made a record: its description only has the
//! command. A record is ours if one of our builds has that command and the
//! record came to be while that build ran; and so is what stands on it, or
//! what it stands on, from the same time. What is not certain is nobody's, and
//! is never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use nonna_engine::Result;
use nonna_engine::ports::storage::{CacheKind, CacheOwner};
use nonna_model::ServiceId;
use serde::{Deserialize, Serialize};

use crate::context::disk;
use crate::engine::CacheRecord;

/// BuildKit's type of a cache mount.
const MOUNT: &str = "exec.cachemount";
/// BuildKit's type of a step's result.
const RESULT: &str = "regular";
/// How far the engine's clock may be from ours, in milliseconds.
const SKEW: i64 = 500;

/// Whose a record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) service: ServiceId,
    pub(super) owner: CacheOwner,
}

/// A build that is over.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// For which service.
    pub(crate) service: ServiceId,
    /// Whose caches it used.
    pub(crate) owner: CacheOwner,
    /// The commands of its Dockerfile.
    pub(crate) commands: Vec<String>,
    /// When it began: milliseconds since 1970, UTC.
    pub(crate) from: i64,
    /// When it ended.
    pub(crate) to: i64,
}

/// The ledger, a file in the data folder.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    pub(super) known: BTreeMap<String, Known>,
}

impl Ledger {
    /// Opens it, or begins one. A damaged one is begun anew: it only costs
    /// caches that the engine itself must clean up.
    pub(super) fn open(path: &Path) -> Self {
        let known = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the ledger of caches is damaged: begun anew");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self {
            path: path.to_owned(),
            known,
        }
    }

    /// Notes what a build left among these records, and forgets what is gone.
    pub(super) fn note(&mut self, records: &[CacheRecord], built: &Built) -> Result<()> {
        let before = self.known.len();
        let mut changed = false;
        let there: BTreeSet<&str> = records.iter().map(|record| record.id.as_str()).collect();
        self.known.retain(|id, _| there.contains(id.as_str()));
        changed |= before != self.known.len();
        for id in of_build(records, built) {
            // The first who made it keeps it.
            if !self.known.contains_key(&id) {
                changed = true;
                self.known.insert(
                    id,
                    Known {
                        service: built.service.clone(),
                        owner: built.owner.clone(),
                    },
                );
            }
        }
        if changed { self.write() } else { Ok(()) }
    }

    fn write(&self) -> Result<()> {
        let fail = |error: std::io::Error| disk(&self.path, &error);
        let text = serde_json::to_vec(&self.known)
            .map_err(|error| nonna_engine::Error::bug(format!("the ledger cannot be written: {error}")))?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        file.write_all(&text).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(&self.path).map_err(|error| fail(error.error))?;
        Ok(())
    }
}

/// What a record is, if builds make such.
pub(super) fn kind(record: &CacheRecord) -> Option<CacheKind> {
    match record.kind.as_str() {
        MOUNT => Some(CacheKind::Dependencies),
        RESULT => Some(CacheKind::Layer),
        _ => None,
    }
}

/// Milliseconds since 1970 of the engine's text.
pub(super) fn millis(text: Option<&str>) -> Option<i64> {
    text?
        .parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

/// The ids of the records that came of a build.
fn of_build(records: &[CacheRecord], built: &Built) -> Vec<String> {
    let commands: Vec<String> = built
        .commands
        .iter()
        .map(|command| bare(command))
        .filter(|command| !command.is_empty())
        .collect();
    let then: Vec<&CacheRecord> = records
        .iter()
        .filter(|record| kind(record).is_some())
        .filter(|record| {
            millis(record.created_at.as_deref())
                .is_some_and(|at| at >= built.from - SKEW && at <= built.to + SKEW)
        })
        .collect();
    let mut ours: BTreeSet<&str> = then
        .iter()
        .filter(|record| {
            let Some((_, command)) = record.description.split_once(" from exec ") else {
                return false;
            };
            let command = bare(command);
            commands.iter().any(|own| command.ends_with(own.as_str()))
        })
        .map(|record| record.id.as_str())
        .collect();
    loop {
        let before = ours.len();
        for record in &then {
            if ours.contains(record.id.as_str()) {
                let below = record.parents().filter(|id| then.iter().any(|r| r.id == *id));
                ours.extend(below);
            } else if record.parents().any(|parent| ours.contains(parent)) {
                ours.insert(&record.id);
            }
        }
        if ours.len() == before {
            break;
        }
    }
    ours.into_iter().map(str::to_owned).collect()
}

/// A command without what the builder may write otherwise: spaces, quotes.
fn bare(command: &str) -> String {
    command.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The commands of a Dockerfile's `RUN` lines, without their flags.
pub(crate) fn commands(dockerfile: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = dockerfile.lines();
    while let Some(line) = lines.next() {
        let mut whole = line.trim().to_owned();
        if whole.starts_with('#') {
            continue;
        }
        while let Some(begun) = whole.strip_suffix('\\') {
            whole = begun.to_owned();
            let Some(next) = lines.next() else { break };
            if !next.trim_start().starts_with('#') {
                whole.push_str(next.trim_end());
            } else {
                whole.push('\\');
            }
        }
        let Some((word, rest)) = whole.split_once(char::is_whitespace) else {
            continue;
        };
        if !word.eq_ignore_ascii_case("run") {
            continue;
        }
        let mut rest = rest.trim_start();
        while rest.starts_with("--") {
            match rest.split_once(char::is_whitespace) {
                Some((_, after)) => rest = after.trim_start(),
                None => rest = "",
            }
        }
        if !rest.is_empty() {
            commands.push(rest.to_owned());
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, parent: &str, kind: &str, description: &str, at: &str) -> CacheRecord {
        CacheRecord {
            id: id.into(),
            parent: parent.into(),
            kind: kind.into(),
            description: description.into(),
            created_at: Some(format!("2026-11-24T08:{at}Z")),
            ..CacheRecord::default()
        }
    }

    fn built() -> Built {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        Built {
            service: "svc-aaaaaaaaaaaaaaaa".parse().unwrap(),
            owner: CacheOwner::Service("svc-aaaaaaaaaaaaaaaa".parse().unwrap()),
            commands: commands(
                "FROM x\nRUN --mount=type=cache,id=a,target=/c \\\n  npm ci \\\n  # why\n  --omit=dev\nRUN [\"make\", \"all\"]\n",
            ),
            from: at("2026-11-24T08:10:00Z"),
            to: at("2026-11-24T08:20:00Z"),
        }
    }

    #[test]
    fn commands_are_read_as_the_builder_reads_them() {
        let all = built().commands;
        assert_eq!(bare(&all[0]), "npmciomitdev");
        assert_eq!(bare(&all[1]), "makeall");
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn only_what_a_build_made_is_its_own() {
        let records = [
            record("base", "", "regular", "pulled from docker.io/x", "01:00"),
            record("copy", "base", "regular", "fileop target", "11:00"),
            record(
                "mount",
                "",
                "exec.cachemount",
                "cached mount /c from exec /bin/sh -c npm ci   --omit=dev",
                "11:01",
            ),
            record(
                "run",
                "copy",
                "regular",
                "mount / from exec /bin/sh -c npm ci   --omit=dev",
                "11:02",
            ),
            record("last", "run", "regular", "fileop target", "11:03"),
            record("make", "x", "regular", "mount / from exec make all", "11:04"),
            // The same command at another time, another command at that time,
            // and a copy that stands on nothing of ours.
            record(
                "old",
                "base",
                "regular",
                "mount / from exec /bin/sh -c npm ci   --omit=dev",
                "09:00",
            ),
            record(
                "other",
                "base",
                "regular",
                "mount / from exec /bin/sh -c pip install",
                "12:00",
            ),
            record("theirs", "other", "regular", "fileop target", "12:01"),
            record("source", "", "source.local", "local source for context", "11:00"),
        ];
        let mut found = of_build(&records, &built());
        found.sort();
        assert_eq!(found, ["copy", "last", "make", "mount", "run"]);
    }

    #[test]
    fn the_ledger_outlives_the_process_and_forgets_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        let records = [record(
            "run",
            "",
            "regular",
            "mount / from exec /bin/sh -c npm ci --omit=dev",
            "11:02",
        )];
        Ledger::open(&path).note(&records, &built()).unwrap();
        let mut again = Ledger::open(&path);
        assert!(again.known.contains_key("run"));
        again.note(&[], &built()).unwrap();
        assert!(Ledger::open(&path).known.is_empty());
        fs::write(&path, "{").unwrap();
        assert!(Ledger::open(&path).known.is_empty());
    }
}
