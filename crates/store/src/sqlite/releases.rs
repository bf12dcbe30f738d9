//! Releases: reserved with their deployment, current by its commit.

use std::collections::BTreeSet;

use nonna_model::plan::Plan;
use nonna_model::{DeploymentId, Release, ReleaseNumber, ReleaseState, ServiceId};
use rusqlite::{Connection, Row, params};

use super::fail::Inner;
use super::places::{self, plan_changed};
use super::row::{self, all, json, one, parsed, run, signed, to_json, word};

const COLUMNS: &str = "SELECT service, number, spec, image, state, reason, created_at FROM releases";

fn read(row: &Row<'_>) -> Inner<Release> {
    Ok(Release {
        service: parsed(row, "service")?,
        number: ReleaseNumber(row::get(row, "number")?),
        spec: json(row, "spec")?,
        image: row::get(row, "image")?,
        state: word(row, "state")?,
        created_at: row::get(row, "created_at")?,
        reason: row::get(row, "reason")?,
    })
}

pub(super) fn get(
    connection: &Connection,
    service: &ServiceId,
    number: ReleaseNumber,
) -> Inner<Option<Release>> {
    one(
        connection,
        &format!("{COLUMNS} WHERE service = ?1 AND number = ?2"),
        params![service.as_str(), number.0],
        read,
    )
}

pub(super) fn list(
    connection: &Connection,
    service: &ServiceId,
    before: Option<ReleaseNumber>,
    limit: u32,
) -> Inner<Vec<Release>> {
    let before = before.map_or(i64::MAX, |number| i64::from(number.0));
    all(
        connection,
        &format!("{COLUMNS} WHERE service = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"),
        params![service.as_str(), before, limit],
        read,
    )
}

/// Checks that what is current is what the plan was made of.
///
/// # Errors
/// `PlanChanged`.
pub(super) fn check_previous(connection: &Connection, plan: &Plan) -> Inner<()> {
    for (id, planned) in &plan.services {
        let current = places::service(connection, id)?.and_then(|service| service.current);
        let seen = |current: &nonna_model::plan::CurrentRelease| {
            (current.release.number, current.replicas, current.paused)
        };
        if current.as_ref().map(seen) != planned.previous.as_ref().map(seen) {
            return Err(plan_changed(format!(
                "the service {} was deployed, scaled, paused or resumed",
                planned.name
            ))
            .into());
        }
    }
    Ok(())
}

/// Reserves the plan's new releases, and notes the volumes they name. Services
/// are there already.
///
/// # Errors
/// `PlanChanged` where a number is taken, a release that stays is gone, or a
/// secret's version is.
pub(super) fn reserve(
    connection: &Connection,
    now: i64,
    deployment: &DeploymentId,
    plan: &Plan,
) -> Inner<()> {
    for (id, planned) in &plan.services {
        let Some(release) = &planned.release else {
            continue;
        };
        if !planned.new_release {
            if get(connection, id, release.number)?.is_none() {
                return Err(plan_changed(format!("{} {} is gone", planned.name, release.number)).into());
            }
            continue;
        }
        let next: u32 = one(
            connection,
            "SELECT COALESCE(MAX(number), 0) + 1 AS next FROM releases WHERE service = ?1",
            params![id.as_str()],
            |row| row::get(row, "next"),
        )?
        .unwrap_or(1);
        if release.number.0 < next {
            return Err(plan_changed(format!("{} {} is taken", planned.name, release.number)).into());
        }
        insert(connection, now, deployment, id, release)?;
        for volume in &release.spec.volumes {
            run(
                connection,
                "INSERT INTO volumes (service, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![id.as_str(), volume.name.as_str()],
            )?;
        }
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    now: i64,
    deployment: &DeploymentId,
    service: &ServiceId,
    release: &Release,
) -> Inner<()> {
    run(
        connection,
        "INSERT INTO releases (service, number, spec, image, state, reason, created_at, deployment)
         VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?7)",
        params![
            service.as_str(),
            release.number.0,
            to_json(&release.spec)?,
            release.image,
            release.reason,
            if release.created_at > 0 {
                release.created_at
            } else {
                now
            },
            deployment.as_str(),
        ],
    )?;
    let versions: BTreeSet<u64> = release.spec.secrets.values().copied().collect();
    for version in versions {
        let there = one(
            connection,
            "SELECT version FROM secret_versions WHERE version = ?1",
            params![signed(version)],
            |_| Ok(()),
        )?;
        if there.is_none() {
            return Err(plan_changed("a secret was changed or removed").into());
        }
        run(
            connection,
            "INSERT INTO release_secrets (service, number, version) VALUES (?1, ?2, ?3)",
            params![service.as_str(), release.number.0, signed(version)],
        )?;
    }
    Ok(())
}

/// Forgets what was reserved for a deployment that never began.
pub(super) fn unreserve(connection: &Connection, deployment: &DeploymentId) -> Inner<()> {
    run(
        connection,
        "DELETE FROM releases WHERE deployment = ?1 AND state = 'pending'",
        params![deployment.as_str()],
    )?;
    Ok(())
}

/// Gives the deployment's releases the images that were kept for them.
pub(super) fn keep_images(connection: &Connection, deployment: &DeploymentId) -> Inner<()> {
    run(
        connection,
        "UPDATE releases SET image = (
             SELECT image FROM deployment_images i
             WHERE i.deployment = releases.deployment AND i.service = releases.service)
         WHERE deployment = ?1 AND EXISTS (
             SELECT 1 FROM deployment_images i
             WHERE i.deployment = releases.deployment AND i.service = releases.service)",
        params![deployment.as_str()],
    )?;
    Ok(())
}

/// Makes the plan's releases current, with replicas and pauses.
pub(super) fn make_current(connection: &Connection, deployment: &DeploymentId, plan: &Plan) -> Inner<()> {
    keep_images(connection, deployment)?;
    for (id, planned) in &plan.services {
        let Some(release) = &planned.release else {
            continue;
        };
        run(
            connection,
            "UPDATE releases SET state = ?3 WHERE service = ?1 AND number = ?2",
            params![
                id.as_str(),
                release.number.0,
                row::to_word(&ReleaseState::Succeeded)?
            ],
        )?;
        let changed = run(
            connection,
            "UPDATE services SET current_release = ?2, replicas = ?3, paused = ?4
             WHERE id = ?1 AND EXISTS (SELECT 1 FROM releases WHERE service = ?1 AND number = ?2)",
            params![id.as_str(), release.number.0, planned.replicas, planned.paused],
        )?;
        if changed != 1 {
            return Err(nonna_engine::Error::bug(format!(
                "A deployment commits {} {}, which was never reserved.",
                planned.name, release.number
            ))
            .into());
        }
    }
    Ok(())
}

/// Marks what never became current as failed.
pub(super) fn fail_pending(connection: &Connection, deployment: &DeploymentId) -> Inner<()> {
    keep_images(connection, deployment)?;
    run(
        connection,
        "UPDATE releases SET state = 'failed' WHERE deployment = ?1 AND state = 'pending'",
        params![deployment.as_str()],
    )?;
    Ok(())
}
