//! The planner, on generated worlds: whatever is desired and whatever is
//! there, carrying the plan out leads there, and then nothing is left to do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::{BTreeMap, BTreeSet};

use nonna_engine::plan::plan;
use nonna_model::observed::{Observed, ObservedReplica, ObservedVolume, ReplicaState};
use nonna_model::plan::{
    Action, CurrentRelease, DesiredEnvironment, DesiredService, Job, Plan, Scope, StepId, StepKind, Target,
};
use nonna_model::release::{Release, ReleaseState};
use nonna_model::service::{BuildSource, JobSpec, Source, Strategy as RollOut, VolumeMount};
use nonna_model::{EnvironmentId, Name, OrganizationId, ProjectId, ReleaseNumber, ServiceId, ServiceSpec};
use proptest::prelude::*;

fn scope() -> Scope {
    Scope {
        organization: "org-aaaaaaaaaaaaaaaa".parse::<OrganizationId>().unwrap(),
        project: "prj-aaaaaaaaaaaaaaaa".parse::<ProjectId>().unwrap(),
        project_name: "shop".parse().unwrap(),
        environment: "env-aaaaaaaaaaaaaaaa".parse::<EnvironmentId>().unwrap(),
        environment_name: "production".parse().unwrap(),
    }
}

fn service_id(index: usize) -> ServiceId {
    let letter = char::from(b'a' + u8::try_from(index).unwrap());
    format!("svc-{}", letter.to_string().repeat(16)).parse().unwrap()
}

fn name(index: usize) -> Name {
    format!("service-{index}").parse().unwrap()
}

fn job() -> JobSpec {
    JobSpec {
        command: vec!["migrate".into()],
        timeout_ms: 1000,
    }
}

fn spec() -> impl Strategy<Value = ServiceSpec> {
    (
        0..3_u8,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(content, built, volume, recreate, port, (release, post_deploy))| {
                let mut spec = ServiceSpec::new(if built {
                    Source::Build(BuildSource {
                        context: format!("sha256:{content:064}"),
                        dockerfile: None,
                        target: None,
                        arguments: BTreeMap::new(),
                        timeout_ms: None,
                        overrides: Box::default(),
                        secrets: Vec::new(),
                    })
                } else {
                    Source::Image {
                        reference: format!("image:{content}"),
                    }
                });
                if volume {
                    spec.volumes.push(VolumeMount {
                        name: "data".parse().unwrap(),
                        path: "/data".into(),
                    });
                }
                if recreate {
                    spec.strategy = RollOut::Recreate;
                }
                if !port {
                    spec.port = None;
                }
                spec.release = release.then(job);
                spec.post_deploy = post_deploy.then(job);
                spec
            },
        )
}

fn state() -> impl Strategy<Value = ReplicaState> {
    prop_oneof![
        4 => Just(ReplicaState::Running),
        1 => Just(ReplicaState::Created),
        1 => Just(ReplicaState::Restarting),
        1 => Just(ReplicaState::Exited { code: 1, out_of_memory: false }),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => (spec(), 0..4_u32, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(spec, replicas, paused, force, anew)| {
            let no_cache = anew && matches!(spec.source, Source::Build(_));
            Target::Run { spec, image: None, replicas, paused, force, jobs: true, no_cache, rebuild: None, reason: "deploy".into() }
        }),
        1 => Just(Target::Remove { volumes: vec!["data".parse().unwrap()] }),
    ]
}

