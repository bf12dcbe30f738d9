//! The planner: what should be and what is in, a plan out. Pure: the same
//! inputs give the same plan, which is what `nonna plan` prints.

mod order;
mod reasons;

use std::collections::BTreeMap;

use nonna_model::observed::{Observed, ObservedReplica, ReplicaState};
use nonna_model::plan::{
    Action, Change, DesiredEnvironment, DesiredService, Job, Plan, PlannedService, ResourceKind, Step,
    StepId, StepKind, Target,
};
use nonna_model::release::{Release, ReleaseState};
use nonna_model::service::{RestartPolicy, Source, Strategy};
use nonna_model::{Name, ReleaseNumber, ServiceId, ServiceSpec};

use self::order::{Draft, Member, Order};

/// Plans the way from what is observed to what is desired.
///
/// The steps of every service that precede the commit come first, then all
/// routes switch, then one commit makes every target current, and only then
/// are old replicas retired and removed things destroyed: an environment is
/// never left half old and half new.
#[must_use]
pub fn plan(desired: &DesiredEnvironment, observed: &Observed) -> Plan {
    let mut planner = Planner::default();
    for service in &desired.services {
        match &service.target {
            Target::Run { .. } => planner.run(service, observed),
            Target::Remove { volumes } => planner.remove(service, volumes, observed),
        }
    }
    planner.finish(desired, observed)
}

#[derive(Default)]
struct Planner {
    changes: Vec<Change>,
    services: BTreeMap<ServiceId, PlannedService>,
    /// Before the routes switch.
    before: Vec<Draft>,
    /// The services that have drafts.
    members: Vec<Member>,
    switches: Vec<StepKind>,
    /// After the commit: groups whose steps follow each other.
    afterwards: Vec<Vec<StepKind>>,
    needs_network: bool,
    needs_commit: bool,
}

/// How the replicas that are there differ from the ones that should be.
struct Difference {
    missing: u32,
    surplus: Vec<ReleaseNumber>,
}

fn counts_as_running(replica: &ObservedReplica, restart: RestartPolicy) -> bool {
    match &replica.state {
        ReplicaState::Running => true,
        // Ended as its policy allows: nothing to repair.
        ReplicaState::Exited { code, out_of_memory } => match restart {
            RestartPolicy::Never => true,
            RestartPolicy::OnFailure => *code == 0 && !out_of_memory,
            RestartPolicy::Always => false,
        },
        ReplicaState::Created | ReplicaState::Restarting | ReplicaState::Other { .. } => false,
    }
}

fn difference(
    replicas: &[&ObservedReplica],
    number: ReleaseNumber,
    spec: &ServiceSpec,
    wanted: u32,
) -> Difference {
    let present = |index: u32| {
        replicas
            .iter()
            .any(|r| r.release == number && r.index == index && counts_as_running(r, spec.restart))
    };
    let missing = (0..wanted).filter(|index| !present(*index)).count();
    let mut surplus: Vec<_> = replicas
        .iter()
        .filter(|r| r.release != number || r.index >= wanted)
        .map(|r| r.release)
        .collect();
    surplus.dedup();
    Difference {
        missing: u32::try_from(missing).unwrap_or(u32::MAX),
        surplus,
    }
}

