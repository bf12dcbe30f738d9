//! What the fake answers.

use std::collections::BTreeMap;

use nonna_api::{DeploymentAnswer, EnvironmentAnswer, ReplicaAnswer, ServiceAnswer};
use nonna_engine::event::{Event, EventKind, Outcome};
use nonna_engine::{Code, Error};
use nonna_model::manifest::Manifest;
use nonna_model::plan::{
    Action, Change, CurrentRelease, Plan, PlannedService, ResourceKind, Scope, Step, StepKind,
};
use nonna_model::release::{Release, ReleaseNumber, ReleaseState};
use nonna_model::service::Source;
use nonna_model::{DeploymentId, Name, ServiceId};

pub(crate) const DEPLOYMENT: &str = "dep-aaaaaaaaaaaaaaaa";
pub(crate) const AT: i64 = 1_700_000_000_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn service_id() -> ServiceId {
    "svc-aaaaaaaaaaaaaaaa".parse().unwrap()
}

fn release(number: u32) -> Release {
    let declared = Manifest::default().resolve(&name("production")).remove(0);
    Release {
        service: service_id(),
        number: ReleaseNumber(number),
        spec: declared.spec(
            Source::Image {
                reference: "shop:2".to_owned(),
            },
            &BTreeMap::new(),
            BTreeMap::new(),
        ),
        image: None,
        state: ReleaseState::Succeeded,
        created_at: AT,
        reason: "deploy".to_owned(),
    }
}

/// A plan that replaces v2 by v3; without steps where there is nothing to do.
pub(crate) fn plan(empty: bool) -> Plan {
    let service = service_id();
    let steps = [
        StepKind::Build {
            service: service.clone(),
            also: Vec::new(),
            no_cache: false,
        },
        StepKind::StartReplicas {
            service: service.clone(),
        },
        StepKind::SwitchRoutes {
            service: service.clone(),
        },
        StepKind::Commit,
    ];
    let change = |action, resource, what: &str, why: &[&str]| Change {
        action,
        resource,
        name: what.to_owned(),
        reasons: why.iter().map(|why| (*why).to_owned()).collect(),
    };
    Plan {
        scope: Scope {
            organization: "org-aaaaaaaaaaaaaaaa".parse().unwrap(),
            project: "prj-aaaaaaaaaaaaaaaa".parse().unwrap(),
            project_name: name("shop"),
            environment: "env-aaaaaaaaaaaaaaaa".parse().unwrap(),
            environment_name: name("production"),
        },
        changes: if empty {
            Vec::new()
        } else {
            vec![
                change(
                    Action::Replace,
                    ResourceKind::Service,
                    "web",
                    &["the source changed"],
                ),
                change(
                    Action::Create,
                    ResourceKind::Volume,
                    "web/data",
                    &["\u{1b}[31mnew in the manifest"],
                ),
                change(Action::Keep, ResourceKind::Network, "production", &[]),
                change(Action::Destroy, ResourceKind::Route, "old.example.org", &[]),
            ]
        },
        steps: if empty {
            Vec::new()
        } else {
            (1..)
                .zip(steps)
                .map(|(id, kind)| Step {
                    id,
                    kind,
                    after: Vec::new(),
                })
                .collect()
        },
        services: BTreeMap::from([(
            service,
            PlannedService {
                name: name("web"),
                release: Some(release(if empty { 2 } else { 3 })),
                new_release: !empty,
                previous: Some(CurrentRelease {
                    release: release(2),
                    replicas: 1,
                    paused: false,
                }),
                running: 1,
                replicas: 1,
                paused: false,
            },
        )]),
        remove_environment: false,
    }
}

pub(crate) fn urls() -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([("web".to_owned(), vec!["https://shop.localhost".to_owned()])])
}

pub(crate) fn deployment(kind: &str, empty: bool, state: &str) -> DeploymentAnswer {
    DeploymentAnswer {
        id: DEPLOYMENT.to_owned(),
        kind: kind.to_owned(),
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        state: state.to_owned(),
        created_at: AT,
        finished_at: None,
        outcome: None,
        plan: plan(empty),
        urls: urls(),
    }
}

