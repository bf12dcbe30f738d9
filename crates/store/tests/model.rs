//! Any sequence of calls gives the same answers as the store in memory.

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

use nonna_engine::event::{Event, EventKind, Outcome};
use nonna_engine::ports::journal::{Entry, Mark};
use nonna_engine::{Error, Result};
use nonna_model::plan::{Plan, StepKind};
use nonna_model::{DeploymentId, Release};
use nonna_store::records::{
    Deployment, EnvironmentSnapshot, NewDeployment, Owner, StoredEvent, Variable, VariablesChange,
};
use nonna_store::{SealKey, SqliteStore, Store};
use nonna_testkit::store::MemoryStore;
use nonna_testkit::store::suite::{Setting, Want};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use secrecy::ExposeSecret;

const PROJECTS: [&str; 2] = ["shop", "blog"];
const ENVIRONMENTS: [&str; 2] = ["production", "staging"];
const SERVICES: [&str; 3] = ["web", "api", "worker"];
const IMAGES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Op {
    Queue {
        at: usize,
        service: usize,
        want: usize,
    },
    QueueRemoval {
        at: usize,
    },
    Replan {
        deployment: usize,
        service: usize,
        want: usize,
    },
    Start(usize),
    SetImage(usize),
    Record(usize, u32),
    TurnBack(usize),
    Commit(usize),
    Finish(usize, usize),
    Event(usize),
    Cancel(usize),
    Set {
        owner: usize,
        name: usize,
        value: usize,
        secret: bool,
    },
    Unset {
        owner: usize,
        name: usize,
    },
    Prune,
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..16_usize;
    prop_oneof![
        4 => (0..4_usize, 0..3_usize, 0..7_usize).prop_map(|(at, service, want)| Op::Queue { at, service, want }),
        1 => (0..4_usize).prop_map(|at| Op::QueueRemoval { at }),
        2 => (n.clone(), 0..3_usize, 0..7_usize)
            .prop_map(|(deployment, service, want)| Op::Replan { deployment, service, want }),
        4 => n.clone().prop_map(Op::Start),
        1 => n.clone().prop_map(Op::SetImage),
        1 => (n.clone(), 0..5_u32).prop_map(|(d, step)| Op::Record(d, step)),
        1 => n.clone().prop_map(Op::TurnBack),
        4 => n.clone().prop_map(Op::Commit),
        4 => (n.clone(), 0..4_usize).prop_map(|(d, outcome)| Op::Finish(d, outcome)),
        1 => n.clone().prop_map(Op::Event),
        1 => n.clone().prop_map(Op::Cancel),
        3 => (n.clone(), 0..3_usize, 0..3_usize, any::<bool>())
            .prop_map(|(owner, name, value, secret)| Op::Set { owner, name, value, secret }),
        1 => (n, 0..3_usize).prop_map(|(owner, name)| Op::Unset { owner, name }),
        1 => Just(Op::Prune),
    ]
}

/// The two stores, and what was made in both.
struct Pair {
    real: Setting,
    model: Setting,
    deployments: Vec<(DeploymentId, Plan)>,
}

/// What a call answered, as far as it must be the same.
fn answer<T>(result: Result<T>) -> std::result::Result<T, nonna_engine::Code> {
    result.map_err(|error: Error| error.code)
}

fn want(n: usize) -> Want {
    match n {
        0..=2 => Want::Image(IMAGES[n]),
        3 => Want::Scale(2, false),
        4 => Want::Scale(1, false),
        5 => Want::Scale(1, true),
        _ => Want::Remove,
    }
}

impl Pair {
    fn stores(&self) -> [&Arc<dyn Store>; 2] {
        [&self.real.store, &self.model.store]
    }

    fn at(&self, n: usize) -> Setting {
        self.real.at(PROJECTS[n / 2], ENVIRONMENTS[n % 2])
    }

    async fn plan(&self, at: usize, service: usize, n: usize) -> Plan {
        let setting = self.at(at);
        let mut plan = setting.plan(&[(SERVICES[service], want(n))]).await;
        // Each release refers to the secrets that its service sees.
        for (id, planned) in &mut plan.services {
            if let (true, Some(release)) = (planned.new_release, &mut planned.release) {
                let merged = setting.store.merged_variables(&plan.scope, id).await.unwrap();
                release.spec.secrets = merged.secrets;
            }
        }
        plan
    }

