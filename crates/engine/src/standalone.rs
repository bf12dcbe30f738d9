//! Ports for a program that uses the engine without Nonna's server: a journal
//! in memory, no builder, no edge. See `examples/deploy_image.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nonna_model::build::BuildPlan;
use nonna_model::plan::{CurrentRelease, Plan, StepId};
use nonna_model::release::ReleaseState;
use nonna_model::service::{BuildSource, RouteSpec};
use nonna_model::{DeploymentId, ServiceId};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error, Result};
use crate::event::{Outcome, Progress};
use crate::ports::builder::{BuildRequest, Builder, BuiltImage};
use crate::ports::journal::{Entry, Journal, Mark};
use crate::ports::router::{Router, ServiceRoutes};

/// A journal that lasts as long as the program: a crash of it leaves whatever
/// was under way for the next plan to find and repair.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    deployments: BTreeMap<DeploymentId, Written>,
    current: BTreeMap<ServiceId, CurrentRelease>,
    secrets: BTreeMap<(ServiceId, String, u64), SecretString>,
    origins: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Written {
    entries: Vec<Entry>,
    turned_back: Option<Error>,
    images: BTreeMap<ServiceId, String>,
    outcome: Option<Outcome>,
}

impl MemoryJournal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the service's current release is, for the next plan.
    #[must_use]
    pub fn current(&self, service: &ServiceId) -> Option<CurrentRelease> {
        self.state().current.get(service).cloned()
    }

    /// How the deployment ended, if it did.
    #[must_use]
    pub fn outcome(&self, deployment: &DeploymentId) -> Option<Outcome> {
        self.state().deployments.get(deployment)?.outcome.clone()
    }

    /// Keeps a secret's value as this version.
    pub fn set_secret(&self, service: &ServiceId, name: &str, version: u64, value: SecretString) {
        self.state()
            .secrets
            .insert((service.clone(), name.to_owned(), version), value);
    }

    fn edit<T>(&self, deployment: &DeploymentId, change: impl FnOnce(&mut Written) -> T) -> T {
        change(self.state().deployments.entry(deployment.clone()).or_default())
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn record(&self, deployment: &DeploymentId, entry: Entry) -> Result<()> {
        self.edit(deployment, |d| d.entries.push(entry));
        Ok(())
    }

    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>> {
        Ok(self.edit(deployment, |d| d.entries.clone()))
    }

    async fn turn_back(&self, deployment: &DeploymentId, error: &Error) -> Result<()> {
        self.edit(deployment, |d| {
            d.turned_back.get_or_insert_with(|| error.clone()).clone()
        });
        Ok(())
    }

    async fn turned_back(&self, deployment: &DeploymentId) -> Result<Option<Error>> {
        Ok(self.edit(deployment, |d| d.turned_back.clone()))
    }

    async fn set_image(&self, deployment: &DeploymentId, service: &ServiceId, image: &str) -> Result<()> {
        self.edit(deployment, |d| d.images.insert(service.clone(), image.to_owned()));
        Ok(())
    }

    async fn images(&self, deployment: &DeploymentId) -> Result<BTreeMap<ServiceId, String>> {
        Ok(self.edit(deployment, |d| d.images.clone()))
    }

    async fn keep_origin(&self, image: &str, reference: &str) -> Result<()> {
        self.state()
            .origins
            .insert(image.to_owned(), reference.to_owned());
        Ok(())
    }

    async fn origin(&self, image: &str) -> Result<Option<String>> {
        Ok(self.state().origins.get(image).cloned())
    }

    async fn commit(&self, deployment: &DeploymentId, plan: &Plan, step: StepId) -> Result<()> {
        let mut state = self.state();
        let images = state
            .deployments
            .entry(deployment.clone())
            .or_default()
            .images
            .clone();
        for (id, planned) in &plan.services {
            let Some(mut release) = planned.release.clone() else {
                continue;
            };
            if let Some(image) = images.get(id) {
                release.image = Some(image.clone());
            }
            release.state = ReleaseState::Succeeded;
            let current = CurrentRelease {
                release,
                replicas: planned.replicas,
                paused: planned.paused,
            };
            state.current.insert(id.clone(), current);
        }
        let written = state.deployments.entry(deployment.clone()).or_default();
        written.entries.push(Entry {
            step,
            mark: Mark::Done,
        });
        Ok(())
    }

    async fn finish(&self, deployment: &DeploymentId, plan: &Plan, outcome: &Outcome) -> Result<()> {
        let mut state = self.state();
        if *outcome == Outcome::Succeeded {
            for (id, planned) in &plan.services {
                if planned.release.is_none() {
                    state.current.remove(id);
                }
            }
        }
        state.deployments.entry(deployment.clone()).or_default().outcome = Some(outcome.clone());
        Ok(())
    }

    async fn open_secrets(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>> {
        let state = self.state();
        versions
            .iter()
            .map(|(name, version)| {
                let key = (service.clone(), name.clone(), *version);
                let value = state.secrets.get(&key).cloned().ok_or_else(|| {
                    Error::user(
                        Code::MissingSecret,
                        format!("The secret {name} has no version {version}."),
                    )
                })?;
                Ok((name.clone(), value))
            })
            .collect()
    }
}

/// For programs that deploy images only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBuilder;

#[async_trait]
impl Builder for NoBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        _progress: &Progress,
        _cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        Err(Error::user(
            Code::NothingToBuild,
            format!(
                "{} is to be built from source, and this program has no builder.",
                request.service_name
            ),
        )
        .hint("Give the service an image."))
    }

    async fn existing(&self, _request: &BuildRequest) -> Result<Option<BuiltImage>> {
        Ok(None)
    }

    async fn moved_base(&self, _image: &str, _unknown: bool) -> Result<Option<String>> {
        Ok(None)
    }

    async fn explain(&self, _source: &BuildSource, _port: Option<u16>) -> Result<BuildPlan> {
        Err(Error::user(Code::NothingToBuild, "This program has no builder.")
            .hint("Give the service an image."))
    }

    async fn has_context(&self, _digest: &str) -> Result<bool> {
        Ok(false)
    }
}

/// For programs that lead requests to replicas by themselves, or have none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRouter;

#[async_trait]
impl Router for NoRouter {
    async fn set_routes(&self, _routes: ServiceRoutes) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    async fn drain(&self, _upstreams: &[SocketAddr], _deadline: Duration) -> Result<usize> {
        Ok(0)
    }

    async fn remove_routes(&self, _service: &ServiceId) -> Result<()> {
        Ok(())
    }

    fn url(&self, route: &RouteSpec) -> String {
        format!("http://{}{}", route.host, route.path)
    }
}