fn service(index: usize) -> impl Strategy<Value = (DesiredService, Vec<ObservedReplica>)> {
    let current = proptest::option::of((spec(), 0..4_u32, any::<bool>()));
    // Circles too: a manifest has none, but a plan must bear them.
    let after = proptest::collection::vec(0..3_usize, 0..3);
    let replicas = proptest::collection::btree_map((1..5_u32, 0..4_u32), state(), 0..5);
    (current, target(), replicas, after).prop_map(move |(current, target, replicas, after)| {
        let id = service_id(index);
        let current = current.map(|(spec, replicas, paused)| CurrentRelease {
            release: Release {
                service: id.clone(),
                number: ReleaseNumber(4),
                spec,
                image: Some("sha256:old".into()),
                state: ReleaseState::Succeeded,
                created_at: 1,
                reason: "deploy".into(),
            },
            replicas,
            paused,
        });
        let replicas = replicas
            .into_iter()
            .map(|((release, at), state)| replica(&id, ReleaseNumber(release), at, state))
            .collect();
        (
            DesiredService {
                id,
                name: name(index),
                current,
                next_release: ReleaseNumber(5),
                after: after.into_iter().map(name).collect(),
                target,
            },
            replicas,
        )
    })
}

fn replica(service: &ServiceId, release: ReleaseNumber, index: u32, state: ReplicaState) -> ObservedReplica {
    ObservedReplica {
        id: format!("{service}-{release}-{index}"),
        service: service.clone(),
        release,
        index,
        state,
        address: Some("10.0.0.1:8080".parse().unwrap()),
        started_at: None,
        restarts: 0,
    }
}

prop_compose! {
    fn world()(
        services in (service(0), service(1), service(2)),
        count in 1..4_usize,
        network in any::<bool>(),
        volume in any::<bool>(),
        remove in any::<bool>(),
    ) -> (DesiredEnvironment, Observed) {
        let mut observed = Observed::nothing(scope().environment);
        observed.network = network;
        let mut desired = DesiredEnvironment { scope: scope(), services: Vec::new(), remove: false };
        for (mut service, replicas) in [services.0, services.1, services.2].into_iter().take(count) {
            if volume {
                observed.volumes.push(ObservedVolume { service: service.id.clone(), name: "data".parse().unwrap() });
            }
            observed.replicas.extend(replicas);
            if remove {
                service.target = Target::Remove { volumes: vec!["data".parse().unwrap()] };
            }
            desired.services.push(service);
        }
        desired.remove = remove;
        (desired, observed)
    }
}

