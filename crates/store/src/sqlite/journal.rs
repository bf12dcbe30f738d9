//! The journal's lines, the commit, and the end of a deployment.

use std::collections::BTreeMap;

use nonna_engine::Error;
use nonna_engine::event::Outcome;
use nonna_engine::ports::journal::{Entry, Mark};
use nonna_model::plan::{Plan, StepId};
use nonna_model::{DeploymentId, EnvironmentId, ProjectId, ServiceId};
use rusqlite::{Connection, params};

use super::fail::Inner;
use super::row::{all, get, json_or_null, one, parsed, run, to_json, to_word, word};
use super::{deployments, releases};
use crate::records::DeploymentState;

pub(super) fn record(connection: &Connection, deployment: &DeploymentId, entry: &Entry) -> Inner<()> {
    let added = run(
        connection,
        "INSERT INTO journal (deployment, position, step, mark)
         SELECT ?1, (SELECT COALESCE(MAX(position), 0) + 1 FROM journal WHERE deployment = ?1), ?2, ?3
         WHERE EXISTS (SELECT 1 FROM deployments WHERE id = ?1)",
        params![deployment.as_str(), entry.step, to_word(&entry.mark)?],
    )?;
    if added == 0 {
        return Err(deployments::not_found(deployment).into());
    }
    Ok(())
}

pub(super) fn entries(connection: &Connection, deployment: &DeploymentId) -> Inner<Vec<Entry>> {
    all(
        connection,
        "SELECT step, mark FROM journal WHERE deployment = ?1 ORDER BY position",
        params![deployment.as_str()],
        |row| {
            Ok(Entry {
                step: get(row, "step")?,
                mark: word(row, "mark")?,
            })
        },
    )
}

pub(super) fn turn_back(connection: &Connection, deployment: &DeploymentId, error: &Error) -> Inner<()> {
    // The first reason is the cause: whoever resumes must not cover it up.
    let changed = run(
        connection,
        "UPDATE deployments SET turned_back = COALESCE(turned_back, ?2) WHERE id = ?1",
        params![deployment.as_str(), to_json(error)?],
    )?;
    if changed == 0 {
        return Err(deployments::not_found(deployment).into());
    }
    Ok(())
}

pub(super) fn turned_back(connection: &Connection, deployment: &DeploymentId) -> Inner<Option<Error>> {
    let found = one(
        connection,
        "SELECT turned_back FROM deployments WHERE id = ?1",
        params![deployment.as_str()],
        |row| json_or_null(row, "turned_back"),
    )?;
    Ok(found.flatten())
}

pub(super) fn set_image(
    connection: &Connection,
    deployment: &DeploymentId,
    service: &ServiceId,
    image: &str,
) -> Inner<()> {
    deployments::state(connection, deployment)?;
    run(
        connection,
        "INSERT INTO deployment_images (deployment, service, image) VALUES (?1, ?2, ?3)
         ON CONFLICT (deployment, service) DO UPDATE SET image = excluded.image",
        params![deployment.as_str(), service.as_str(), image],
    )?;
    Ok(())
}

pub(super) fn images(
    connection: &Connection,
    deployment: &DeploymentId,
) -> Inner<BTreeMap<ServiceId, String>> {
    let found = all(
        connection,
        "SELECT service, image FROM deployment_images WHERE deployment = ?1",
        params![deployment.as_str()],
        |row| Ok((parsed(row, "service")?, get(row, "image")?)),
    )?;
    Ok(found.into_iter().collect())
}

pub(super) fn commit(
    connection: &Connection,
    deployment: &DeploymentId,
    plan: &Plan,
    step: StepId,
) -> Inner<()> {
    let done = Mark::Done;
    let committed = one(
        connection,
        "SELECT 1 FROM journal WHERE deployment = ?1 AND step = ?2 AND mark = ?3",
        params![deployment.as_str(), step, to_word(&done)?],
        |_| Ok(()),
    )?;
    if committed.is_some() {
        return Ok(());
    }
    releases::make_current(connection, deployment, plan)?;
    record(connection, deployment, &Entry { step, mark: done })
}

pub(super) fn finish(
    connection: &Connection,
    now: i64,
    deployment: &DeploymentId,
    plan: &Plan,
    outcome: &Outcome,
) -> Inner<()> {
    if deployments::state(connection, deployment)?.is_finished() {
        return Ok(());
    }
    releases::fail_pending(connection, deployment)?;
    if *outcome == Outcome::Succeeded {
        for (id, planned) in &plan.services {
            if planned.release.is_none() {
                forget_service(connection, id)?;
            }
        }
        if plan.remove_environment {
            forget_environment(connection, plan)?;
        }
    }
    run(
        connection,
        "UPDATE deployments SET state = ?2, outcome = ?3, finished_at = ?4 WHERE id = ?1",
        params![
            deployment.as_str(),
            to_word(&DeploymentState::of(outcome))?,
            to_json(outcome)?,
            now
        ],
    )?;
    Ok(())
}

fn forget_owner(connection: &Connection, owner: &str) -> Inner<()> {
    run(
        connection,
        "DELETE FROM variables WHERE owner = ?1",
        params![owner],
    )?;
    run(
        connection,
        "DELETE FROM secret_versions WHERE owner = ?1",
        params![owner],
    )?;
    Ok(())
}

fn forget_service(connection: &Connection, service: &ServiceId) -> Inner<()> {
    forget_owner(connection, service.as_str())?;
    run(
        connection,
        "DELETE FROM services WHERE id = ?1",
        params![service.as_str()],
    )?;
    Ok(())
}

/// Forgets the environment, and its project where nothing is left of that. An
/// environment that a service was deployed to meanwhile stays.
fn forget_environment(connection: &Connection, plan: &Plan) -> Inner<()> {
    let environment: &EnvironmentId = &plan.scope.environment;
    let rest: Vec<(ServiceId, bool)> = all(
        connection,
        "SELECT id, current_release IS NOT NULL AS current FROM services WHERE environment = ?1",
        params![environment.as_str()],
        |row| Ok((parsed(row, "id")?, get(row, "current")?)),
    )?;
    if rest.iter().any(|(_, current)| *current) {
        return Ok(());
    }
    for (service, _) in &rest {
        forget_service(connection, service)?;
    }
    forget_owner(connection, environment.as_str())?;
    run(
        connection,
        "DELETE FROM environments WHERE id = ?1",
        params![environment.as_str()],
    )?;
    let project: &ProjectId = &plan.scope.project;
    run(
        connection,
        "DELETE FROM projects WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM environments WHERE project = ?1)
             AND NOT EXISTS (SELECT 1 FROM variables WHERE owner = ?1)
             AND NOT EXISTS (SELECT 1 FROM secret_versions WHERE owner = ?1)",
        params![project.as_str()],
    )?;
    Ok(())
}
