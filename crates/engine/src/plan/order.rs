//! In which order the steps before the switch come: what waits for what, and
//! the numbers that follow from it.

use nonna_model::plan::{Job, StepKind};
use nonna_model::service::Source;
use nonna_model::{Name, ServiceId};

/// A step that has no number yet: what it does, and the drafts it waits for.
pub(super) struct Draft {
    pub(super) kind: StepKind,
    pub(super) after: Vec<usize>,
}

/// What is known of a service for the order of its steps.
pub(super) struct Member {
    pub(super) id: ServiceId,
    pub(super) name: Name,
    pub(super) source: Source,
    /// The services that it waits for.
    pub(super) after: Vec<Name>,
}

/// The drafts, and the services that they are about.
pub(super) struct Order<'a> {
    pub(super) drafts: &'a mut Vec<Draft>,
    pub(super) members: &'a [Member],
}

impl Order<'_> {
    /// Adds what services and their commands wait for. Nothing is added that
    /// would make a circle: what was said explicitly comes first, what only
    /// follows from a rule gives way.
    pub(super) fn link(&mut self) {
        for member in self.members {
            for name in &member.after {
                for start in self.of(|m| m.name == *name, is_start) {
                    for mine in self.of(|m| m.id == member.id, |kind| is_start(kind) || is_stop(kind)) {
                        self.wait(mine, start);
                    }
                }
            }
        }
        let jobs: Vec<(usize, &Member)> = self
            .members
            .iter()
            .flat_map(|member| {
                self.of(|m| m.id == member.id, is_release)
                    .into_iter()
                    .map(move |job| (job, member))
            })
            .collect();
        for (job, owner) in &jobs {
            // Nothing of this code starts, or stops, before its command ended well.
            let of_code = |m: &Member| m.id == owner.id || is_same_code(m, owner);
            for step in self.of(of_code, |kind| is_start(kind) || is_stop(kind)) {
                self.wait(step, *job);
            }
        }
        for (job, owner) in &jobs {
            for name in &owner.after {
                for start in self.of(|m| m.name == *name, is_start) {
                    self.wait(*job, start);
                }
            }
        }
        for (job, _) in &jobs {
            // Migrations want the database that is deployed beside them.
            let has_no_job = |m: &Member| !jobs.iter().any(|(_, o)| m.id == o.id || is_same_code(m, o));
            for start in self.of(has_no_job, is_start) {
                self.wait(*job, start);
            }
        }
        let first: Vec<usize> = self.of(|_| true, is_post_deploy);
        for job in first {
            for start in self.of(|_| true, is_start) {
                self.wait(job, start);
            }
        }
    }

    /// The drafts of these services and kinds.
    fn of(&self, wanted: impl Fn(&Member) -> bool, kind: impl Fn(&StepKind) -> bool) -> Vec<usize> {
        let is_wanted = |draft: &Draft| {
            kind(&draft.kind)
                && draft
                    .kind
                    .service()
                    .is_some_and(|id| self.members.iter().any(|m| m.id == *id && wanted(m)))
        };
        (0..self.drafts.len())
            .filter(|at| self.drafts.get(*at).is_some_and(is_wanted))
            .collect()
    }

    /// Lets a draft wait for another, unless that waits for it in turn.
    fn wait(&mut self, draft: usize, other: usize) {
        let mut reached = vec![other];
        let mut at = 0;
        while let Some(next) = reached.get(at).copied() {
            if next == draft {
                return;
            }
            at += 1;
            for further in self
                .drafts
                .get(next)
                .map(|d| d.after.as_slice())
                .unwrap_or_default()
            {
                if !reached.contains(further) {
                    reached.push(*further);
                }
            }
        }
        if let Some(draft) = self.drafts.get_mut(draft)
            && !draft.after.contains(&other)
        {
            draft.after.push(other);
        }
    }

    /// The drafts in an order in which each comes behind what it waits for,
    /// and else as they were made.
    pub(super) fn sorted(&self) -> Vec<usize> {
        let mut out: Vec<usize> = Vec::with_capacity(self.drafts.len());
        while out.len() < self.drafts.len() {
            let next = (0..self.drafts.len()).find(|at| {
                !out.contains(at)
                    && self
                        .drafts
                        .get(*at)
                        .is_some_and(|draft| draft.after.iter().all(|other| out.contains(other)))
            });
            // There is no circle: `wait` makes none.
            let Some(next) = next else { break };
            out.push(next);
        }
        out
    }
}

/// Whether two services are the same code, built in the same way.
pub(super) fn is_same_code(a: &Member, b: &Member) -> bool {
    matches!((&a.source, &b.source), (Source::Build(a), Source::Build(b)) if a == b)
}

fn is_start(kind: &StepKind) -> bool {
    matches!(kind, StepKind::StartReplicas { .. })
}

fn is_stop(kind: &StepKind) -> bool {
    matches!(kind, StepKind::StopReplicas { .. })
}

fn is_release(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::RunJob {
            job: Job::Release,
            ..
        }
    )
}

fn is_post_deploy(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::RunJob {
            job: Job::PostDeploy,
            ..
        }
    )
}