    async fn queue(&mut self, plan: Plan) -> TestCaseResult {
        let new: NewDeployment = Setting::new_deployment(&plan);
        let mut answers = Vec::new();
        for store in self.stores() {
            answers.push(answer(
                store.create_deployment(new.clone()).await.map(|c| c.existed),
            ));
        }
        prop_assert_eq!(&answers[0], &answers[1]);
        if answers[0].is_ok() {
            self.deployments.push((new.id, plan));
        }
        Ok(())
    }

    fn pick(&self, n: usize) -> Option<(DeploymentId, Plan)> {
        // The latest are the interesting ones.
        let count = self.deployments.len();
        (count > 0).then(|| self.deployments[count - 1 - n % count.min(4)].clone())
    }

    async fn owner(&self, n: usize) -> Owner {
        let snapshots = self.real.store.snapshots().await.unwrap();
        let mut owners = vec![Owner::Organization(self.real.organization.clone())];
        for snapshot in &snapshots {
            owners.push(Owner::Project(snapshot.scope.project.clone()));
            owners.push(Owner::Environment(snapshot.scope.environment.clone()));
            owners.extend(snapshot.services.iter().map(|s| Owner::Service(s.id.clone())));
        }
        owners[n % owners.len()].clone()
    }

    async fn run(&mut self, op: Op) -> TestCaseResult {
        macro_rules! both {
            ($store:ident => $call:expr) => {{
                let mut answers = Vec::new();
                for $store in self.stores() {
                    answers.push(answer($call.await));
                }
                prop_assert_eq!(&answers[0], &answers[1]);
            }};
        }
        let error = Error::cancelled();
        match op {
            Op::Queue { at, service, want } => {
                let plan = self.plan(at, service, want).await;
                self.queue(plan).await?;
            }
            Op::QueueRemoval { at } => {
                let plan = self.at(at).plan_removal().await;
                self.queue(plan).await?;
            }
            Op::Replan {
                deployment,
                service,
                want,
            } => {
                let Some((id, old)) = self.pick(deployment) else {
                    return Ok(());
                };
                let at = PROJECTS
                    .iter()
                    .position(|p| *p == old.scope.project_name.as_str())
                    .unwrap_or(0)
                    * 2
                    + usize::from(old.scope.environment_name.as_str() == ENVIRONMENTS[1]);
                let plan = self.plan(at, service, want).await;
                both!(store => store.replace_plan(&id, &plan));
                let kept = self.real.store.deployment(&id).await.unwrap().unwrap().plan;
                for (known, its) in &mut self.deployments {
                    if *known == id {
                        *its = kept.clone();
                    }
                }
            }
            Op::Start(n) => {
                if let Some((id, _)) = self.pick(n) {
                    both!(store => store.start_deployment(&id));
                }
            }
            Op::SetImage(n) => {
                if let Some((id, plan)) = self.pick(n)
                    && let Some(service) = plan.services.keys().next()
                {
                    both!(store => store.set_image(&id, service, "sha256:1"));
                }
            }
            Op::Record(n, step) => {
                if let Some((id, _)) = self.pick(n) {
                    both!(store => store.record(&id, Entry { step, mark: Mark::Begun }));
                }
            }
            Op::TurnBack(n) => {
                if let Some((id, _)) = self.pick(n) {
                    both!(store => store.turn_back(&id, &error));
                }
            }
            Op::Commit(n) => {
                if let Some((id, plan)) = self.pick(n)
                    && let Some(step) = plan.steps.iter().find(|s| s.kind == StepKind::Commit)
                {
                    both!(store => store.commit(&id, &plan, step.id));
                }
            }
            Op::Finish(n, outcome) => {
                if let Some((id, plan)) = self.pick(n) {
                    let outcome = match outcome {
                        0 => Outcome::RolledBack { error },
                        1 => Outcome::Failed { error },
                        _ => Outcome::Succeeded,
                    };
                    both!(store => store.finish(&id, &plan, &outcome));
                }
            }
            Op::Event(n) => {
                if let Some((deployment, _)) = self.pick(n) {
                    let event = Event {
                        deployment,
                        at: 1,
                        kind: EventKind::UndoStarted,
                    };
                    both!(store => store.append_events(vec![event.clone()]));
                }
            }
            Op::Cancel(n) => {
                if let Some((id, _)) = self.pick(n) {
                    both!(store => store.request_cancel(&id));
                }
            }
            Op::Set {
                owner,
                name,
                value,
                secret,
            } => {
                let owner = self.owner(owner).await;
                let change = || {
                    let mut change = VariablesChange::of(owner.clone(), "tester");
                    let (name, value) = (format!("V{name}"), IMAGES[value]);
                    if secret {
                        change.set_secrets.insert(name, value.into());
                    } else {
                        change.set.insert(name, value.into());
                    }
                    change
                };
                both!(store => store.change_variables(change()));
            }
            Op::Unset { owner, name } => {
                let owner = self.owner(owner).await;
                let change = || {
                    let mut change = VariablesChange::of(owner.clone(), "tester");
                    change.unset.push(format!("V{name}"));
                    change
                };
                both!(store => store.change_variables(change()));
            }
            Op::Prune => both!(store => store.prune(i64::MAX)),
        }
        Ok(())
    }
}

