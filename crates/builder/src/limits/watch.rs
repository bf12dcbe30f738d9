//! A look at a running build, twice a second: does it fork without end, does
//! it write without end?

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nonna_engine::{Code, Error};
use nonna_model::units::Bytes;

use super::{ControlGroups, Held};

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(500);
/// How many looks in a row must find it at its limit.
const LOOKS: u32 = 6;
/// Whose share of the limit makes it the one that forks.
const MOST_OF_IT: u64 = 2;
/// How many of a step's processes are asked for their command.
const ASKED: usize = 32;
/// What is always left free on the engine's disk, at most: whatever serves
/// must be able to write.
const RESERVE: u64 = 1_000_000_000;
/// The same as a part of the disk: one in so many.
const RESERVE_PART: u64 = 50;

/// The watch over one build.
pub(crate) struct Watch {
    groups: Option<ControlGroups>,
    /// The commands of its steps, bare.
    commands: Vec<String>,
    disk: Option<PathBuf>,
    free_at_first: Option<u64>,
    at_limit: u32,
    killed: bool,
    ticks: tokio::time::Interval,
}

impl Watch {
    /// Over a build with these commands, whose layers are written to `disk`.
    pub(crate) fn new(groups: Option<ControlGroups>, commands: &[String], disk: Option<PathBuf>) -> Self {
        if let Some(groups) = &groups
            && let Held::No(why) = groups.apply()
        {
            tracing::debug!(%why, "builds run without limits");
        }
        let mut this = Self {
            groups,
            commands: commands.iter().map(|command| bare(command)).collect(),
            disk,
            free_at_first: None,
            at_limit: 0,
            killed: false,
            ticks: tokio::time::interval(EVERY),
        };
        // Looks in quick succession would see the same thing.
        this.ticks
            .set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        this.free_at_first = this.space().map(|(free, _)| free);
        this
    }

    /// Comes back when the build must be stopped, and says why. Dropped and
    /// called again, it goes on.
    pub(crate) async fn until_wrong(&mut self) -> Error {
        loop {
            self.ticks.tick().await;
            if let Some(error) = self.look() {
                return error;
            }
        }
    }

    /// Whether a step was killed for want of memory.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed
    }

    fn look(&mut self) -> Option<Error> {
        if let Some(groups) = self.groups.take() {
            let wrong = self.look_at_steps(&groups);
            self.groups = Some(groups);
            if wrong.is_some() {
                return wrong;
            }
        }
        self.look_at_disk()
    }

    fn look_at_steps(&mut self, groups: &ControlGroups) -> Option<Error> {
        if groups.must_follow() {
            let _ = groups.apply();
        }
        let steps = groups.steps();
        self.killed |= steps.iter().any(|step| step.killed() > 0 && self.is_ours(step));
        let limit = groups.processes()?;
        let all: u64 = steps.iter().map(super::groups::Step::count).sum();
        // One below: what forks without end is seen between two forks too.
        if all + 1 < limit {
            self.at_limit = 0;
            return None;
        }
        let forks = steps
            .iter()
            .any(|step| step.count() * MOST_OF_IT >= limit && self.is_ours(step));
        if !forks {
            return None;
        }
        self.at_limit += 1;
        (self.at_limit >= LOOKS).then(|| {
            Error::user(
                Code::BuildLimit,
                format!("The build has {limit} processes, as many as builds may have, and starts ever more: it was stopped."),
            )
            .hint("See its last lines for a step that starts processes without end. If it needs so many, raise the server's setting `build.processes`.")
        })
    }

    /// Whether one of the step's processes is a command of this build.
    fn is_ours(&self, step: &super::groups::Step) -> bool {
        step.processes(ASKED).into_iter().any(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = bare(&String::from_utf8_lossy(&line));
            !line.is_empty()
                && self
                    .commands
                    .iter()
                    .any(|command| !command.is_empty() && line.ends_with(command.as_str()))
        })
    }

    fn space(&self) -> Option<(u64, u64)> {
        let stat = rustix::fs::statvfs(self.disk.as_ref()?).ok()?;
        Some((
            stat.f_bavail.saturating_mul(stat.f_frsize),
            stat.f_blocks.saturating_mul(stat.f_frsize),
        ))
    }

    fn look_at_disk(&self) -> Option<Error> {
        let (free, total) = self.space()?;
        let written = self.free_at_first?.saturating_sub(free);
        let reserve = RESERVE.min(total / RESERVE_PART);
        if free < reserve && written > 0 {
            return Some(
                Error::provider(
                    Code::DiskFull,
                    format!(
                        "The build left only {} free on the container engine's disk and was stopped.",
                        Bytes(free)
                    ),
                )
                .hint("If a step writes without end, mend it. Else free some room: `nonna gc`.")
                .said(format!("{} were written while it ran", Bytes(written)))
                .retry(),
            );
        }
        let limit = self.groups.as_ref().and_then(ControlGroups::disk)?;
        (written > limit).then(|| {
            Error::user(
                Code::BuildLimit,
                format!(
                    "While the build ran {} were written to the container engine's disk, more than a build may write: it was stopped.",
                    Bytes(written)
                ),
            )
            .hint("See its last lines for a step that writes without end. If it needs so much, raise the server's setting `build.disk`.")
        })
    }
}

fn bare(command: &str) -> String {
    command.chars().filter(|c| c.is_alphanumeric()).collect()
}
