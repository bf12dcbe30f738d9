//! A store with somebody who deploys to it.

use std::sync::Arc;

use nonna_engine::event::Outcome;
use nonna_engine::plan::plan;
use nonna_model::observed::Observed;
use nonna_model::plan::{DesiredEnvironment, DesiredService, Plan, Scope, StepId, StepKind, Target};
use nonna_model::service::{Source, VolumeMount};
use nonna_model::{
    DeploymentId, EnvironmentId, Name, OrganizationId, ProjectId, ReleaseNumber, ServiceId, ServiceSpec,
};
use nonna_store::Store;
use nonna_store::records::{Deployment, DeploymentKind, EnvironmentSnapshot, NewDeployment, Service};

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// What a service should be.
#[derive(Debug, Clone)]
pub enum Want {
    /// Run this image.
    Image(&'static str),
    /// Run this configuration, with so many replicas.
    Spec(Box<ServiceSpec>, u32),
    /// Stay what it is, with so many replicas, paused or not.
    Scale(u32, bool),
    /// Be gone.
    Remove,
}

/// A configuration that runs this image.
pub(super) fn spec(image: &str) -> ServiceSpec {
    ServiceSpec::new(Source::Image {
        reference: image.to_owned(),
    })
}

/// A configuration with a volume.
pub(super) fn spec_with_volume(image: &str, volume: &str) -> ServiceSpec {
    let mut spec = spec(image);
    spec.volumes.push(VolumeMount {
        name: name(volume),
        path: "/data".to_owned(),
    });
    spec
}

/// The store of one case, and its environment `shop/production`.
pub struct Setting {
    pub store: Arc<dyn Store>,
    pub organization: OrganizationId,
    pub project: Name,
    pub environment: Name,
}

impl Setting {
    pub async fn new(store: Arc<dyn Store>) -> Self {
        let organization = store.installation().await.unwrap().organization;
        Self {
            store,
            organization,
            project: name("shop"),
            environment: name("production"),
        }
    }

    /// The same store, another environment.
    pub fn at(&self, project: &str, environment: &str) -> Self {
        Self {
            store: Arc::clone(&self.store),
            organization: self.organization.clone(),
            project: name(project),
            environment: name(environment),
        }
    }

    /// The environment as it stands.
    pub async fn snapshot(&self) -> Option<EnvironmentSnapshot> {
        self.store
            .environment_snapshot(&self.organization, &self.project, &self.environment)
            .await
            .unwrap()
    }

    /// The environment's scope; with new ids where it is not there.
    pub async fn scope(&self) -> Scope {
        if let Some(snapshot) = self.snapshot().await {
            return snapshot.scope;
        }
        let project = self
            .store
            .find_project(&self.organization, &self.project)
            .await
            .unwrap();
        Scope {
            organization: self.organization.clone(),
            project: project.map_or_else(ProjectId::generate, |project| project.id),
            project_name: self.project.clone(),
            environment: EnvironmentId::generate(),
            environment_name: self.environment.clone(),
        }
    }

    /// A service as it stands.
    pub async fn service(&self, service: &str) -> Option<Service> {
        self.snapshot()
            .await?
            .services
            .into_iter()
            .find(|s| s.name.as_str() == service)
    }

    /// The number of the service's current release.
    pub async fn current(&self, service: &str) -> Option<u32> {
        Some(self.service(service).await?.current?.release.number.0)
    }

    /// Plans from what stands.
    pub async fn plan(&self, wants: &[(&str, Want)]) -> Plan {
        self.plan_and(wants, false).await
    }

    /// Plans the end of the environment.
    pub async fn plan_removal(&self) -> Plan {
        let services = self.snapshot().await.map(|s| s.services).unwrap_or_default();
        let wants: Vec<(&str, Want)> = services.iter().map(|s| (s.name.as_str(), Want::Remove)).collect();
        self.plan_and(&wants, true).await
    }

    async fn plan_and(&self, wants: &[(&str, Want)], remove: bool) -> Plan {
        let scope = self.scope().await;
        let mut services = Vec::new();
        for (service, want) in wants {
            let there = self.service(service).await;
            let current = there.as_ref().and_then(|s| s.current.clone());
            let kept = current.as_ref();
            let (spec, replicas, paused) = match want {
                Want::Image(image) => (
                    spec(image),
                    kept.map_or(1, |c| c.replicas),
                    kept.is_some_and(|c| c.paused),
                ),
                Want::Spec(spec, replicas) => ((**spec).clone(), *replicas, false),
                Want::Scale(replicas, paused) => (
                    kept.map_or_else(|| self::spec("none"), |c| c.release.spec.clone()),
                    *replicas,
                    *paused,
                ),
                Want::Remove => (self::spec("none"), 0, false),
            };
            let target = match want {
                Want::Remove => Target::Remove {
                    volumes: there.as_ref().map(|s| s.volumes.clone()).unwrap_or_default(),
                },
                _ => Target::Run {
                    spec,
                    image: None,
                    replicas,
                    paused,
                    force: false,
                    jobs: true,
                    no_cache: false,
                    rebuild: None,
                    reason: "deploy".to_owned(),
                },
            };
            services.push(DesiredService {
                id: there.as_ref().map_or_else(ServiceId::generate, |s| s.id.clone()),
                name: name(service),
                current,
                next_release: there.as_ref().map_or(ReleaseNumber(1), |s| s.next_release),
                after: Vec::new(),
                target,
            });
        }
        let environment = scope.environment.clone();
        plan(
            &DesiredEnvironment {
                scope,
                services,
                remove,
            },
            &Observed::nothing(environment),
        )
    }

    /// A deployment that was not made yet.
    pub fn new_deployment(plan: &Plan) -> NewDeployment {
        NewDeployment {
            id: DeploymentId::generate(),
            kind: DeploymentKind::Deploy,
            plan: plan.clone(),
            actor: "tester".to_owned(),
            idempotency: None,
        }
    }

    /// Makes a deployment that waits.
    pub async fn queue(&self, plan: &Plan) -> DeploymentId {
        let made = self
            .store
            .create_deployment(Self::new_deployment(plan))
            .await
            .unwrap();
        assert!(!made.existed);
        made.deployment.id
    }

    /// Makes a deployment and starts it.
    pub async fn begin(&self, plan: &Plan) -> DeploymentId {
        let id = self.queue(plan).await;
        self.store.start_deployment(&id).await.unwrap();
        id
    }

    /// Carries a plan out.
    pub async fn deploy(&self, wants: &[(&str, Want)]) -> DeploymentId {
        let plan = self.plan(wants).await;
        let id = self.begin(&plan).await;
        if let Some(step) = commit_step(&plan) {
            self.store.commit(&id, &plan, step).await.unwrap();
        }
        self.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap();
        id
    }

    /// The deployment.
    pub async fn deployment(&self, id: &DeploymentId) -> Deployment {
        self.store.deployment(id).await.unwrap().unwrap()
    }
}

/// The plan's commit, if it has one.
pub(super) fn commit_step(plan: &Plan) -> Option<StepId> {
    plan.steps
        .iter()
        .find(|step| step.kind == StepKind::Commit)
        .map(|step| step.id)
}
