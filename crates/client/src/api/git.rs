//! Deploying by git.

use nonna_api::git::{BranchRequest, GitAnswer};
use nonna_api::paths;
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
}