fn event(after: i64, kind: EventKind) -> Event {
    Event {
        deployment: DEPLOYMENT.parse::<DeploymentId>().unwrap(),
        at: AT + after,
        kind,
    }
}

fn step_started(step: u32) -> EventKind {
    let kind = plan(false).steps[step as usize - 1].kind.clone();
    let service = kind.service().map(|_| name("web"));
    EventKind::StepStarted { step, kind, service }
}

fn beginning() -> Vec<Event> {
    vec![
        event(0, EventKind::Started { resumed: false }),
        event(1, step_started(1)),
        event(
            2,
            EventKind::BuildOutput {
                step: 1,
                line: "\u{1b}]0;title\u{7}STEP 1/2: FROM base".to_owned(),
            },
        ),
        event(
            1200,
            EventKind::StepFinished {
                step: 1,
                millis: 1199,
            },
        ),
        event(1201, step_started(2)),
    ]
}

pub(crate) fn good_events() -> Vec<Event> {
    let mut events = beginning();
    events.extend([
        event(
            1300,
            EventKind::ReplicaStarted {
                step: 2,
                release: ReleaseNumber(3),
                index: 0,
            },
        ),
        event(
            1400,
            EventKind::ReplicaHealthy {
                step: 2,
                release: ReleaseNumber(3),
                index: 0,
                answer: "GET / → 200 OK in 3 ms".to_owned(),
            },
        ),
        event(1401, EventKind::StepFinished { step: 2, millis: 200 }),
        event(
            1402,
            EventKind::RoutesSwitched {
                step: 3,
                micros: 80,
                urls: vec!["https://shop.localhost".to_owned()],
            },
        ),
        event(
            1500,
            EventKind::Finished {
                outcome: Outcome::Succeeded,
            },
        ),
    ]);
    events
}

pub(crate) fn bad_events() -> Vec<Event> {
    let error = Error::user(
        Code::WrongPort,
        "web v3 listens on port 3000, but was told to listen on 8080.",
    )
    .detail("\u{1b}[32mlistening on 3000\u{1b}[0m")
    .hint("Listen on $PORT, or write `port = 3000` under [services.web].");
    let mut events = beginning();
    events.extend([
        event(
            1300,
            EventKind::StepFailed {
                step: 2,
                error: error.clone(),
            },
        ),
        event(1301, EventKind::UndoStarted),
        event(1302, EventKind::StepUndone { step: 2 }),
        event(
            1400,
            EventKind::Finished {
                outcome: Outcome::RolledBack { error },
            },
        ),
    ]);
    events
}

/// What happens before and after a cancellation.
pub(crate) fn cancelled_events() -> (Vec<Event>, Vec<Event>) {
    let after = vec![
        event(1300, EventKind::UndoStarted),
        event(1301, EventKind::StepUndone { step: 2 }),
        event(
            1400,
            EventKind::Finished {
                outcome: Outcome::RolledBack {
                    error: Error::cancelled(),
                },
            },
        ),
    ];
    (beginning(), after)
}

pub(crate) fn environment() -> EnvironmentAnswer {
    EnvironmentAnswer {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        services: vec![ServiceAnswer {
            name: "web".to_owned(),
            id: "svc-aaaaaaaaaaaaaaaa".to_owned(),
            release: Some("v2".to_owned()),
            source: "Dockerfile".to_owned(),
            replicas: 2,
            paused: false,
            state: "degraded".to_owned(),
            urls: vec!["https://shop.localhost".to_owned()],
            running: vec![
                ReplicaAnswer {
                    release: "v2".to_owned(),
                    index: 0,
                    state: "running".to_owned(),
                    started_at: Some(AT),
                    restarts: 0,
                    memory: Some(12_300_000),
                    memory_limit: Some(512_000_000),
                    cpu_micros: Some(4_200_000),
                },
                ReplicaAnswer {
                    release: "v2".to_owned(),
                    index: 1,
                    state: "killed: \u{1b}[5mout of memory".to_owned(),
                    started_at: None,
                    restarts: 3,
                    memory: None,
                    memory_limit: None,
                    cpu_micros: None,
                },
            ],
            volumes: vec!["data".to_owned()],
        }],
        deployment: None,
    }
}
