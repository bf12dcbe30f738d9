//! Deployments, from the queue to their end.

use nonna_engine::{Code, Error};
use nonna_model::plan::Plan;
use nonna_model::{DeploymentId, EnvironmentId};
use rusqlite::{Connection, Row, params};

use super::fail::Inner;
use super::row::{all, get, json, json_or_null, one, parsed, run, to_json, to_word, word};
use super::{places, releases};
use crate::records::{Created, Deployment, DeploymentState, NewDeployment};

const COLUMNS: &str = "SELECT id, kind, plan, actor, state, cancel_requested, outcome,
    created_at, started_at, finished_at FROM deployments";

fn read(row: &Row<'_>) -> Inner<Deployment> {
    Ok(Deployment {
        id: parsed(row, "id")?,
        kind: word(row, "kind")?,
        plan: json(row, "plan")?,
        actor: get(row, "actor")?,
        state: word(row, "state")?,
        cancel_requested: get(row, "cancel_requested")?,
        outcome: json_or_null(row, "outcome")?,
        created_at: get(row, "created_at")?,
        started_at: get(row, "started_at")?,
        finished_at: get(row, "finished_at")?,
    })
}

pub(super) fn not_found(id: &DeploymentId) -> Error {
    Error::user(Code::NotFound, format!("There is no deployment {id}."))
}

pub(super) fn find(connection: &Connection, id: &DeploymentId) -> Inner<Option<Deployment>> {
    one(
        connection,
        &format!("{COLUMNS} WHERE id = ?1"),
        params![id.as_str()],
        read,
    )
}

pub(super) fn state(connection: &Connection, id: &DeploymentId) -> Inner<DeploymentState> {
    let state = one(
        connection,
        "SELECT state FROM deployments WHERE id = ?1",
        params![id.as_str()],
        |row| word(row, "state"),
    )?;
    Ok(state.ok_or_else(|| not_found(id))?)
}

pub(super) fn create(connection: &Connection, now: i64, new: &NewDeployment) -> Inner<Created> {
    if let Some(before) = asked_before(connection, new)? {
        return Ok(Created {
            deployment: before,
            existed: true,
        });
    }
    if find(connection, &new.id)?.is_some() {
        return Err(Error::user(
            Code::Conflict,
            format!("The deployment {} is there already.", new.id),
        )
        .into());
    }
    let idempotency = new.idempotency.as_ref();
    run(
        connection,
        "INSERT INTO deployments
             (id, environment, kind, plan, actor, idempotency_key, request_digest, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            new.id.as_str(),
            new.plan.scope.environment.as_str(),
            to_word(&new.kind)?,
            to_json(&new.plan)?,
            new.actor,
            idempotency.map(|i| i.key.as_str()),
            idempotency.map(|i| i.request.as_str()),
            to_word(&DeploymentState::Queued)?,
            now,
        ],
    )?;
    adopt(connection, now, &new.id, &new.plan)?;
    Ok(Created {
        deployment: Deployment {
            id: new.id.clone(),
            kind: new.kind,
            plan: new.plan.clone(),
            actor: new.actor.clone(),
            state: DeploymentState::Queued,
            cancel_requested: false,
            outcome: None,
            created_at: now,
            started_at: None,
            finished_at: None,
        },
        existed: false,
    })
}

fn asked_before(connection: &Connection, new: &NewDeployment) -> Inner<Option<Deployment>> {
    let Some(idempotency) = &new.idempotency else {
        return Ok(None);
    };
    let found: Option<(DeploymentId, Option<String>)> = one(
        connection,
        "SELECT id, request_digest FROM deployments WHERE actor = ?1 AND idempotency_key = ?2",
        params![new.actor, idempotency.key],
        |row| Ok((parsed(row, "id")?, get(row, "request_digest")?)),
    )?;
    match found {
        None => Ok(None),
        Some((id, request)) if request.as_deref() == Some(&idempotency.request) => find(connection, &id),
        Some(_) => Err(Error::user(
            Code::Conflict,
            "This idempotency key was used for another request.",
        )
        .hint("Make a new key for each request, and use it again only to repeat that request.")
        .into()),
    }
}

/// Makes what the plan names, and reserves its releases.
fn adopt(connection: &Connection, now: i64, id: &DeploymentId, plan: &Plan) -> Inner<()> {
    places::make_planned_scope(connection, now, &plan.scope)?;
    releases::check_previous(connection, plan)?;
    for (service, planned) in &plan.services {
        if planned.release.is_some() {
            places::make_planned_service(connection, now, &plan.scope.environment, service, &planned.name)?;
        }
    }
    releases::reserve(connection, now, id, plan)
}

pub(super) fn replace_plan(connection: &Connection, now: i64, id: &DeploymentId, plan: &Plan) -> Inner<()> {
    let there = find(connection, id)?.ok_or_else(|| not_found(id))?;
    if there.state != DeploymentState::Queued {
        return Err(Error::user(
            Code::Conflict,
            format!("The deployment {id} does not wait any more."),
        )
        .into());
    }
    let (old, new) = (&there.plan.scope, &plan.scope);
    if (&old.organization, &old.project_name, &old.environment_name)
        != (&new.organization, &new.project_name, &new.environment_name)
    {
        return Err(Error::user(
            Code::Conflict,
            format!("The deployment {id} is of another environment than the plan."),
        )
        .into());
    }
    releases::unreserve(connection, id)?;
    run(
        connection,
        "UPDATE deployments SET plan = ?2, environment = ?3 WHERE id = ?1",
        params![id.as_str(), to_json(plan)?, plan.scope.environment.as_str()],
    )?;
    adopt(connection, now, id, plan)
}

pub(super) fn start(connection: &Connection, now: i64, id: &DeploymentId) -> Inner<()> {
    let there = find(connection, id)?.ok_or_else(|| not_found(id))?;
    match there.state {
        DeploymentState::Running => Ok(()),
        DeploymentState::Queued => {
            releases::check_previous(connection, &there.plan)?;
            run(
                connection,
                "UPDATE deployments SET state = ?2, started_at = ?3 WHERE id = ?1",
                params![id.as_str(), to_word(&DeploymentState::Running)?, now],
            )?;
            Ok(())
        }
        DeploymentState::Succeeded | DeploymentState::RolledBack | DeploymentState::Failed => {
            Err(Error::user(Code::Conflict, format!("The deployment {id} is finished.")).into())
        }
    }
}

pub(super) fn request_cancel(connection: &Connection, id: &DeploymentId) -> Inner<DeploymentState> {
    let state = state(connection, id)?;
    if !state.is_finished() {
        run(
            connection,
            "UPDATE deployments SET cancel_requested = 1 WHERE id = ?1",
            params![id.as_str()],
        )?;
    }
    Ok(state)
}

pub(super) fn unfinished(connection: &Connection) -> Inner<Vec<Deployment>> {
    all(
        connection,
        &format!("{COLUMNS} WHERE finished_at IS NULL ORDER BY sequence"),
        [],
        read,
    )
}

pub(super) fn list(
    connection: &Connection,
    environment: &EnvironmentId,
    before: Option<&DeploymentId>,
    limit: u32,
) -> Inner<Vec<Deployment>> {
    let before: i64 = match before {
        None => i64::MAX,
        Some(id) => one(
            connection,
            "SELECT sequence FROM deployments WHERE id = ?1",
            params![id.as_str()],
            |row| get(row, "sequence"),
        )?
        .ok_or_else(|| not_found(id))?,
    };
    all(
        connection,
        &format!("{COLUMNS} WHERE environment = ?1 AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3"),
        params![environment.as_str(), before, limit],
        read,
    )
}
