//! Every kind of deployment, with every call of the runtime failing in turn,
//! and with the process dying before and after every write to the journal: the
//! end is the planned state or the old one, nothing is left over, and requests
//! always had somewhere to go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use nonna_engine::apply::{BuildLimits, Engine};
use nonna_engine::event::{Discard, Outcome};
use nonna_engine::plan::plan;
use nonna_engine::ports::journal::{Entry, Journal};
use nonna_engine::ports::registry::NoPublisher;
use nonna_engine::ports::{Router, Runtime};
use nonna_engine::standalone::{MemoryJournal, NoBuilder};
use nonna_engine::{Code, Error, Result};
use nonna_model::observed::Observed;
use nonna_model::plan::{DesiredEnvironment, DesiredService, Job, Plan, Scope, StepId, Target};
use nonna_model::service::{JobSpec, RouteSpec, Source, Strategy, VolumeMount};
use nonna_model::{
    DeploymentId, EnvironmentId, OrganizationId, ProjectId, ReleaseNumber, ServiceId, ServiceSpec,
};
use nonna_testkit::router::FakeRouter;
use nonna_testkit::runtime::{Behaviour, FakeRuntime};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

/// A journal that ends the process (here: never returns) before or after its
/// `at`-th write. The `forward` journal lives on, as a file would.
struct Mortal {
    journal: Arc<MemoryJournal>,
    writes: AtomicUsize,
    dies_at: usize,
    after: bool,
    dead: Arc<tokio::sync::Notify>,
}

