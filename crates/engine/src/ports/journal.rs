//! What is written down before the world is touched.

use async_trait::async_trait;
use nonna_model::plan::{Plan, StepId};
use nonna_model::{DeploymentId, ServiceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::error::Result;
use crate::event::Outcome;

/// One line of a deployment's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which step.
    pub step: StepId,
    /// What is known of it.
    pub mark: Mark,
}

/// What the journal knows of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// About to be done: the world may have been touched.
    Begun,
    /// Done.
    Done,
    /// Tried, and did not succeed: the world may have been touched.
    Failed,
    /// About to be undone.
    UndoBegun,
    /// Undone.
    Undone,
}

/// Keeps the journal of deployments, and the facts that a plan commits.
///
/// A call that has returned is on disk. There is one writer: two live
/// processes never share a journal.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Adds a line.
    async fn record(&self, deployment: &DeploymentId, entry: Entry) -> Result<()>;

    /// The journal so far, in order.
    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>>;

    /// Notes that the deployment is on its way back, and why: whoever resumes
    /// it goes on undoing. Kept before the first undo.
    async fn turn_back(&self, deployment: &DeploymentId, error: &crate::Error) -> Result<()>;

    /// Why the deployment is on its way back, if it is.
    async fn turned_back(&self, deployment: &DeploymentId) -> Result<Option<crate::Error>>;

    /// Keeps the image of a service's target release, once it is known.
    async fn set_image(&self, deployment: &DeploymentId, service: &ServiceId, image: &str) -> Result<()>;

    /// The images that were kept so far.
    async fn images(&self, deployment: &DeploymentId) -> Result<BTreeMap<ServiceId, String>>;

    /// Keeps where an image can be fetched again if the runtime loses it:
    /// `registry.example/team/app@sha256:…`.
    async fn keep_origin(&self, image: &str, reference: &str) -> Result<()>;

    /// Where the image can be fetched again, if that is known.
    async fn origin(&self, image: &str) -> Result<Option<String>>;

    /// Makes every target of the plan current, in one transaction, with the
    /// `Done` mark of its commit step: releases, replicas asked for, pauses;
    /// removed services and environments are forgotten only at
    /// [`Journal::finish`]. Doing it twice is doing it once.
    async fn commit(&self, deployment: &DeploymentId, plan: &Plan, step: StepId) -> Result<()>;

    /// Notes how the deployment ended; where the plan removes services or the
    /// environment and it succeeded, forgets them.
    async fn finish(&self, deployment: &DeploymentId, plan: &Plan, outcome: &Outcome) -> Result<()>;

    /// Opens the values of a release's secrets, to start replicas with or to
    /// build with.
    ///
    /// # Errors
    /// `MissingSecret`, `SealBroken`.
    async fn open_secrets(
        &self,
        service: &ServiceId,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, SecretString>>;
}
