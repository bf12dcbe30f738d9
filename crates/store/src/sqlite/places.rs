//! Installation, projects, environments and services: where things are.

use nonna_engine::{Code, Error};
use nonna_model::plan::{CurrentRelease, Scope};
use nonna_model::{EnvironmentId, InstallationId, Name, OrganizationId, ProjectId, ReleaseNumber, ServiceId};
use rusqlite::{Connection, Row, params};

use super::fail::Inner;
use super::releases;
use super::row::{all, get, one, parsed, run};
use crate::records::{Environment, EnvironmentSnapshot, Installation, Project, Service};

pub(super) fn installation(connection: &Connection) -> Inner<Option<Installation>> {
    one(
        connection,
        "SELECT id, organization, created_at FROM installation",
        [],
        |row| {
            Ok(Installation {
                id: parsed(row, "id")?,
                organization: parsed(row, "organization")?,
                created_at: get(row, "created_at")?,
            })
        },
    )
}

pub(super) fn make_installation(connection: &Connection, now: i64) -> Inner<Installation> {
    if let Some(there) = installation(connection)? {
        return Ok(there);
    }
    let made = Installation {
        id: InstallationId::generate(),
        organization: OrganizationId::generate(),
        created_at: now,
    };
    run(
        connection,
        "INSERT INTO organizations (id, name, created_at) VALUES (?1, 'default', ?2)",
        params![made.organization.as_str(), now],
    )?;
    run(
        connection,
        "INSERT INTO installation (one, id, organization, created_at) VALUES (1, ?1, ?2, ?3)",
        params![made.id.as_str(), made.organization.as_str(), now],
    )?;
    Ok(made)
}

fn not_found(what: &str, id: &str) -> Error {
    Error::user(Code::NotFound, format!("There is no {what} {id}."))
}

// ── Projects ────────────────────────────────────────────────────────────

fn read_project(row: &Row<'_>) -> Inner<Project> {
    Ok(Project {
        id: parsed(row, "id")?,
        organization: parsed(row, "organization")?,
        name: parsed(row, "name")?,
        created_at: get(row, "created_at")?,
    })
}

pub(super) fn find_project(
    connection: &Connection,
    organization: &OrganizationId,
    name: &Name,
) -> Inner<Option<Project>> {
    one(
        connection,
        "SELECT id, organization, name, created_at FROM projects WHERE organization = ?1 AND name = ?2",
        params![organization.as_str(), name.as_str()],
        read_project,
    )
}

pub(super) fn list_projects(connection: &Connection, organization: &OrganizationId) -> Inner<Vec<Project>> {
    all(
        connection,
        "SELECT id, organization, name, created_at FROM projects WHERE organization = ?1 ORDER BY name",
        params![organization.as_str()],
        read_project,
    )
}

pub(super) fn ensure_project(
    connection: &Connection,
    now: i64,
    organization: &OrganizationId,
    name: &Name,
) -> Inner<Project> {
    if let Some(there) = find_project(connection, organization, name)? {
        return Ok(there);
    }
    let known = one(
        connection,
        "SELECT id FROM organizations WHERE id = ?1",
        params![organization.as_str()],
        |_| Ok(()),
    )?;
    known.ok_or_else(|| not_found("organization", organization.as_str()))?;
    let made = Project {
        id: ProjectId::generate(),
        organization: organization.clone(),
        name: name.clone(),
        created_at: now,
    };
    insert_project(connection, &made)?;
    Ok(made)
}

fn insert_project(connection: &Connection, project: &Project) -> Inner<()> {
    run(
        connection,
        "INSERT INTO projects (id, organization, name, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![
            project.id.as_str(),
            project.organization.as_str(),
            project.name.as_str(),
            project.created_at
        ],
    )?;
    Ok(())
}

// ── Environments ────────────────────────────────────────────────────────

fn read_environment(row: &Row<'_>) -> Inner<Environment> {
    Ok(Environment {
        id: parsed(row, "id")?,
        project: parsed(row, "project")?,
        name: parsed(row, "name")?,
        created_at: get(row, "created_at")?,
    })
}

pub(super) fn find_environment(
    connection: &Connection,
    project: &ProjectId,
    name: &Name,
) -> Inner<Option<Environment>> {
    one(
        connection,
        "SELECT id, project, name, created_at FROM environments WHERE project = ?1 AND name = ?2",
        params![project.as_str(), name.as_str()],
        read_environment,
    )
}

pub(super) fn list_environments(connection: &Connection, project: &ProjectId) -> Inner<Vec<Environment>> {
    all(
        connection,
        "SELECT id, project, name, created_at FROM environments WHERE project = ?1 ORDER BY name",
        params![project.as_str()],
        read_environment,
    )
}

