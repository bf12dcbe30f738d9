//! Variables and secrets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use nonna_api::{Page, VariableAnswer, VariableScope, VariablesAnswer, VariablesRequest, paths};
use nonna_engine::{Code, Error};
use nonna_model::Name;
use nonna_store::records::{EnvironmentSnapshot, Owner, Variable, VariableValue, VariablesChange};
use secrecy::{ExposeSecret, SecretString};

use super::super::failure::Answer;
use super::super::input::{InEnvironment, Input, Last, OfService, Params, parse_name};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::{answers, services};
use crate::auth::Permission;
use crate::deploy::{Intent, Request};

/// How many changed names the reason of a release tells.
const TOLD: usize = 3;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::VARIABLES,
                Permission::Read,
                "Variables, and which secrets there are. Without a scope: all that the environment's services see.",
            )
            .query::<VariableScope>()
            .answers::<Page<VariableAnswer>>(),
            list,
        )
        .add(
            post(
                paths::VARIABLES,
                Permission::Deploy,
                "Sets and removes variables or secrets, and releases anew what sees a difference.",
            )
            .query::<VariableScope>()
            .takes::<VariablesRequest>()
            .answers::<VariablesAnswer>(),
            change,
        )
        .add(
            get(paths::SECRET, Permission::Secrets, "A secret's value.")
                .query::<VariableScope>()
                .answers::<VariableAnswer>(),
            secret,
        )
}

/// Whose variables are meant.
async fn owner(app: &App, at: &InEnvironment, scope: &VariableScope, create: bool) -> Answer<Owner> {
    let word = scope.scope.as_deref();
    let of_service = match (word, &scope.service) {
        (Some("service") | None, Some(service)) => Some(parse_name(service, "a service")?),
        (Some("service"), None) => {
            return Err(Error::user(
                Code::InvalidInput,
                "The scope `service` needs the query `service`: which one.",
            )
            .into());
        }
        (Some(_), Some(_)) => {
            return Err(Error::user(
                Code::InvalidInput,
                "The query `service` goes with the scope `service` only.",
            )
            .into());
        }
        _ => None,
    };
    let organization = &app.installation.organization;
    match word {
        Some("organization") => return Ok(Owner::Organization(organization.clone())),
        Some("project") => {
            let found = if create {
                Some(app.store.ensure_project(organization, &at.project).await?)
            } else {
                app.store.find_project(organization, &at.project).await?
            };
            let project = found.ok_or_else(|| {
                Error::user(Code::NotFound, format!("There is no project `{}`.", at.project))
            })?;
            return Ok(Owner::Project(project.id));
        }
        None | Some("environment" | "service") => {}
        Some(other) => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(Error::user(
                Code::InvalidInput,
                format!(
                    "`{shown}` is no scope: write `organization`, `project`, `environment` or `service`."
                ),
            )
            .into());
        }
    }
    let environment = if create {
        // Variables may be set before the first deployment needs them.
        let project = app.store.ensure_project(organization, &at.project).await?;
        app.store
            .ensure_environment(&project.id, &at.environment)
            .await?
            .id
    } else {
        app.snapshot(&at.project, &at.environment)
            .await?
            .scope
            .environment
    };
    match of_service {
        None => Ok(Owner::Environment(environment)),
        Some(name) => {
            let found = if create {
                Some(app.store.ensure_service(&environment, &name).await?)
            } else {
                app.store.find_service(&environment, &name).await?
            };
            match found {
                Some(service) => Ok(Owner::Service(service.id)),
                None => Err(Error::user(
                    Code::NotFound,
                    format!(
                        "There is no service `{name}` in {}/{}.",
                        at.project, at.environment
                    ),
                )
                .into()),
            }
        }
    }
}

fn answer(variable: Variable, service: Option<&Name>) -> VariableAnswer {
    let scope = variable.owner.scope().to_owned();
    let (value, secret) = match variable.value {
        VariableValue::Plain(value) => (Some(value), false),
        VariableValue::Secret(_) => (None, true),
    };
    VariableAnswer {
        name: variable.name,
        value,
        secret,
        scope,
        service: service.map(ToString::to_string),
        updated_at: variable.updated_at,
    }
}

async fn all(app: &App, snapshot: &EnvironmentSnapshot) -> Answer<Vec<VariableAnswer>> {
    let scope = &snapshot.scope;
    let shared = [
        Owner::Organization(scope.organization.clone()),
        Owner::Project(scope.project.clone()),
        Owner::Environment(scope.environment.clone()),
    ];
    let mut found = Vec::new();
    for owner in shared {
        let variables = app.store.list_variables(&owner).await?;
        found.extend(variables.into_iter().map(|v| answer(v, None)));
    }
    for service in &snapshot.services {
        let owner = Owner::Service(service.id.clone());
        let variables = app.store.list_variables(&owner).await?;
        found.extend(variables.into_iter().map(|v| answer(v, Some(&service.name))));
    }
    found.sort_by(|a, b| (&a.name, &a.service).cmp(&(&b.name, &b.service)));
    Ok(found)
}