impl Planner {
    fn run(&mut self, service: &DesiredService, observed: &Observed) {
        let Target::Run {
            spec,
            image,
            replicas,
            paused,
            force,
            jobs,
            no_cache,
            rebuild,
            reason,
        } = &service.target
        else {
            return;
        };
        let current = service.current.as_ref();
        let running = if *paused { 0 } else { *replicas };

        let image_moved = matches!(
            (image, current.and_then(|c| c.release.image.as_ref())),
            (Some(new), Some(old)) if new != old
        );
        let mut why = match current {
            None => vec!["it was never deployed".to_owned()],
            Some(current) => reasons::of(&current.release.spec, spec),
        };
        if image_moved && why.is_empty() {
            why.push("the image behind its reference is another one now".to_owned());
        }
        if let Some(rebuild) = rebuild.as_ref().filter(|_| why.is_empty()) {
            why.push(rebuild.clone());
        }
        if *no_cache && why.is_empty() {
            why.push("it is to be built anew".to_owned());
        }
        if *force && why.is_empty() {
            why.push("a new release was asked for".to_owned());
        }

        // Every other cause has said its reason.
        let new_release = current.is_none() || *force || !why.is_empty();
        let release = match current {
            Some(current) if !new_release => current.release.clone(),
            _ => Release {
                service: service.id.clone(),
                number: service.next_release,
                spec: spec.clone(),
                image: image.clone().or_else(|| {
                    // The same source is the same image.
                    current
                        .filter(|c| !no_cache && rebuild.is_none() && c.release.spec.source == spec.source)
                        .and_then(|c| c.release.image.clone())
                }),
                state: ReleaseState::Pending,
                created_at: 0,
                reason: reason.clone(),
            },
        };

        let replicas_there = observed.replicas_of(&service.id);
        let diff = difference(&replicas_there, release.number, &release.spec, running);
        if let Some(current) = current {
            if !new_release && current.paused != *paused {
                why.push(
                    if *paused {
                        "it is to be paused"
                    } else {
                        "it is to be resumed"
                    }
                    .to_owned(),
                );
            } else if !new_release && current.replicas != *replicas {
                why.push(format!("replicas: {} → {replicas}", current.replicas));
            }
        }
        let resized = current.is_some_and(|c| c.paused != *paused || c.replicas != *replicas);
        let repair = !new_release && !resized && (diff.missing > 0 || !diff.surplus.is_empty());
        if repair && diff.missing > 0 {
            why.push(format!("{} of {running} replicas do not run", diff.missing));
        }
        if repair && !diff.surplus.is_empty() {
            why.push("replicas are left over from another deployment".to_owned());
        }

        let untouched = !new_release && !resized && !repair;
        let previous = service.current.clone();
        let had_port = previous.as_ref().is_some_and(|p| p.release.spec.port.is_some());
        let planned = PlannedService {
            name: service.name.clone(),
            release: Some(release.clone()),
            new_release,
            previous,
            running,
            replicas: *replicas,
            paused: *paused,
        };
        let missing_volumes: Vec<&Name> = release
            .spec
            .volumes
            .iter()
            .map(|v| &v.name)
            .filter(|name| {
                !observed
                    .volumes
                    .iter()
                    .any(|v| v.service == service.id && v.name == **name)
            })
            .collect();

        if untouched {
            self.changes.push(Change {
                action: Action::Keep,
                resource: ResourceKind::Service,
                name: service.name.to_string(),
                reasons: vec![format!("runs {} already", release.number)],
            });
            return;
        }
        self.changes.push(Change {
            action: match current {
                None => Action::Create,
                Some(_) if new_release => Action::Replace,
                Some(_) => Action::Change,
            },
            resource: ResourceKind::Service,
            name: service.name.to_string(),
            reasons: why,
        });
        self.route_changes(service, spec);
        self.needs_commit |= new_release || resized;
        self.services.insert(service.id.clone(), planned);

        let id = &service.id;
        self.members.push(Member {
            id: id.clone(),
            name: service.name.clone(),
            source: release.spec.source.clone(),
            after: service.after.clone(),
        });
        let mut waits = Vec::new();
        let starts = running > 0 && (new_release || diff.missing > 0);
        // Whatever was changed by hand in a paused service is left alone.
        let has_job = |job: Job| *jobs && new_release && !*paused && job.of(&release.spec).is_some();
        let runs_release = has_job(Job::Release);
        let runs_post_deploy = has_job(Job::PostDeploy) && current.is_none();
        if (starts || runs_release || runs_post_deploy) && !observed.network {
            self.needs_network = true;
        }
        for volume in missing_volumes {
            self.changes.push(Change {
                action: Action::Create,
                resource: ResourceKind::Volume,
                name: format!("{}/{volume}", service.name),
                reasons: vec!["it does not exist yet".to_owned()],
            });
            waits.push(self.before(
                StepKind::EnsureVolume {
                    service: id.clone(),
                    volume: volume.clone(),
                },
                vec![],
            ));
        }
        if release.image.is_none() {
            waits.push(match release.spec.source {
                Source::Build(_) => self.build(id, release.spec.port.is_some(), *no_cache),
                Source::Image { .. } => self.before(StepKind::Pull { service: id.clone() }, vec![]),
            });
        }
        let ready = waits.clone();
        if runs_release {
            self.job(id, Job::Release, &release, waits.clone());
        }
        if new_release && release.spec.push.is_some() {
            // Beside the start of the replicas, which do not wait for it; the
            // commit does.
            let built = waits.last().copied().filter(|_| release.image.is_none());
            self.before(
                StepKind::Push { service: id.clone() },
                built.into_iter().collect(),
            );
        }
        if starts {
            if release.spec.strategy == Strategy::Recreate && new_release {
                let mut stops = Vec::new();
                let mut olds: Vec<_> = replicas_there
                    .iter()
                    .filter(|r| r.release != release.number && r.state.is_running())
                    .map(|r| r.release)
                    .collect();
                olds.dedup();
                for old in olds {
                    let kind = StepKind::StopReplicas {
                        service: id.clone(),
                        release: old,
                    };
                    stops.push(self.before(kind, waits.clone()));
                }
                waits.extend(stops);
            }
            self.before(StepKind::StartReplicas { service: id.clone() }, waits);
        }
        if runs_post_deploy {
            self.job(id, Job::PostDeploy, &release, ready);
        }
        if release.spec.port.is_some() || had_port {
            self.switches.push(StepKind::SwitchRoutes { service: id.clone() });
        }
        // Even where nothing is left over now, the replicas of the previous
        // release will be.
        if !diff.surplus.is_empty() || (new_release && current.is_some()) || (resized && running == 0) {
            self.afterwards
                .push(vec![StepKind::RetireReplicas { service: id.clone() }]);
        }
    }