pub(super) fn ensure_environment(
    connection: &Connection,
    now: i64,
    project: &ProjectId,
    name: &Name,
) -> Inner<Environment> {
    if let Some(there) = find_environment(connection, project, name)? {
        return Ok(there);
    }
    let known = one(
        connection,
        "SELECT id FROM projects WHERE id = ?1",
        params![project.as_str()],
        |_| Ok(()),
    )?;
    known.ok_or_else(|| not_found("project", project.as_str()))?;
    let made = Environment {
        id: EnvironmentId::generate(),
        project: project.clone(),
        name: name.clone(),
        created_at: now,
    };
    insert_environment(connection, &made)?;
    Ok(made)
}

fn insert_environment(connection: &Connection, environment: &Environment) -> Inner<()> {
    run(
        connection,
        "INSERT INTO environments (id, project, name, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![
            environment.id.as_str(),
            environment.project.as_str(),
            environment.name.as_str(),
            environment.created_at
        ],
    )?;
    Ok(())
}

// ── Services ────────────────────────────────────────────────────────────

const SERVICE_COLUMNS: &str = "SELECT id, environment, name, current_release, replicas, paused, created_at,
        (SELECT COALESCE(MAX(number), 0) + 1 FROM releases WHERE releases.service = services.id) AS next
     FROM services";

/// A service as its row alone has it; the rest stands in other tables.
struct ServiceRow {
    service: Service,
    current: Option<ReleaseNumber>,
    replicas: u32,
    paused: bool,
}

fn read_service(row: &Row<'_>) -> Inner<ServiceRow> {
    Ok(ServiceRow {
        service: Service {
            id: parsed(row, "id")?,
            environment: parsed(row, "environment")?,
            name: parsed(row, "name")?,
            current: None,
            next_release: ReleaseNumber(get(row, "next")?),
            volumes: Vec::new(),
            created_at: get(row, "created_at")?,
        },
        current: get::<Option<u32>>(row, "current_release")?.map(ReleaseNumber),
        replicas: get(row, "replicas")?,
        paused: get(row, "paused")?,
    })
}

fn complete(connection: &Connection, row: ServiceRow) -> Inner<Service> {
    let mut service = row.service;
    if let Some(number) = row.current {
        service.current = releases::get(connection, &service.id, number)?.map(|release| CurrentRelease {
            release,
            replicas: row.replicas,
            paused: row.paused,
        });
    }
    service.volumes = all(
        connection,
        "SELECT name FROM volumes WHERE service = ?1 ORDER BY name",
        params![service.id.as_str()],
        |row| parsed(row, "name"),
    )?;
    Ok(service)
}

pub(super) fn find_service(
    connection: &Connection,
    environment: &EnvironmentId,
    name: &Name,
) -> Inner<Option<Service>> {
    let found = one(
        connection,
        &format!("{SERVICE_COLUMNS} WHERE environment = ?1 AND name = ?2"),
        params![environment.as_str(), name.as_str()],
        read_service,
    )?;
    found.map(|row| complete(connection, row)).transpose()
}

pub(super) fn service(connection: &Connection, id: &ServiceId) -> Inner<Option<Service>> {
    let found = one(
        connection,
        &format!("{SERVICE_COLUMNS} WHERE id = ?1"),
        params![id.as_str()],
        read_service,
    )?;
    found.map(|row| complete(connection, row)).transpose()
}

fn list_services(connection: &Connection, environment: &EnvironmentId) -> Inner<Vec<Service>> {
    let rows = all(
        connection,
        &format!("{SERVICE_COLUMNS} WHERE environment = ?1 ORDER BY name"),
        params![environment.as_str()],
        read_service,
    )?;
    rows.into_iter().map(|row| complete(connection, row)).collect()
}

pub(super) fn ensure_service(
    connection: &Connection,
    now: i64,
    environment: &EnvironmentId,
    name: &Name,
) -> Inner<Service> {
    if let Some(there) = find_service(connection, environment, name)? {
        return Ok(there);
    }
    let known = one(
        connection,
        "SELECT id FROM environments WHERE id = ?1",
        params![environment.as_str()],
        |_| Ok(()),
    )?;
    known.ok_or_else(|| not_found("environment", environment.as_str()))?;
    let id = ServiceId::generate();
    insert_service(connection, now, environment, &id, name)?;
    Ok(Service {
        id,
        environment: environment.clone(),
        name: name.clone(),
        current: None,
        next_release: ReleaseNumber(1),
        volumes: Vec::new(),
        created_at: now,
    })
}

