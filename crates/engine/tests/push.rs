//! Pushing what was built: where it stands in a plan, and what its failures
//! come to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use nonna_engine::apply::{BuildLimits, Engine};
use nonna_engine::event::{Discard, Outcome, Progress};
use nonna_engine::plan::plan;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_engine::ports::registry::{Publication, Publisher};
use nonna_engine::ports::{Builder, Journal};
use nonna_engine::standalone::MemoryJournal;
use nonna_engine::{Code, Error, Result};
use nonna_model::build::BuildPlan;
use nonna_model::observed::Observed;
use nonna_model::plan::{DesiredEnvironment, DesiredService, Plan, Scope, StepKind, Target};
use nonna_model::service::{BuildSource, Push, Source};
use nonna_model::{
    DeploymentId, EnvironmentId, OrganizationId, ProjectId, ReleaseNumber, ServiceId, ServiceSpec,
};
use nonna_testkit::router::FakeRouter;
use nonna_testkit::runtime::{Behaviour, FakeRuntime};
use tokio_util::sync::CancellationToken;

const ORIGIN: &str = "registry.example/team/web@sha256:00";

/// A builder whose image the runtime has.
struct OneImage;

#[async_trait]
impl Builder for OneImage {
    async fn existing(&self, _: &BuildRequest) -> Result<Option<BuiltImage>> {
        Ok(None)
    }

    async fn build(&self, request: &BuildRequest, _: &Progress, _: &CancellationToken) -> Result<BuiltImage> {
        assert_eq!(
            request.cache.as_deref(),
            Some("registry.example/team/web:nonna-cache")
        );
        Ok(BuiltImage {
            image: "built".into(),
            size: 1,
            builder: "test".into(),
        })
    }

    async fn moved_base(&self, _: &str, _: bool) -> Result<Option<String>> {
        Ok(None)
    }

    async fn explain(&self, _: &BuildSource, _: Option<u16>) -> Result<BuildPlan> {
        Ok(BuildPlan::default())
    }

    async fn has_context(&self, _: &str) -> Result<bool> {
        Ok(true)
    }
}

/// A registry that fails so often with this error before it takes anything.
struct Fails {
    times: usize,
    error: Error,
    asked: AtomicUsize,
}

#[async_trait]
impl Publisher for Fails {
    async fn publish(
        &self,
        publication: &Publication,
        _: &Progress,
        _: &CancellationToken,
    ) -> Result<String> {
        assert_eq!(publication.image, "built");
        if self.asked.fetch_add(1, Ordering::Relaxed) < self.times {
            return Err(self.error.clone());
        }
        Ok(ORIGIN.into())
    }
}

fn planned(required: bool) -> Plan {
    let scope = Scope {
        organization: OrganizationId::generate(),
        project: ProjectId::generate(),
        project_name: "shop".parse().unwrap(),
        environment: EnvironmentId::generate(),
        environment_name: "production".parse().unwrap(),
    };
    let mut spec = ServiceSpec::new(Source::Build(BuildSource {
        context: "sha256:00".into(),
        dockerfile: None,
        target: None,
        arguments: BTreeMap::new(),
        timeout_ms: None,
        overrides: Box::default(),
        secrets: Vec::new(),
    }));
    spec.push = Some(Push {
        repository: "registry.example/team/web".into(),
        required,
    });
    let desired = DesiredEnvironment {
        scope: scope.clone(),
        services: vec![DesiredService {
            id: ServiceId::generate(),
            name: "web".parse().unwrap(),
            current: None,
            next_release: ReleaseNumber(1),
            after: Vec::new(),
            target: Target::Run {
                spec,
                image: None,
                replicas: 1,
                paused: false,
                force: false,
                jobs: true,
                no_cache: false,
                rebuild: None,
                reason: "deploy".into(),
            },
        }],
        remove: false,
    };
    plan(&desired, &Observed::nothing(scope.environment))
}

async fn deploy(required: bool, times: usize, error: Error) -> (Outcome, Arc<MemoryJournal>, usize) {
    let runtime = FakeRuntime::new();
    runtime.add_local_image("built", Behaviour::Healthy);
    let journal = Arc::new(MemoryJournal::default());
    let publisher = Arc::new(Fails {
        times,
        error,
        asked: AtomicUsize::new(0),
    });
    let engine = Engine {
        runtime: Arc::new(runtime),
        builder: Arc::new(OneImage),
        publisher: Arc::clone(&publisher) as _,
        router: Arc::new(FakeRouter::default()),
        journal: Arc::clone(&journal) as _,
        limits: BuildLimits::default(),
    };
    let outcome = engine
        .apply(
            &DeploymentId::generate(),
            &planned(required),
            Arc::new(Discard),
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    (outcome, journal, publisher.asked.load(Ordering::Relaxed))
}

fn away() -> Error {
    Error::provider(Code::RegistryUnavailable, "away").retry()
}

#[test]
fn a_push_waits_for_the_build_and_the_commit_for_the_push() {
    let plan = planned(true);
    let find =
        |wanted: &dyn Fn(&StepKind) -> bool| plan.steps.iter().find(|step| wanted(&step.kind)).unwrap();
    let build = find(&|kind| matches!(kind, StepKind::Build { .. }));
    let push = find(&|kind| matches!(kind, StepKind::Push { .. }));
    let start = find(&|kind| matches!(kind, StepKind::StartReplicas { .. }));
    let switch = find(&|kind| matches!(kind, StepKind::SwitchRoutes { .. }));
    assert_eq!(push.after, [build.id]);
    assert!(!start.after.contains(&push.id), "replicas start beside the push");
    assert!(switch.after.contains(&push.id), "nothing is switched before it");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_for_a_moment_is_asked_again() {
    let (outcome, journal, asked) = deploy(true, 3, away()).await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(asked, 4);
    assert_eq!(journal.origin("built").await.unwrap().as_deref(), Some(ORIGIN));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_fails_fails_the_deployment_if_it_is_required() {
    let (outcome, journal, asked) = deploy(true, 99, away()).await;
    assert!(matches!(&outcome, Outcome::RolledBack { error } if error.code == Code::RegistryUnavailable));
    assert_eq!(asked, 4);
    assert_eq!(journal.origin("built").await.unwrap(), None);
    // What trying again cannot help is not tried again.
    let refused = Error::user(Code::RegistryAuth, "no");
    let (outcome, _, asked) = deploy(true, 99, refused).await;
    assert!(matches!(&outcome, Outcome::RolledBack { error } if error.code == Code::RegistryAuth));
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_fails_is_passed_over_if_it_is_not() {
    let (outcome, journal, _) = deploy(false, 99, away()).await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(journal.origin("built").await.unwrap(), None);
    // Never a mistake of ours.
    let (outcome, ..) = deploy(false, 99, Error::bug("oops")).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }));
}