impl Mortal {
    async fn write<T>(&self, write: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let dies = self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.dies_at;
        if dies && !self.after {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
        let result = write.await;
        if dies {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
        result
    }
}

#[async_trait]
impl Journal for Mortal {
    async fn record(&self, deployment: &DeploymentId, entry: Entry) -> Result<()> {
        self.write(self.journal.record(deployment, entry)).await
    }

    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>> {
        self.journal.entries(deployment).await
    }

    async fn turn_back(&self, deployment: &DeploymentId, error: &Error) -> Result<()> {
        self.write(self.journal.turn_back(deployment, error)).await
    }

    async fn turned_back(&self, deployment: &DeploymentId) -> Result<Option<Error>> {
        self.journal.turned_back(deployment).await
    }

    async fn set_image(&self, deployment: &DeploymentId, service: &ServiceId, image: &str) -> Result<()> {
        self.write(self.journal.set_image(deployment, service, image))
            .await
    }

    async fn images(&self, deployment: &DeploymentId) -> Result<BTreeMap<ServiceId, String>> {
        self.journal.images(deployment).await
    }

    async fn keep_origin(&self, image: &str, reference: &str) -> Result<()> {
        self.journal.keep_origin(image, reference).await
    }

    async fn origin(&self, image: &str) -> Result<Option<String>> {
        self.journal.origin(image).await
    }

    async fn commit(&self, deployment: &DeploymentId, plan: &Plan, step: StepId) -> Result<()> {
        self.write(self.journal.commit(deployment, plan, step)).await
    }

    async fn finish(&self, deployment: &DeploymentId, plan: &Plan, outcome: &Outcome) -> Result<()> {
        self.write(self.journal.finish(deployment, plan, outcome)).await
    }

    async fn open_secrets(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>> {
        self.journal.open_secrets(service, versions).await
    }
}

/// An environment with two services on fakes.
struct World {
    runtime: FakeRuntime,
    router: FakeRouter,
    journal: Arc<MemoryJournal>,
    scope: Scope,
    services: [ServiceId; 2],
    next: u32,
}

/// What a deployment asks of both services.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Run this image in so many replicas.
    Run {
        image: &'static str,
        replicas: u32,
        strategy: Strategy,
        /// The command that runs before the release, and after the first one.
        job: Option<&'static str>,
    },
    Pause,
    Remove,
}

const fn run(image: &'static str, replicas: u32) -> Ask {
    Ask::Run {
        image,
        replicas,
        strategy: Strategy::Rolling,
        job: None,
    }
}

/// Runs with a release command and a post-deploy command.
const fn with_job(image: &'static str, job: &'static str) -> Ask {
    Ask::Run {
        image,
        replicas: 2,
        strategy: Strategy::Rolling,
        job: Some(job),
    }
}

const fn recreate(image: &'static str, replicas: u32) -> Ask {
    Ask::Run {
        image,
        replicas,
        strategy: Strategy::Recreate,
        job: None,
    }
}

impl World {
    fn new() -> Self {
        let runtime = FakeRuntime::new();
        runtime.add_image("v1", Behaviour::Healthy);
        runtime.add_image("v2", Behaviour::Healthy);
        runtime.add_image("broken", Behaviour::Exits(3));
        Self {
            runtime,
            router: FakeRouter::default(),
            journal: Arc::default(),
            scope: Scope {
                organization: OrganizationId::generate(),
                project: ProjectId::generate(),
                project_name: "shop".parse().unwrap(),
                environment: EnvironmentId::generate(),
                environment_name: "production".parse().unwrap(),
            },
            services: [ServiceId::generate(), ServiceId::generate()],
            next: 1,
        }
    }

    fn engine(&self, journal: Arc<dyn Journal>) -> Engine {
        Engine {
            runtime: Arc::new(self.runtime.clone()),
            builder: Arc::new(NoBuilder),
            publisher: Arc::new(NoPublisher),
            router: Arc::new(self.router.clone()),
            journal,
            limits: BuildLimits::default(),
        }
    }

    async fn observe(&self) -> Observed {
        self.runtime.observe(&self.scope.environment).await.unwrap()
    }

    async fn plan(&mut self, ask: Ask) -> Plan {
        let services = self.services.iter().enumerate().map(|(index, id)| {
            let current = self.journal.current(id);
            let target = match ask {
                Ask::Remove => Target::Remove {
                    volumes: vec!["data".parse().unwrap()],
                },
                Ask::Pause => {
                    let current = current.clone().unwrap();
                    Target::Run {
                        spec: current.release.spec,
                        image: current.release.image,
                        replicas: current.replicas,
                        paused: true,
                        force: false,
                        jobs: true,
                        no_cache: false,
                        rebuild: None,
                        reason: "pause".into(),
                    }
                }
                Ask::Run {
                    image,
                    replicas,
                    strategy,
                    job,
                } => {
                    let mut spec = ServiceSpec::new(Source::Image {
                        reference: image.into(),
                    });
                    spec.strategy = strategy;
                    spec.release = job.map(|command| JobSpec {
                        command: vec![command.to_owned()],
                        timeout_ms: 60_000,
                    });
                    spec.post_deploy.clone_from(&spec.release);
                    spec.routes = vec![RouteSpec {
                        host: format!("{index}.localhost"),
                        path: "/".into(),
                    }];
                    spec.volumes = vec![VolumeMount {
                        name: "data".parse().unwrap(),
                        path: "/data".into(),
                    }];
                    Target::Run {
                        spec,
                        image: None,
                        replicas,
                        paused: false,
                        force: false,
                        jobs: true,
                        no_cache: false,
                        rebuild: None,
                        reason: "deploy".into(),
                    }
                }
            };
            DesiredService {
                id: id.clone(),
                name: format!("service-{index}").parse().unwrap(),
                current,
                next_release: ReleaseNumber(self.next),
                after: Vec::new(),
                target,
            }
        });
        let desired = DesiredEnvironment {
            scope: self.scope.clone(),
            services: services.collect(),
            remove: matches!(ask, Ask::Remove),
        };
        self.next += 1;
        plan(&desired, &self.observe().await)
    }

    async fn deploy(&mut self, ask: Ask) -> Outcome {
        let plan = self.plan(ask).await;
        let engine = self.engine(self.journal.clone());
        let id = DeploymentId::generate();
        engine
            .apply(&id, &plan, Arc::new(Discard), &CancellationToken::new())
            .await
            .unwrap()
    }

    /// No command of any release was begun twice.
    fn assert_jobs_ran_once(&self, case: &str) {
        for service in &self.services {
            for release in (1..=self.next).map(ReleaseNumber) {
                for job in [Job::Release, Job::PostDeploy] {
                    let begun = self.runtime.jobs_begun(service, release, job);
                    assert!(begun <= 1, "{case}: {job:?} of {release} was begun {begun} times");
                }
            }
        }
    }

    /// What stands, without what differs from run to run: for each service its
    /// image, its running replicas, and whether requests go to exactly those.
    async fn standing(&self) -> String {
        let observed = self.observe().await;
        let mut out = format!(
            "network {} volumes {} jobs {}",
            observed.network,
            observed.volumes.len(),
            self.runtime.jobs_left()
        );
        for id in &self.services {
            let replicas = observed.replicas_of(id);
            let current = self.journal.current(id);
            let image = current.as_ref().map_or("none", |c| match &c.release.spec.source {
                Source::Image { reference } => reference,
                Source::Build(_) => "built",
            });
            let stray = replicas
                .iter()
                .filter(|r| {
                    !r.state.is_running() || Some(r.release) != current.as_ref().map(|c| c.release.number)
                })
                .count();
            let mut there: Vec<_> = replicas.iter().filter_map(|r| r.address).collect();
            there.sort();
            let routes = self.router.routes(id);
            let mut routed = routes.as_ref().map(|r| r.upstreams.clone()).unwrap_or_default();
            routed.sort();
            out += &format!(
                "; {image} × {}, {stray} stray, routed {}, paused {}",
                replicas.len(),
                there == routed,
                routes.is_some_and(|r| r.paused)
            );
        }
        out
    }
}

/// A deployment, and what was deployed before it.
struct Case {
    name: &'static str,
    before: &'static [Ask],
    act: Ask,
    /// It may end in the old state only.
    fails: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "first deploy",
        before: &[],
        act: run("v1", 2),
        fails: false,
    },
    Case {
        name: "failing first deploy",
        before: &[],
        act: run("broken", 1),
        fails: true,
    },
    Case {
        name: "redeploy",
        before: &[run("v1", 2)],
        act: run("v2", 2),
        fails: false,
    },
    Case {
        name: "failing redeploy",
        before: &[run("v1", 2)],
        act: run("broken", 2),
        fails: true,
    },
    Case {
        name: "redeploy and scale",
        before: &[run("v1", 1)],
        act: run("v2", 3),
        fails: false,
    },
    Case {
        name: "first deploy with commands",
        before: &[],
        act: with_job("v1", "true"),
        fails: false,
    },
    Case {
        name: "first deploy whose command fails",
        before: &[],
        act: with_job("v1", "false"),
        fails: true,
    },
    Case {
        name: "release command",
        before: &[with_job("v1", "true")],
        act: with_job("v2", "true"),
        fails: false,
    },
    Case {
        name: "failing release command",
        before: &[with_job("v1", "true")],
        act: with_job("v2", "false"),
        fails: true,
    },
    Case {
        name: "scale up",
        before: &[run("v1", 1)],
        act: run("v1", 3),
        fails: false,
    },
    Case {
        name: "scale down",
        before: &[run("v1", 3)],
        act: run("v1", 1),
        fails: false,
    },
    Case {
        name: "recreate",
        before: &[recreate("v1", 1)],
        act: recreate("v2", 1),
        fails: false,
    },
    Case {
        name: "failing recreate",
        before: &[recreate("v1", 1)],
        act: recreate("broken", 1),
        fails: true,
    },
    Case {
        name: "pause",
        before: &[run("v1", 2)],
        act: Ask::Pause,
        fails: false,
    },
    Case {
        name: "resume",
        before: &[run("v1", 2), Ask::Pause],
        act: run("v1", 2),
        fails: false,
    },
    Case {
        name: "destroy",
        before: &[run("v1", 2)],
        act: Ask::Remove,
        fails: false,
    },
];

async fn prepared(case: &Case) -> World {
    let mut world = World::new();
    for ask in case.before {
        assert_eq!(world.deploy(*ask).await, Outcome::Succeeded, "{}", case.name);
    }
    world
}

/// What stands before the case, and after it in peace.
async fn old_and_new(case: &Case) -> (String, String) {
    let mut world = prepared(case).await;
    let old = world.standing().await;
    let outcome = world.deploy(case.act).await;
    assert_eq!(
        case.fails,
        outcome != Outcome::Succeeded,
        "{}: {outcome:?}",
        case.name
    );
    let new = world.standing().await;
    if case.fails {
        assert_eq!(old, new, "{}", case.name);
    }
    (old, new)
}

#[tokio::test(start_paused = true)]
async fn in_peace_every_deployment_ends_as_planned_and_leaves_nothing_to_do() {
    for case in CASES.iter().filter(|case| !case.fails) {
        let mut world = prepared(case).await;
        assert_eq!(world.deploy(case.act).await, Outcome::Succeeded, "{}", case.name);
        if !matches!(case.act, Ask::Remove | Ask::Pause) {
            let again = world.plan(case.act).await;
            assert!(again.is_empty(), "{}: left to do: {:?}", case.name, again.changes);
        }
        assert!(
            world.standing().await.contains("0 stray, routed true"),
            "{}",
            world.standing().await
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_once_leads_to_the_old_state_or_the_new_one() {
    for case in CASES {
        let (old, new) = old_and_new(case).await;
        let mut failures = 0;
        for at in 0.. {
            let mut world = prepared(case).await;
            let plan = world.plan(case.act).await;
            let calls = world.runtime.calls().len();
            // Behind the commit only what can help is tried again.
            world
                .runtime
                .fail_after(at, Error::provider(Code::RuntimeRefused, "no").retry());
            let engine = world.engine(world.journal.clone());
            let id = DeploymentId::generate();
            let outcome = engine
                .apply(&id, &plan, Arc::new(Discard), &CancellationToken::new())
                .await
                .unwrap();
            if world.runtime.calls().len() - calls <= at {
                break;
            }
            failures += 1;
            let standing = world.standing().await;
            let expected = if outcome == Outcome::Succeeded { &new } else { &old };
            assert_eq!(
                &standing, expected,
                "{}: call {at} failed, {outcome:?}",
                case.name
            );
            assert!(
                !matches!(outcome, Outcome::Failed { .. }),
                "{}: call {at}: {outcome:?}",
                case.name
            );
        }
        assert!(failures > 2, "{}: only {failures} calls", case.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_write_is_followed_by_one_that_finishes() {
    for case in CASES {
        let (old, new) = old_and_new(case).await;
        let mut deaths = 0;
        for at in 1.. {
            let mut died = false;
            for after in [false, true] {
                let mut world = prepared(case).await;
                let plan = world.plan(case.act).await;
                let id = DeploymentId::generate();
                let dead = Arc::new(tokio::sync::Notify::new());
                let mortal = Arc::new(Mortal {
                    journal: world.journal.clone(),
                    writes: AtomicUsize::new(0),
                    dies_at: at,
                    after,
                    dead: dead.clone(),
                });
                let cancel = CancellationToken::new();
                let engine = world.engine(mortal);
                tokio::select! {
                    // Dropped in the middle: all that it had under way is gone.
                    _ = engine.apply(&id, &plan, Arc::new(Discard), &cancel) => {}
                    () = dead.notified() => died = true,
                }
                if world.journal.outcome(&id).is_none() {
                    let engine = world.engine(world.journal.clone());
                    engine
                        .apply(&id, &plan, Arc::new(Discard), &cancel)
                        .await
                        .unwrap();
                }
                let expected = if world.journal.outcome(&id) == Some(Outcome::Succeeded) {
                    &new
                } else {
                    &old
                };
                let side = if after { "after" } else { "before" };
                assert_eq!(
                    &world.standing().await,
                    expected,
                    "{}: died {side} write {at}",
                    case.name
                );
                assert_eq!(case.fails, expected == &old && case.fails, "{}", case.name);
                world.assert_jobs_ran_once(case.name);
            }
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 5, "{}: only {deaths} writes", case.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_deployment_leaves_the_old_release_serving() {
    const CASE: Case = Case {
        name: "cancel",
        before: &[run("v1", 2)],
        act: run("slow", 2),
        fails: true,
    };
    let case = &CASE;
    let mut world = prepared(case).await;
    world
        .runtime
        .add_image("slow", Behaviour::Slow(std::time::Duration::from_secs(30)));
    let old = world.standing().await;
    let plan = world.plan(case.act).await;
    let engine = world.engine(world.journal.clone());
    let cancel = CancellationToken::new();
    let id = DeploymentId::generate();
    let later = cancel.clone();
    let (outcome, ()) = tokio::join!(engine.apply(&id, &plan, Arc::new(Discard), &cancel), async move {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        later.cancel();
    });
    let Outcome::RolledBack { error } = outcome.unwrap() else {
        panic!("not rolled back")
    };
    assert_eq!(error.code, Code::Cancelled);
    assert_eq!(world.standing().await, old);
}

#[tokio::test(start_paused = true)]
async fn routes_that_belong_to_another_service_are_refused_and_nothing_changes() {
    let mut world = World::new();
    let taken = nonna_engine::ports::router::ServiceRoutes {
        service: ServiceId::generate(),
        label: "other/production/web".into(),
        routes: vec![RouteSpec {
            host: "1.localhost".into(),
            path: "/".into(),
        }],
        upstreams: vec![],
        protocol: nonna_model::service::Protocol::Http1,
        paused: true,
    };
    world.router.set_routes(taken).await.unwrap();
    let old = world.standing().await;
    let Outcome::RolledBack { error } = world.deploy(run("v1", 1)).await else {
        panic!("not rolled back")
    };
    assert_eq!(error.code, Code::Conflict);
    assert_eq!(world.standing().await, old);
}
