//! Plans and deployments.

use nonna_api::{
    DeployRequest, DeploymentAnswer, DesiredRequest, EnvironmentAnswer, Page, PageQuery, PlanAnswer, paths,
};
use nonna_engine::event::{Event, EventKind};
use nonna_engine::{Error, Result};
use reqwest::Method;

use super::Place;
use crate::follow::{End, Follow};
use crate::http::Client;

/// Says that a repeated request is the same one.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

impl Client {
    /// What an environment is now.
    ///
    /// # Errors
    /// `NotFound` where nothing was ever deployed there.
    pub async fn environment(&self, place: &Place) -> Result<EnvironmentAnswer> {
        self.json(self.request(Method::GET, paths::ENVIRONMENT, &place.fill()))
            .await
    }

    /// What a deployment would do.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn plan(&self, place: &Place, desired: &DesiredRequest) -> Result<PlanAnswer> {
        self.json(
            self.request(Method::POST, paths::PLAN, &place.fill())
                .json(desired),
        )
        .await
    }

    /// Begins a deployment. A request that gets lost is sent again and still
    /// is one deployment.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn deploy(&self, place: &Place, request: &DeployRequest) -> Result<DeploymentAnswer> {
        self.json(
            self.request(Method::POST, paths::DEPLOYMENTS, &place.fill())
                .header(IDEMPOTENCY_KEY, idempotency_key()?)
                .json(request),
        )
        .await
    }

    /// Past deployments of an environment, newest first.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn deployments(&self, place: &Place) -> Result<Vec<DeploymentAnswer>> {
        self.all(paths::DEPLOYMENTS, &place.fill()).await
    }

    /// The latest deployments of an environment, newest first.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn latest_deployments(&self, place: &Place, limit: u32) -> Result<Vec<DeploymentAnswer>> {
        let query = PageQuery {
            after: None,
            limit: Some(limit),
        };
        let request = self.request(Method::GET, paths::DEPLOYMENTS, &place.fill());
        let page: Page<DeploymentAnswer> = self.json(request.query(&query)).await?;
        Ok(page.items)
    }

    /// A deployment.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn deployment(&self, id: &str) -> Result<DeploymentAnswer> {
        self.json(self.request(Method::GET, paths::DEPLOYMENT, &[id]))
            .await
    }

    /// What happens in a deployment, from its start to its end.
    #[must_use]
    pub fn deployment_events(&self, id: &str) -> Follow<Event> {
        let id = id.to_owned();
        Follow::new(
            self.clone(),
            End::After(|event: &Event| matches!(event.kind, EventKind::Finished { .. })),
            move |client, _| client.request(Method::GET, paths::DEPLOYMENT_EVENTS, &[&id]),
        )
    }

    /// Cancels a deployment: what it did is undone.
    ///
    /// # Errors
    /// `Conflict` where it is over.
    pub async fn cancel_deployment(&self, id: &str) -> Result<()> {
        let request = self.request(Method::POST, paths::DEPLOYMENT_CANCEL, &[id]);
        self.send(request).await.map(|_| ())
    }
}

fn idempotency_key() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::bug("The system gives no random numbers.").said(error.to_string()))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
