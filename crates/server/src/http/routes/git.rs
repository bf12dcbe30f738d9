//! How a project is deployed by git.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use nonna_api::git::{BranchRequest, GitAnswer};
use nonna_api::paths;

use super::super::failure::Answer;
use super::super::input::{Input, OfProject, parse_name};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use crate::auth::Permission;
use crate::git::Branches;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(paths::GIT, Permission::Read, "How a project is deployed by git.").answers::<GitAnswer>(),
            show,
        )
        .add(
            post(
                paths::GIT_BRANCHES,
                Permission::Deploy,
                "Lets an environment follow a branch, or none.",
            )
            .takes::<BranchRequest>()
            .answers::<GitAnswer>(),
            follow,
        )
}

async fn show(State(app): State<Arc<App>>, OfProject(project): OfProject) -> Answer<Json<GitAnswer>> {
    app.git()?;
    let branches = Branches::load(app.store.as_ref(), &project).await?;
    Ok(Json(GitAnswer {
        path: format!("/git/{project}.git"),
        branches: branches
            .followed
            .iter()
            .map(|(branch, environment)| (branch.clone(), environment.to_string()))
            .collect(),
    }))
}

async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    OfProject(project): OfProject,
    Input(request): Input<BranchRequest>,
) -> Answer<Json<GitAnswer>> {
    let environment = request
        .environment
        .as_deref()
        .map(|name| parse_name(name, "an environment"))
        .transpose()?;
    let mut branches = Branches::load(app.store.as_ref(), &project).await?;
    branches.set(&request.branch, environment)?;
    branches.save(app.store.as_ref(), &project).await?;
    app.audit(
        &caller,
        "git.follow",
        project.to_string(),
        Some(format!(
            "{} → {}",
            request.branch,
            request.environment.as_deref().unwrap_or("no environment")
        )),
    )
    .await;
    show(State(app), OfProject(project)).await
}