    fn route_changes(&mut self, service: &DesiredService, spec: &ServiceSpec) {
        let old = service
            .current
            .as_ref()
            .map(|c| c.release.spec.routes.as_slice())
            .unwrap_or_default();
        let name = |route: &nonna_model::service::RouteSpec| {
            if route.path == "/" {
                route.host.clone()
            } else {
                format!("{}{}", route.host, route.path)
            }
        };
        for route in spec.routes.iter().filter(|r| !old.contains(r)) {
            self.changes.push(Change {
                action: Action::Create,
                resource: ResourceKind::Route,
                name: name(route),
                reasons: vec![format!("leads to {}", service.name)],
            });
        }
        for route in old.iter().filter(|r| !spec.routes.contains(r)) {
            self.changes.push(Change {
                action: Action::Destroy,
                resource: ResourceKind::Route,
                name: name(route),
                reasons: vec![format!("no longer leads to {}", service.name)],
            });
        }
    }

    fn remove(&mut self, service: &DesiredService, volumes: &[Name], observed: &Observed) {
        let id = &service.id;
        self.changes.push(Change {
            action: Action::Destroy,
            resource: ResourceKind::Service,
            name: service.name.to_string(),
            reasons: vec!["it is to be removed".to_owned()],
        });
        let mut steps = vec![
            StepKind::RemoveRoutes { service: id.clone() },
            StepKind::RetireReplicas { service: id.clone() },
        ];
        let mut all: Vec<&Name> = volumes
            .iter()
            .chain(
                observed
                    .volumes
                    .iter()
                    .filter(|v| v.service == *id)
                    .map(|v| &v.name),
            )
            .collect();
        all.sort();
        all.dedup();
        for volume in all {
            self.changes.push(Change {
                action: Action::Destroy,
                resource: ResourceKind::Volume,
                name: format!("{}/{volume}", service.name),
                reasons: vec!["everything in it will be lost".to_owned()],
            });
            steps.push(StepKind::RemoveVolume {
                service: id.clone(),
                volume: volume.clone(),
            });
        }
        self.afterwards.push(steps);
        self.needs_commit = true;
        self.services.insert(
            id.clone(),
            PlannedService {
                name: service.name.clone(),
                release: None,
                new_release: false,
                previous: service.current.clone(),
                running: 0,
                replicas: 0,
                paused: false,
            },
        );
    }

