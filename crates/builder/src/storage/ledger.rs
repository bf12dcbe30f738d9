//! Which records of BuildKit's cache came of which of our builds.
//!
//! BuildKit does not say who made a record: its description only has the
//! command. But it tells each build when each of its steps ran. A record is
//! ours if it alone has the command of a step of ours and came to be, or, for
//! a cache mount, was used last, while that step ran; and so is what stands on
//! it, or what it stands on, from the same build's time. Where two records
//! could be it, because somebody else ran the same command at the same
//! moment, neither is. What is not certain is nobody's, and is never touched.

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
/// How much earlier, and how much later, than its step a record may say it was
/// made or used, in milliseconds: it is written down when the step is over.
const EARLIER: i64 = 50;
const LATER: i64 = 2000;

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
    /// The steps that ran, that is were not cached.
    pub(crate) steps: Vec<Step>,
    /// When it began, by the engine's clock: milliseconds since 1970, UTC.
    pub(crate) from: i64,
    /// When it ended.
    pub(crate) to: i64,
}

/// A step that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its command.
    pub(crate) command: String,
    /// When it began: milliseconds since 1970, UTC.
    pub(crate) from: i64,
    /// When it ended.
    pub(crate) to: i64,
}

impl Built {
    /// Of a build whose Dockerfile has these commands, and of which the
    /// builder told when these steps ran, by their names.
    pub(crate) fn new(service: ServiceId, owner: CacheOwner, commands: &[String], ran: Vec<Step>) -> Self {
        let from = ran.iter().map(|step| step.from).min().unwrap_or_default();
        let to = ran.iter().map(|step| step.to).max().unwrap_or_default();
        let steps = ran
            .into_iter()
            .filter_map(|step| {
                let name = bare(step.command.strip_prefix("RUN")?);
                let command = commands.iter().find(|command| bare(command) == name)?;
                Some(Step {
                    command: command.clone(),
                    ..step
                })
            })
            .collect();
        Self {
            service,
            owner,
            steps,
            from,
            to,
        }
    }
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
            if let std::collections::btree_map::Entry::Vacant(new) = self.known.entry(id) {
                changed = true;
                new.insert(Known {
                    service: built.service.clone(),
                    owner: built.owner.clone(),
                });
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
    let mut ours: BTreeSet<&str> = BTreeSet::new();
    for step in &built.steps {
        let command = bare(&step.command);
        let during = |text: Option<&str>| {
            millis(text).is_some_and(|at| at >= step.from - EARLIER && at <= step.to + LATER)
        };
        let mut candidates: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for record in records {
            let Some((_, of)) = record.description.split_once(" from exec ") else {
                continue;
            };
            let then = if record.kind == MOUNT {
                during(record.last_used_at.as_deref())
            } else {
                during(record.created_at.as_deref())
            };
            if kind(record).is_some() && then && !command.is_empty() && bare(of).ends_with(&command) {
                candidates
                    .entry(&record.description)
                    .or_default()
                    .push(&record.id);
            }
        }
        ours.extend(candidates.values().filter_map(|ids| match ids.as_slice() {
            [only] => Some(*only),
            _ => None,
        }));
    }
    let then: Vec<&CacheRecord> = records
        .iter()
        .filter(|record| record.kind == RESULT)
        .filter(|record| {
            millis(record.created_at.as_deref())
                .is_some_and(|at| at >= built.from - EARLIER && at <= built.to + LATER)
        })
        .collect();
    loop {
        let before = ours.len();
        for record in &then {
            if ours.contains(record.id.as_str()) {
                // Another's step would have to be told apart from a copy.
                let below = record.parents().filter(|id| {
                    then.iter()
                        .any(|r| r.id == *id && !r.description.contains(" from exec "))
                });
                ours.extend(below);
            } else if record.parents().any(|parent| ours.contains(parent))
                && !record.description.contains(" from exec ")
            {
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

    const NPM: &str = "mount / from exec /bin/sh -c npm ci   --omit=dev";
    const KEPT: &str = "cached mount /c from exec /bin/sh -c npm ci   --omit=dev";

    fn at(text: &str) -> i64 {
        let text = format!("2026-11-24T08:{text}Z");
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    /// Made and used at this minute and second.
    fn record(id: &str, parent: &str, kind: &str, description: &str, time: &str) -> CacheRecord {
        CacheRecord {
            id: id.into(),
            parent: parent.into(),
            kind: kind.into(),
            description: description.into(),
            created_at: Some(format!("2026-11-24T08:{time}Z")),
            last_used_at: Some(format!("2026-11-24T08:{time}Z")),
            ..CacheRecord::default()
        }
    }

    fn ran(name: &str, from: &str, to: &str) -> Step {
        Step {
            command: name.into(),
            from: at(from),
            to: at(to),
        }
    }

    fn built() -> Built {
        let commands = commands(
            "FROM x\nRUN --mount=type=cache,id=a,target=/c \\\n  npm ci \\\n  # why\n  --omit=dev\nRUN [\"make\", \"all\"]\n",
        );
        assert_eq!(commands.len(), 2);
        let service: ServiceId = "svc-aaaaaaaaaaaaaaaa".parse().unwrap();
        Built::new(
            service.clone(),
            CacheOwner::Service(service),
            &commands,
            vec![
                ran("COPY . .", "10:59", "11:00"),
                ran("RUN npm ci   --omit=dev", "11:00", "11:02"),
                ran("RUN [\"make\", \"all\"]", "11:03", "11:05"),
                ran("RUN something else", "11:05", "11:06"),
            ],
        )
    }

    fn found(records: &[CacheRecord]) -> Vec<String> {
        let mut found = of_build(records, &built());
        found.sort();
        found
    }

    #[test]
    fn commands_are_read_as_the_builder_reads_them() {
        let steps = built().steps;
        assert_eq!(bare(&steps[0].command), "npmciomitdev");
        assert_eq!(bare(&steps[1].command), "makeall");
        assert_eq!(steps.len(), 2);
    }

    #[test]
    fn only_what_a_build_made_is_its_own() {
        let mut kept = record("kept", "", MOUNT, KEPT, "11:01");
        // An older build of ours made it; this one used it.
        kept.created_at = Some("2026-11-24T07:00:00Z".into());
        let records = [
            record("base", "", RESULT, "pulled from docker.io/x", "01:00"),
            record("copy", "base", RESULT, "fileop target", "11:00"),
            kept,
            record("run", "copy", RESULT, NPM, "11:02"),
            record("last", "run", RESULT, "fileop target", "11:03"),
            record("make", "x", RESULT, "mount / from exec make all", "11:04"),
            // The same command at another time, another command at that time,
            // and a copy that stands on nothing of ours.
            record("old", "base", RESULT, NPM, "09:00"),
            record("elsewhere", "", MOUNT, KEPT, "09:00"),
            record(
                "other",
                "base",
                RESULT,
                "mount / from exec /bin/sh -c pip install",
                "11:01",
            ),
            record("theirs", "other", RESULT, "fileop target", "11:01"),
            record("source", "", "source.local", "local source for context", "11:00"),
        ];
        assert_eq!(found(&records), ["copy", "kept", "last", "make", "run"]);
    }

    #[test]
    fn what_could_be_anothers_is_nobodys() {
        let records = [
            record("one", "base", RESULT, NPM, "11:01"),
            record("two", "base", RESULT, NPM, "11:02"),
            record("kept", "", MOUNT, KEPT, "11:01"),
            record("theirs", "", MOUNT, KEPT, "11:02"),
        ];
        assert!(found(&records).is_empty());
        // The next build tells them apart.
        assert_eq!(found(&records[..1]), ["one"]);
        assert_eq!(found(&records[2..3]), ["kept"]);
    }

    #[test]
    fn the_ledger_outlives_the_process_and_forgets_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        let records = [record("run", "", RESULT, NPM, "11:02")];
        Ledger::open(&path).note(&records, &built()).unwrap();
        let mut again = Ledger::open(&path);
        assert!(again.known.contains_key("run"));
        again.note(&[], &built()).unwrap();
        assert!(Ledger::open(&path).known.is_empty());
        fs::write(&path, "{").unwrap();
        assert!(Ledger::open(&path).known.is_empty());
    }
}
