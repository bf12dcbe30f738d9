//! Deploys from a forge: connections, their deliveries, and their webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use nonna_api::git::{
    ConnectAnswer, ConnectRequest, ConnectionAnswer, DeliveryAnswer, DeliveryLogAnswer, DisconnectRequest,
    FollowedAnswer, ForgeDeployRequest, HookAnswer,
};
use nonna_api::{Page, PageQuery, paths};
use nonna_engine::{Code, Error};
use nonna_store::forge::{Connection, Delivery};

use super::super::failure::Answer;
use super::super::input::{Input, Last, OfConnection, OfDelivery, OfProject, Params, parse_name};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller, Peer};
use super::answers;
use crate::auth::Permission;
use crate::forge::{self, Wanted};

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::GIT_CONNECTIONS,
                Permission::Read,
                "The repositories on forges that the project is deployed from.",
            )
            .answers::<Page<ConnectionAnswer>>(),
            list,
        )
        .add(
            post(
                paths::GIT_CONNECTIONS,
                Permission::Deploy,
                "Connects a repository on a forge, or changes what is deployed of one.",
            )
            .takes::<ConnectRequest>()
            .answers::<ConnectAnswer>(),
            connect,
        )
        .add(
            post(
                paths::GIT_DISCONNECT,
                Permission::Deploy,
                "Disconnects a repository, or one branch of it.",
            )
            .takes::<DisconnectRequest>()
            .answers_kind("application/json"),
            disconnect,
        )
        .add(
            post(
                paths::GIT_DEPLOY,
                Permission::Deploy,
                "Deploys a branch as it is on the forge now.",
            )
            .takes::<ForgeDeployRequest>()
            .answers::<DeliveryAnswer>(),
            deploy,
        )
        .add(
            get(
                paths::GIT_DELIVERIES,
                Permission::Read,
                "What a repository's webhook said, newest first, and what came of it.",
            )
            .query::<PageQuery>()
            .answers::<Page<DeliveryAnswer>>(),
            deliveries,
        )
        .add(
            get(
                paths::GIT_DELIVERY,
                Permission::Read,
                "One thing that a repository's webhook said, with all that was said of it.",
            )
            .answers::<DeliveryLogAnswer>(),
            delivery,
        )
        .add(
            post(
                paths::GIT_HOOK,
                Permission::Public,
                "Where a forge tells of a push. It needs no token, but the forge's signature.",
            )
            .takes_kind("application/json")
            .answers::<HookAnswer>(),
            hook,
        )
}