fn insert_service(
    connection: &Connection,
    now: i64,
    environment: &EnvironmentId,
    id: &ServiceId,
    name: &Name,
) -> Inner<()> {
    run(
        connection,
        "INSERT INTO services (id, environment, name, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![id.as_str(), environment.as_str(), name.as_str(), now],
    )?;
    Ok(())
}

/// What a plan is refused with that was made of another state.
pub(super) fn plan_changed(why: impl Into<String>) -> Error {
    Error::user(
        Code::PlanChanged,
        "What the plan was made of has changed meanwhile.",
    )
    .hint("Plan again.")
    .detail(why)
    .retry()
}

/// Makes what the plan names and is not there, with the plan's ids.
///
/// # Errors
/// `PlanChanged` where a name has another id.
pub(super) fn make_planned_scope(connection: &Connection, now: i64, scope: &Scope) -> Inner<()> {
    match find_project(connection, &scope.organization, &scope.project_name)? {
        Some(project) if project.id != scope.project => {
            return Err(plan_changed(format!("the project {} is another one now", project.name)).into());
        }
        Some(_) => {}
        None => insert_project(
            connection,
            &Project {
                id: scope.project.clone(),
                organization: scope.organization.clone(),
                name: scope.project_name.clone(),
                created_at: now,
            },
        )?,
    }
    match find_environment(connection, &scope.project, &scope.environment_name)? {
        Some(environment) if environment.id != scope.environment => {
            Err(plan_changed(format!("the environment {} is another one now", environment.name)).into())
        }
        Some(_) => Ok(()),
        None => insert_environment(
            connection,
            &Environment {
                id: scope.environment.clone(),
                project: scope.project.clone(),
                name: scope.environment_name.clone(),
                created_at: now,
            },
        ),
    }
}

/// The service of the plan, made if it is not there.
///
/// # Errors
/// `PlanChanged` where the name has another id.
pub(super) fn make_planned_service(
    connection: &Connection,
    now: i64,
    environment: &EnvironmentId,
    id: &ServiceId,
    name: &Name,
) -> Inner<()> {
    match find_service(connection, environment, name)? {
        Some(there) if there.id != *id => {
            Err(plan_changed(format!("the service {name} is another one now")).into())
        }
        Some(_) => Ok(()),
        None => insert_service(connection, now, environment, id, name),
    }
}

// ── Snapshots ───────────────────────────────────────────────────────────

const SCOPE_COLUMNS: &str = "SELECT p.organization, p.id AS project, p.name AS project_name,
        e.id AS environment, e.name AS environment_name
     FROM environments e JOIN projects p ON p.id = e.project";

fn read_scope(row: &Row<'_>) -> Inner<Scope> {
    Ok(Scope {
        organization: parsed(row, "organization")?,
        project: parsed(row, "project")?,
        project_name: parsed(row, "project_name")?,
        environment: parsed(row, "environment")?,
        environment_name: parsed(row, "environment_name")?,
    })
}

fn snapshot_of(connection: &Connection, scope: Scope) -> Inner<EnvironmentSnapshot> {
    let unfinished = all(
        connection,
        "SELECT id FROM deployments WHERE environment = ?1 AND finished_at IS NULL ORDER BY sequence",
        params![scope.environment.as_str()],
        |row| parsed(row, "id"),
    )?;
    Ok(EnvironmentSnapshot {
        services: list_services(connection, &scope.environment)?,
        unfinished,
        scope,
    })
}

pub(super) fn snapshot(
    connection: &Connection,
    organization: &OrganizationId,
    project: &Name,
    environment: &Name,
) -> Inner<Option<EnvironmentSnapshot>> {
    let scope = one(
        connection,
        &format!("{SCOPE_COLUMNS} WHERE p.organization = ?1 AND p.name = ?2 AND e.name = ?3"),
        params![organization.as_str(), project.as_str(), environment.as_str()],
        read_scope,
    )?;
    scope.map(|scope| snapshot_of(connection, scope)).transpose()
}

pub(super) fn snapshots(connection: &Connection) -> Inner<Vec<EnvironmentSnapshot>> {
    let scopes = all(
        connection,
        &format!("{SCOPE_COLUMNS} ORDER BY p.organization, p.name, e.name"),
        [],
        read_scope,
    )?;
    scopes
        .into_iter()
        .map(|scope| snapshot_of(connection, scope))
        .collect()
}

/// The scope a service is in.
pub(super) fn scope_of(connection: &Connection, service: &ServiceId) -> Inner<Option<Scope>> {
    one(
        connection,
        &format!("{SCOPE_COLUMNS} JOIN services s ON s.environment = e.id WHERE s.id = ?1"),
        params![service.as_str()],
        read_scope,
    )
}