async fn list(
    State(app): State<Arc<App>>,
    at: InEnvironment,
    Params(scope): Params<VariableScope>,
) -> Answer<Json<Page<VariableAnswer>>> {
    let items = if scope.scope.is_none() && scope.service.is_none() {
        let snapshot = app.snapshot(&at.project, &at.environment).await?;
        all(&app, &snapshot).await?
    } else {
        let owner = owner(&app, &at, &scope, false).await?;
        let service = match &scope.service {
            Some(name) => Some(parse_name(name, "a service")?),
            None => None,
        };
        app.store
            .list_variables(&owner)
            .await?
            .into_iter()
            .map(|v| answer(v, service.as_ref()))
            .collect()
    };
    Ok(Json(Page { items, next: None }))
}

fn reason(changed: &[String], request: &VariablesRequest) -> String {
    let kind = if request.secret { "secret" } else { "variable" };
    let mut told: Vec<&str> = changed.iter().map(String::as_str).take(TOLD).collect();
    let more = changed.len().saturating_sub(TOLD);
    let rest = format!("{more} more");
    if more > 0 {
        told.push(&rest);
    }
    let names = told.join(", ");
    let verb = match (request.set.is_empty(), request.unset.is_empty()) {
        (false, true) => "set",
        (true, false) => "removed",
        _ => "changed",
    };
    format!("{kind} {names} {verb}")
}

async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: InEnvironment,
    Params(scope): Params<VariableScope>,
    Input(request): Input<VariablesRequest>,
) -> Answer<Json<VariablesAnswer>> {
    if request.set.is_empty() && request.unset.is_empty() {
        return Err(Error::user(
            Code::InvalidInput,
            "Nothing is set and nothing is removed: `set` and `unset` are both empty.",
        )
        .into());
    }
    let mut checked = VariablesChange::of(
        Owner::Organization(app.installation.organization.clone()),
        caller.name.clone(),
    );
    checked.unset.clone_from(&request.unset);
    if request.secret {
        checked.set_secrets = request
            .set
            .iter()
            .map(|(name, value)| (name.clone(), SecretString::from(value.clone())))
            .collect();
    } else {
        checked.set.clone_from(&request.set);
    }
    // Before anything is made for it.
    checked.check()?;
    checked.owner = owner(&app, &at, &scope, !request.set.is_empty()).await?;
    let scope_word = checked.owner.scope();
    let changed = app.store.change_variables(checked).await?;
    if changed.is_empty() {
        return Ok(Json(VariablesAnswer { deployment: None }));
    }
    let target = format!("{}/{}", at.project, at.environment);
    let action = if request.secret {
        "secret.change"
    } else {
        "variable.change"
    };
    let detail = format!("{scope_word}: {}", changed.join(", "));
    app.audit(&caller, action, target, Some(detail)).await;
    if request.stage {
        return Ok(Json(VariablesAnswer { deployment: None }));
    }
    let deployment = app
        .deployments
        .submit(Request {
            project: at.project,
            environment: at.environment,
            intent: Intent::Variables {
                reason: reason(&changed, &request),
            },
            actor: caller.name.clone(),
            plan: None,
            replace: false,
            idempotency: None,
        })
        .await;
    let deployment = match deployment {
        Ok(deployment) => deployment,
        // Only the project was made so far: there is nothing to release anew.
        Err(error) if error.code == Code::NotFound => return Ok(Json(VariablesAnswer { deployment: None })),
        Err(error) => return Err(error.into()),
    };
    let deployment = (!deployment.plan.is_empty()).then(|| answers::deployment(&app, deployment));
    Ok(Json(VariablesAnswer { deployment }))
}

async fn secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: InEnvironment,
    Last(name): Last,
    Params(scope): Params<VariableScope>,
) -> Answer<Json<VariableAnswer>> {
    let owner = owner(&app, &at, &scope, false).await?;
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let missing = || {
        Error::user(
            Code::NotFound,
            format!("There is no secret `{shown}` of this {}.", owner.scope()),
        )
        .hint("`nonna secret list` lists the secrets and their scopes.")
    };
    let listed = app.store.list_variables(&owner).await?;
    let record = listed
        .into_iter()
        .find(|v| v.name == name && matches!(v.value, VariableValue::Secret(_)))
        .ok_or_else(missing)?;
    let target = format!("{}/{}", at.project, at.environment);
    // On record before it is told.
    app.store
        .append_audit(caller.entry("secret.read", target, Some(format!("{}: {name}", owner.scope()))))
        .await?;
    let value = app.store.open_secret(&owner, &name).await?.ok_or_else(missing)?;
    let service = match &scope.service {
        Some(service) => {
            let snapshot = app.snapshot(&at.project, &at.environment).await?;
            let of = OfService {
                service: parse_name(service, "a service")?,
                project: at.project,
                environment: at.environment,
            };
            Some(services::must(&snapshot, &of)?.name.clone())
        }
        None => None,
    };
    let mut told = answer(record, service.as_ref());
    told.value = Some(value.expose_secret().to_owned());
    Ok(Json(told))
}