/// Carries a plan out on plain values, as a runtime without failures would.
fn carry_out(plan: &Plan, desired: &mut DesiredEnvironment, observed: &mut Observed) {
    let mut images = BTreeMap::new();
    for step in &plan.steps {
        match &step.kind {
            StepKind::EnsureNetwork => observed.network = true,
            StepKind::RemoveNetwork => observed.network = false,
            StepKind::EnsureVolume { service, volume } => {
                observed.volumes.push(ObservedVolume {
                    service: service.clone(),
                    name: volume.clone(),
                });
            }
            StepKind::RemoveVolume { service, volume } => {
                observed
                    .volumes
                    .retain(|v| v.service != *service || v.name != *volume);
            }
            StepKind::Build { service, also, .. } => {
                for built in std::iter::once(service).chain(also) {
                    images.insert(built.clone(), "sha256:new".to_owned());
                }
            }
            StepKind::Pull { service } => {
                images.insert(service.clone(), "sha256:new".to_owned());
            }
            StepKind::Push { service } => {
                // Only what has an image can be pushed.
                let planned = plan.services[service].release.as_ref().unwrap();
                assert!(images.contains_key(service) || planned.image.is_some());
            }
            StepKind::StopReplicas { service, release } => {
                for replica in &mut observed.replicas {
                    if replica.service == *service && replica.release == *release {
                        replica.state = ReplicaState::Exited {
                            code: 0,
                            out_of_memory: false,
                        };
                    }
                }
            }
            StepKind::StartReplicas { service } => {
                let planned = &plan.services[service];
                let number = planned.release.as_ref().unwrap().number;
                assert!(observed.network, "replicas need their network");
                for volume in &planned.release.as_ref().unwrap().spec.volumes {
                    assert!(
                        observed
                            .volumes
                            .iter()
                            .any(|v| v.service == *service && v.name == volume.name),
                        "replicas need their volumes"
                    );
                }
                for index in 0..planned.running {
                    observed
                        .replicas
                        .retain(|r| (&r.service, r.release, r.index) != (service, number, index));
                    observed
                        .replicas
                        .push(replica(service, number, index, ReplicaState::Running));
                }
            }
            StepKind::RetireReplicas { service } => {
                let planned = &plan.services[service];
                let kept = planned.release.as_ref().map(|r| r.number);
                observed.replicas.retain(|r| {
                    r.service != *service || (Some(r.release) == kept && r.index < planned.running)
                });
            }
            StepKind::RunJob { service, job } => {
                let planned = &plan.services[service];
                assert!(planned.new_release && observed.network);
                assert!(job.of(&planned.release.as_ref().unwrap().spec).is_some());
            }
            StepKind::SwitchRoutes { .. } | StepKind::RemoveRoutes { .. } => {}
            StepKind::Commit => {
                for service in &mut desired.services {
                    let Some(planned) = plan.services.get(&service.id) else {
                        continue;
                    };
                    service.current = planned.release.clone().map(|mut release| {
                        release.image = release.image.or_else(|| images.get(&service.id).cloned());
                        CurrentRelease {
                            release,
                            replicas: planned.replicas,
                            paused: planned.paused,
                        }
                    });
                    if planned.new_release {
                        service.next_release = ReleaseNumber(service.next_release.0 + 1);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_same_inputs_give_the_same_plan((desired, observed) in world()) {
        prop_assert_eq!(plan(&desired, &observed).digest(), plan(&desired, &observed).digest());
    }

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do((mut desired, mut observed) in world()) {
        let first = plan(&desired, &observed);
        carry_out(&first, &mut desired, &mut observed);
        // What is gone cannot be asked for again, and a forced release is made once.
        desired.services.retain(|s| matches!(s.target, Target::Run { .. }));
        for service in &mut desired.services {
            if let Target::Run { force, no_cache, .. } = &mut service.target {
                *force = false;
                *no_cache = false;
            }
        }
        if first.remove_environment {
            prop_assert!(!observed.network);
            prop_assert!(observed.replicas.is_empty());
            prop_assert!(observed.volumes.is_empty());
        } else {
            let second = plan(&desired, &observed);
            prop_assert!(second.is_empty(), "left to do: {:#?}", second.changes);
        }
    }

    #[test]
    fn what_is_to_be_built_anew_is_built((desired, observed) in world()) {
        let plan = plan(&desired, &observed);
        for service in &desired.services {
            if matches!(service.target, Target::Run { no_cache: true, .. }) {
                let built = plan.steps.iter().any(|step| match &step.kind {
                    StepKind::Build { service: of, also, no_cache } => {
                        *no_cache && (*of == service.id || also.contains(&service.id))
                    }
                    _ => false,
                });
                prop_assert!(built || desired.remove, "{} is not built", service.name);
            }
        }
    }

    #[test]
    fn steps_wait_only_for_earlier_ones_and_the_commit_parts_them((desired, observed) in world()) {
        let plan = plan(&desired, &observed);
        let mut seen = BTreeSet::new();
        for step in &plan.steps {
            prop_assert!(step.after.iter().all(|id| seen.contains(id)));
            seen.insert(step.id);
        }
        let commit = plan.steps.iter().position(|s| s.kind == StepKind::Commit);
        for (at, step) in plan.steps.iter().enumerate() {
            let destroys = matches!(
                step.kind,
                StepKind::RetireReplicas { .. } | StepKind::RemoveRoutes { .. }
                    | StepKind::RemoveVolume { .. } | StepKind::RemoveNetwork
            );
            if let Some(commit) = commit {
                prop_assert_eq!(destroys, at > commit, "{:?}", step.kind);
            }
        }
    }

    #[test]
    fn nothing_is_destroyed_that_was_not_to_be_removed((desired, observed) in world()) {
        let plan = plan(&desired, &observed);
        for step in &plan.steps {
            if let StepKind::RemoveVolume { service, .. } = &step.kind {
                let asked = desired.services.iter().any(|s| s.id == *service && matches!(s.target, Target::Remove { .. }));
                prop_assert!(asked);
            }
        }
        let volumes_go = plan.changes.iter().any(|c| {
            c.action == Action::Destroy && c.resource == nonna_model::plan::ResourceKind::Volume
        });
        let removes = desired.services.iter().any(|s| matches!(s.target, Target::Remove { .. }));
        prop_assert!(removes || !volumes_go);
    }
}

/// An app of two process types with a release command, and a database that
/// the worker wants.
fn crew(jobs: bool) -> DesiredEnvironment {
    let build = Source::Build(BuildSource {
        context: format!("sha256:{:064}", 1),
        dockerfile: None,
        target: None,
        arguments: BTreeMap::new(),
        timeout_ms: None,
        overrides: Box::default(),
        secrets: Vec::new(),
    });
    let mut web = ServiceSpec::new(build.clone());
    web.release = Some(job());
    web.post_deploy = Some(job());
    let mut worker = ServiceSpec::new(build);
    worker.port = None;
    worker.command = Some(vec!["work".into()]);
    let db = ServiceSpec::new(Source::Image {
        reference: "db".into(),
    });
    let service = |index: usize, spec: ServiceSpec, after: &[usize]| DesiredService {
        id: service_id(index),
        name: name(index),
        current: None,
        next_release: ReleaseNumber(1),
        after: after.iter().map(|index| name(*index)).collect(),
        target: Target::Run {
            spec,
            image: None,
            replicas: 1,
            paused: false,
            force: false,
            no_cache: false,
            rebuild: None,
            jobs,
            reason: "deploy".into(),
        },
    };
    DesiredEnvironment {
        scope: scope(),
        // The worker comes first: the build is told the port of the other.
        services: vec![
            service(0, worker, &[2]),
            service(1, web, &[]),
            service(2, db, &[]),
        ],
        remove: false,
    }
}

/// Whether a step waits for another, however many stand between them.
fn waits(plan: &Plan, step: StepId, other: StepId) -> bool {
    let after = &plan.steps.iter().find(|s| s.id == step).unwrap().after;
    after.iter().any(|id| *id == other || waits(plan, *id, other))
}

#[test]
fn process_types_are_built_once_and_start_behind_the_release_command() {
    let plan = plan(&crew(true), &Observed::nothing(scope().environment));
    let find = |wanted: &dyn Fn(&StepKind) -> bool| -> Vec<StepId> {
        let found = plan.steps.iter().filter(|step| wanted(&step.kind));
        found.map(|step| step.id).collect()
    };
    let builds = find(&|kind| {
        matches!(kind, StepKind::Build { service, also, .. }
            if *service == service_id(1) && *also == [service_id(0)])
    });
    assert_eq!(builds.len(), 1, "{:#?}", plan.steps);
    assert_eq!(find(&|kind| matches!(kind, StepKind::Build { .. })).len(), 1);
    let job = |job: Job| find(&|kind| matches!(kind, StepKind::RunJob { job: j, .. } if *j == job))[0];
    let start = |index: usize| {
        find(&|kind| matches!(kind, StepKind::StartReplicas { service } if *service == service_id(index)))[0]
    };
    let release = job(Job::Release);
    assert!(waits(&plan, release, builds[0]) && waits(&plan, release, start(2)));
    assert!(waits(&plan, start(0), release) && waits(&plan, start(1), release));
    assert!(waits(&plan, start(0), start(2)) && !waits(&plan, start(2), release));
    for index in 0..3 {
        assert!(waits(&plan, job(Job::PostDeploy), start(index)));
    }
    assert!(plan.changes.iter().any(|change| change.action == Action::Run));
}

#[test]
fn a_rollback_runs_no_command() {
    let plan = plan(&crew(false), &Observed::nothing(scope().environment));
    assert!(
        !plan
            .steps
            .iter()
            .any(|s| matches!(s.kind, StepKind::RunJob { .. }))
    );
}