    /// A build, or a part in that of the same source: several process types
    /// are one image.
    fn build(&mut self, id: &ServiceId, listens: bool, no_cache: bool) -> usize {
        let code = |service: &ServiceId| self.members.iter().find(|m| m.id == *service);
        let mine = code(id);
        let same = |owner: &ServiceId| matches!((mine, code(owner)), (Some(mine), Some(other)) if order::is_same_code(mine, other));
        let found = self
            .before
            .iter()
            .position(|draft| matches!(&draft.kind, StepKind::Build { service, .. } if same(service)));
        let Some(at) = found else {
            let kind = StepKind::Build {
                service: id.clone(),
                also: Vec::new(),
                no_cache,
            };
            return self.before(kind, vec![]);
        };
        let owner_listens = self
            .before
            .get(at)
            .and_then(|d| d.kind.service())
            .is_some_and(|owner| {
                self.services
                    .get(owner)
                    .and_then(|planned| planned.release.as_ref())
                    .is_some_and(|release| release.spec.port.is_some())
            });
        if let Some(Draft {
            kind:
                StepKind::Build {
                    service,
                    also,
                    no_cache: anew,
                },
            ..
        }) = self.before.get_mut(at)
        {
            *anew |= no_cache;
            // The build is told the port of the one that listens.
            if listens && !owner_listens {
                also.push(std::mem::replace(service, id.clone()));
            } else {
                also.push(id.clone());
            }
            also.sort();
        }
        at
    }

    fn job(&mut self, id: &ServiceId, job: Job, release: &Release, after: Vec<usize>) {
        let name = self.services.get(id).map(|planned| planned.name.to_string());
        if let Some(spec) = job.of(&release.spec) {
            self.changes.push(Change {
                action: Action::Run,
                resource: ResourceKind::Job,
                name: format!("{} of {}", job.title(), name.unwrap_or_default()),
                reasons: vec![spec.command.join(" ")],
            });
        }
        let service = id.clone();
        self.before(StepKind::RunJob { service, job }, after);
    }

    fn before(&mut self, kind: StepKind, after: Vec<usize>) -> usize {
        self.before.push(Draft { kind, after });
        self.before.len() - 1
    }

    /// Puts the drafts in order and numbers them from 1.
    fn finish(mut self, desired: &DesiredEnvironment, observed: &Observed) -> Plan {
        let mut steps: Vec<Step> = Vec::new();
        let mut add = |kind: StepKind, after: Vec<StepId>| {
            let id = StepId::try_from(steps.len() + 1).unwrap_or(StepId::MAX);
            steps.push(Step { id, kind, after });
            id
        };

        let network = if self.needs_network {
            self.changes.insert(
                0,
                Change {
                    action: Action::Create,
                    resource: ResourceKind::Network,
                    name: desired.scope.environment_name.to_string(),
                    reasons: vec!["the environment has no private network yet".to_owned()],
                },
            );
            Some(add(StepKind::EnsureNetwork, vec![]))
        } else {
            None
        };
        let mut order = Order {
            drafts: &mut self.before,
            members: &self.members,
        };
        order.link();
        let mut numbers: BTreeMap<usize, StepId> = BTreeMap::new();
        for at in order.sorted() {
            let Some(draft) = self.before.get(at) else {
                continue;
            };
            let mut after: Vec<StepId> = draft
                .after
                .iter()
                .filter_map(|i| numbers.get(i).copied())
                .collect();
            if matches!(
                draft.kind,
                StepKind::StartReplicas { .. } | StepKind::RunJob { .. }
            ) {
                after.extend(network);
            }
            numbers.insert(at, add(draft.kind.clone(), after));
        }
        let mut ready: Vec<StepId> = network.into_iter().chain(numbers.into_values()).collect();
        ready.sort_unstable();
        let switches: Vec<StepId> = self
            .switches
            .into_iter()
            .map(|kind| add(kind, ready.clone()))
            .collect();
        if !switches.is_empty() {
            ready = switches;
        }
        let committed = if self.needs_commit {
            vec![add(StepKind::Commit, ready)]
        } else {
            ready
        };
        let mut ends = Vec::new();
        for group in self.afterwards {
            let mut after = committed.clone();
            for kind in group {
                after = vec![add(kind, after)];
            }
            ends.extend(after);
        }
        if desired.remove {
            self.changes.push(Change {
                action: Action::Destroy,
                resource: ResourceKind::Environment,
                name: desired.scope.environment_name.to_string(),
                reasons: vec!["it is to be removed".to_owned()],
            });
            let mut after = if ends.is_empty() { committed } else { ends };
            if after.is_empty() {
                after = vec![add(StepKind::Commit, vec![])];
            }
            if observed.network {
                add(StepKind::RemoveNetwork, after);
            }
        }
        Plan {
            scope: desired.scope.clone(),
            changes: self.changes,
            steps,
            services: self.services,
            remove_environment: desired.remove,
        }
    }
}