/// An enum's word, as serde writes it.
fn word(value: impl serde::Serialize) -> String {
    let text = serde_json::to_string(&value).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

fn told(delivery: Delivery) -> DeliveryAnswer {
    DeliveryAnswer {
        number: delivery.number,
        actor: delivery.actor,
        branch: delivery.branch,
        commit: delivery.commit,
        state: word(delivery.state),
        result: delivery.result.map(word),
        message: delivery.message,
        deployment: delivery.deployment.map(|id| id.to_string()),
        received_at: delivery.received_at,
        finished_at: delivery.finished_at,
    }
}

async fn shown(app: &App, connection: Connection) -> Answer<ConnectionAnswer> {
    let last = app.store.list_deliveries(&connection.id, None, 1).await?.pop();
    let branches: BTreeMap<String, FollowedAnswer> = connection
        .branches
        .iter()
        .map(|(branch, followed)| {
            let answer = FollowedAnswer {
                environment: followed.environment.to_string(),
                services: followed.services.iter().map(ToString::to_string).collect(),
                deployed: followed.deployed.clone(),
            };
            (branch.clone(), answer)
        })
        .collect();
    Ok(ConnectionAnswer {
        api: forge::api(&connection),
        webhook_path: forge::webhook_path(&connection.id),
        webhook_url: forge::webhook_url(app, &connection.id),
        id: connection.id.to_string(),
        project: connection.project.to_string(),
        repository: connection.url,
        forge: connection.forge,
        branches,
        public_key: connection.public_key,
        has_token: connection.has_token,
        host_keys: connection
            .host_keys
            .as_deref()
            .map(forge::fingerprints)
            .unwrap_or_default(),
        created_by: connection.created_by,
        created_at: connection.created_at,
        last: last.map(told),
    })
}

/// A connection of the project that must be there.
async fn must(app: &App, at: &OfConnection) -> Answer<Connection> {
    let found = app.store.connection(&at.connection).await?;
    let organization = &app.installation.organization;
    found
        .filter(|c| c.organization == *organization && c.project == at.project)
        .ok_or_else(|| {
            Error::user(
                Code::NotFound,
                format!("The project {} has no connection {}.", at.project, at.connection),
            )
            .hint("`nonna git list` shows them.")
            .into()
        })
}

async fn list(
    State(app): State<Arc<App>>,
    OfProject(project): OfProject,
) -> Answer<Json<Page<ConnectionAnswer>>> {
    let organization = &app.installation.organization;
    let mut items = Vec::new();
    for connection in app.store.list_connections(organization, Some(&project)).await? {
        items.push(shown(&app, connection).await?);
    }
    Ok(Json(Page { items, next: None }))
}

async fn connect(
    State(app): State<Arc<App>>,
    caller: Caller,
    OfProject(project): OfProject,
    Input(request): Input<ConnectRequest>,
) -> Answer<Json<ConnectAnswer>> {
    let services = request
        .services
        .iter()
        .map(|name| parse_name(name, "a service"))
        .collect::<Result<Vec<_>, _>>()?;
    let wanted = Wanted {
        environment: parse_name(&request.environment, "an environment")?,
        project,
        repository: request.repository,
        branch: request.branch,
        services,
        forge: request.forge,
        api: request.api,
        token: request.token.map(Into::into),
        new_secret: request.new_secret,
        actor: caller.name.clone(),
    };
    let (branch, environment) = (wanted.branch.clone(), wanted.environment.clone());
    let connected = forge::connect(&app, wanted).await?;
    let connection = connected.connection;
    app.audit(
        &caller,
        "git.connect",
        format!("{}/{environment}", connection.project),
        Some(format!("{} {branch}", connection.url)),
    )
    .await;
    Ok(Json(ConnectAnswer {
        connection: shown(&app, connection).await?,
        secret: connected.secret,
    }))
}

async fn disconnect(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfConnection,
    Input(request): Input<DisconnectRequest>,
) -> Answer<Json<serde_json::Value>> {
    let connection = must(&app, &at).await?;
    let left = forge::disconnect(&app, &connection, request.branch.as_deref()).await?;
    let detail = match &request.branch {
        Some(branch) => format!("{} {branch}", connection.url),
        None => connection.url.clone(),
    };
    app.audit(&caller, "git.disconnect", at.project.to_string(), Some(detail))
        .await;
    Ok(Json(serde_json::json!({
        "id": connection.id,
        "repository": connection.url,
        "disconnected": left.is_none(),
    })))
}

async fn deploy(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfConnection,
    Input(request): Input<ForgeDeployRequest>,
) -> Answer<Json<DeliveryAnswer>> {
    let connection = must(&app, &at).await?;
    let known: Vec<&str> = connection.branches.keys().map(String::as_str).collect();
    let branch = match (&request.branch, known.as_slice()) {
        (Some(branch), known) if known.contains(&branch.as_str()) => branch.clone(),
        (None, [only]) => (*only).to_owned(),
        (Some(_), _) => {
            return Err(
                Error::user(Code::NotFound, "Nothing follows that branch of the repository.")
                    .hint(format!("These are followed: {}.", known.join(", ")))
                    .into(),
            );
        }
        (None, _) => {
            return Err(Error::user(Code::InvalidInput, "Several branches are followed.")
                .hint(format!("Name one: {}.", known.join(", ")))
                .into());
        }
    };
    let delivery = forge::by_hand(&app, &connection, &branch, &caller.name).await?;
    let environment = connection
        .branches
        .get(&branch)
        .map_or("", |followed| followed.environment.as_str());
    app.audit(
        &caller,
        "git.deploy",
        format!("{}/{environment}", connection.project),
        Some(format!("{} {branch}", connection.url)),
    )
    .await;
    Ok(Json(told(delivery)))
}

async fn deliveries(
    State(app): State<Arc<App>>,
    at: OfConnection,
    Params(query): Params<PageQuery>,
) -> Answer<Json<Page<DeliveryAnswer>>> {
    let limit = answers::limit(&query)?;
    let before = query
        .after
        .as_deref()
        .map(str::parse::<u64>)
        .transpose()
        .map_err(|_| Error::user(Code::InvalidInput, "`after` is not the number of a delivery."))?;
    let connection = must(&app, &at).await?;
    let found = app
        .store
        .list_deliveries(&connection.id, before, limit + 1)
        .await?;
    let page = answers::page(found, limit, |d| d.number.to_string());
    Ok(Json(Page {
        items: page.items.into_iter().map(told).collect(),
        next: page.next,
    }))
}

async fn delivery(State(app): State<Arc<App>>, at: OfDelivery) -> Answer<Json<DeliveryLogAnswer>> {
    let connection = must(&app, &at.of).await?;
    let found = app.store.delivery(&connection.id, at.number).await?;
    let (delivery, log) = found.ok_or_else(|| {
        Error::user(
            Code::NotFound,
            format!("The connection {} has no delivery {}.", connection.id, at.number),
        )
        .hint("`nonna git deliveries` lists them; the oldest are forgotten.")
    })?;
    Ok(Json(DeliveryLogAnswer {
        delivery: told(delivery),
        log,
    }))
}

async fn hook(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    Last(id): Last,
    request: Request,
) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let peer = peer.map(|Extension(peer)| peer);
    let (status, answer) = forge::receive(&app, &id, peer, &parts.headers, body).await?;
    Ok((status, Json(answer)).into_response())
}