/// All that can be asked of a store, without its times.
#[derive(Debug, PartialEq)]
struct Everything {
    snapshots: Vec<EnvironmentSnapshot>,
    releases: Vec<Release>,
    secrets: Vec<std::result::Result<BTreeMap<String, String>, nonna_engine::Code>>,
    variables: Vec<Variable>,
    deployments: Vec<Deployment>,
    journals: Vec<(Vec<Entry>, Option<Error>, usize)>,
    events: Vec<StoredEvent>,
}

async fn everything(store: &Arc<dyn Store>, deployments: &[(DeploymentId, Plan)]) -> Everything {
    let mut snapshots = store.snapshots().await.unwrap();
    let (mut releases, mut secrets, mut variables) = (Vec::new(), Vec::new(), Vec::new());
    for snapshot in &mut snapshots {
        for service in &mut snapshot.services {
            service.created_at = 0;
            if let Some(current) = &mut service.current {
                current.release.created_at = 0;
            }
            for owner in Owner::seen_by(&snapshot.scope, &service.id) {
                variables.extend(store.list_variables(&owner).await.unwrap());
            }
            for mut release in store.list_releases(&service.id, None, 100).await.unwrap() {
                release.created_at = 0;
                let opened = store.open_secrets(&service.id, &release.spec.secrets).await;
                secrets.push(answer(opened.map(|all| {
                    all.into_iter()
                        .map(|(n, v)| (n, v.expose_secret().to_owned()))
                        .collect()
                })));
                releases.push(release);
            }
        }
    }
    for variable in &mut variables {
        variable.updated_at = 0;
    }
    let (mut kept, mut journals, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for (id, _) in deployments {
        let mut deployment = store.deployment(id).await.unwrap().unwrap();
        deployment.created_at = 0;
        deployment.started_at = deployment.started_at.map(|_| 0);
        deployment.finished_at = deployment.finished_at.map(|_| 0);
        kept.push(deployment);
        journals.push((
            store.entries(id).await.unwrap(),
            store.turned_back(id).await.unwrap(),
            store.images(id).await.unwrap().len(),
        ));
        events.extend(store.events_after(id, 0, 100).await.unwrap());
    }
    Everything {
        snapshots,
        releases,
        secrets,
        variables,
        deployments: kept,
        journals,
        events,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_gives_the_models_answers(ops in prop::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("nonna.db");
            let key = SealKey::generate().unwrap();
            let real: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, key.clone()).unwrap());
            let model = MemoryStore::of(real.installation().await.unwrap());
            let mut pair = Pair {
                real: Setting::new(real).await,
                model: Setting::new(Arc::new(model)).await,
                deployments: Vec::new(),
            };
            for op in ops {
                pair.run(op).await?;
            }
            let wanted = everything(&pair.model.store, &pair.deployments).await;
            prop_assert_eq!(&everything(&pair.real.store, &pair.deployments).await, &wanted);
            // And after it was opened again.
            let deployments = std::mem::take(&mut pair.deployments);
            drop(pair);
            let real: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, key).unwrap());
            prop_assert_eq!(&everything(&real, &deployments).await, &wanted);
            Ok(())
        })?;
    }
}
