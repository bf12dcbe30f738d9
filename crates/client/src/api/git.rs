//! Deploying by git.

use nonna_api::git::{
    BranchRequest, ConnectAnswer, ConnectRequest, ConnectionAnswer, DeliveryAnswer, DeliveryLogAnswer,
    DisconnectRequest, ForgeDeployRequest, GitAnswer,
};
use nonna_api::{Page, paths};
use nonna_engine::Result;
use reqwest::Method;

use crate::http::Client;

impl Client {
    /// How a project is deployed by git.
    ///
    /// # Errors
    /// `NotFound` where the server keeps no repositories.
    pub async fn git(&self, project: &str) -> Result<GitAnswer> {
        self.json(self.request(Method::GET, paths::GIT, &[project])).await
    }

    /// Lets an environment follow a branch, or none.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub async fn follow_branch(&self, project: &str, request: &BranchRequest) -> Result<GitAnswer> {
        let sent = self.request(Method::POST, paths::GIT_BRANCHES, &[project]);
        self.json(sent.json(request)).await
    }

    /// The repositories on forges that a project is deployed from.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn connections(&self, project: &str) -> Result<Vec<ConnectionAnswer>> {
        let page: Page<ConnectionAnswer> = self
            .json(self.request(Method::GET, paths::GIT_CONNECTIONS, &[project]))
            .await?;
        Ok(page.items)
    }

    /// Connects a repository on a forge, or changes what is deployed of one.
    ///
    /// # Errors
    /// `InvalidInput`, `Conflict`, `LimitExceeded`.
    pub async fn connect_forge(&self, project: &str, request: &ConnectRequest) -> Result<ConnectAnswer> {
        let sent = self.request(Method::POST, paths::GIT_CONNECTIONS, &[project]);
        // Sent twice, its answer would hold no secret.
        self.json_once(sent.json(request)).await
    }

    /// Disconnects a repository, or one branch of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn disconnect_forge(&self, project: &str, id: &str, branch: Option<&str>) -> Result<()> {
        let request = DisconnectRequest {
            branch: branch.map(str::to_owned),
        };
        let sent = self.request(Method::POST, paths::GIT_DISCONNECT, &[project, id]);
        self.send(sent.json(&request)).await.map(|_| ())
    }

    /// Deploys a branch as it is on the forge now.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` where it is not clear which branch is meant.
    pub async fn deploy_forge(
        &self,
        project: &str,
        id: &str,
        branch: Option<&str>,
    ) -> Result<DeliveryAnswer> {
        let request = ForgeDeployRequest {
            branch: branch.map(str::to_owned),
        };
        let sent = self.request(Method::POST, paths::GIT_DEPLOY, &[project, id]);
        self.json_once(sent.json(&request)).await
    }

    /// What a repository's webhook said last, newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn deliveries(&self, project: &str, id: &str) -> Result<Vec<DeliveryAnswer>> {
        let page: Page<DeliveryAnswer> = self
            .json(self.request(Method::GET, paths::GIT_DELIVERIES, &[project, id]))
            .await?;
        Ok(page.items)
    }

    /// One of them, with all that was said of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delivery(&self, project: &str, id: &str, number: u64) -> Result<DeliveryLogAnswer> {
        let number = number.to_string();
        self.json(self.request(Method::GET, paths::GIT_DELIVERY, &[project, id, &number]))
            .await
    }
}
