//! Uses the engine as a library: deploys an image to the container engine,
//! deploys another over it, and rolls back; no server of Nonna runs.
//!
//! ```sh
//! cargo run -p nonna-engine --example deploy_image -- IMAGE [OTHER_IMAGE]
//! ```
//! The image must answer HTTP on `$PORT` (8080). Everything that is made is
//! removed at the end.

#![allow(clippy::print_stderr, reason = "an example shows what happens")]

use std::sync::Arc;

use nonna_engine::apply::{BuildLimits, Engine};
use nonna_engine::event::{Event, EventKind, EventSink, Outcome};
use nonna_engine::plan::plan;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::registry::NoPublisher;
use nonna_engine::standalone::{MemoryJournal, NoBuilder, NoRouter};
use nonna_model::plan::{DesiredEnvironment, DesiredService, Scope, Target};
use nonna_model::service::Source;
use nonna_model::{
    DeploymentId, EnvironmentId, OrganizationId, ProjectId, ReleaseNumber, ServiceId, ServiceSpec,
};
use nonna_runtime_docker::{DockerConfig, DockerRuntime};
use tokio_util::sync::CancellationToken;

/// Prints every event as it happens.
struct Print;

impl EventSink for Print {
    fn emit(&self, event: Event) {
        match event.kind {
            EventKind::StepStarted { kind, .. } => eprintln!("  {kind:?}"),
            EventKind::ReplicaHealthy { answer, .. } => eprintln!("    {answer}"),
            EventKind::StepFailed { error, .. } => eprintln!("    failed: {error}"),
            _ => {}
        }
    }
}

/// One service of one environment, and what the engine needs to change it.
struct Deployer {
    engine: Engine,
    journal: Arc<MemoryJournal>,
    scope: Scope,
    service: ServiceId,
    next: u32,
}

impl Deployer {
    /// Plans from what is there to `target`, and carries the plan out.
    async fn go(&mut self, target: Target) -> anyhow::Result<()> {
        let desired = DesiredEnvironment {
            scope: self.scope.clone(),
            remove: matches!(target, Target::Remove { .. }),
            services: vec![DesiredService {
                id: self.service.clone(),
                name: "web".parse()?,
                current: self.journal.current(&self.service),
                next_release: ReleaseNumber(self.next),
                after: Vec::new(),
                target,
            }],
        };
        let observed = self.engine.runtime.observe(&self.scope.environment).await?;
        let plan = plan(&desired, &observed);
        self.next += 1;
        for change in &plan.changes {
            eprintln!(
                "{:?} {:?} {}: {}",
                change.action,
                change.resource,
                change.name,
                change.reasons.join(", ")
            );
        }
        let id = DeploymentId::generate();
        match self
            .engine
            .apply(&id, &plan, Arc::new(Print), &CancellationToken::new())
            .await?
        {
            Outcome::Succeeded => Ok(()),
            Outcome::RolledBack { error } | Outcome::Failed { error } => Err(error.into()),
        }
    }
}

fn run(image: &str, known: Option<String>, reason: &str) -> Target {
    Target::Run {
        spec: ServiceSpec::new(Source::Image {
            reference: image.to_owned(),
        }),
        image: known,
        replicas: 1,
        paused: false,
        force: true,
        jobs: true,
        no_cache: false,
        rebuild: None,
        reason: reason.to_owned(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let image = arguments
        .next()
        .unwrap_or_else(|| "nonna-test/app:latest".to_owned());
    let other = arguments.next().unwrap_or_else(|| image.clone());

    let config = DockerConfig::new("example");
    let runtime: Arc<dyn Runtime> = Arc::new(DockerRuntime::connect(&config).await?);
    eprintln!("on {}", runtime.capabilities().await?.name);
    let journal = Arc::new(MemoryJournal::default());
    let engine = Engine {
        runtime,
        builder: Arc::new(NoBuilder),
        publisher: Arc::new(NoPublisher),
        router: Arc::new(NoRouter),
        journal: journal.clone(),
        limits: BuildLimits::default(),
    };
    let scope = Scope {
        organization: OrganizationId::generate(),
        project: ProjectId::generate(),
        project_name: "example".parse()?,
        environment: EnvironmentId::generate(),
        environment_name: "production".parse()?,
    };
    let mut deployer = Deployer {
        engine,
        journal,
        scope,
        service: ServiceId::generate(),
        next: 1,
    };

    let outcome = async {
        deployer.go(run(&image, None, "deploy")).await?;
        let first = deployer.journal.current(&deployer.service);
        deployer.go(run(&other, None, "deploy")).await?;
        let first_image = first.and_then(|current| current.release.image);
        deployer.go(run(&image, first_image, "rollback to v1")).await
    }
    .await;
    // Whatever happened, leave nothing behind.
    deployer.go(Target::Remove { volumes: Vec::new() }).await?;
    outcome
}
