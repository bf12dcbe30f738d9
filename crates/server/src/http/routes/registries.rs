//! Registries: credentials, the key that signs, and what of releases is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use nonna_api::{
    Page, PushAnswer, RegistryAnswer, RegistryLoginRequest, RegistryLogoutRequest, SbomQuery,
    SigningKeyAnswer, VerifyAnswer, paths,
};
use nonna_engine::event::Progress;
use nonna_engine::ports::Publisher;
use nonna_engine::ports::registry::Publication;
use nonna_engine::{Code, Error};
use nonna_model::Release;
use nonna_model::image::{InvalidRegistry, RegistryHost};
use nonna_model::plan::Scope;
use nonna_registry::sbom::{self, Subject};
use tokio_util::sync::CancellationToken;

use super::super::failure::Answer;
use super::super::input::{Input, OfAnyRelease, OfService, Params};
use super::super::registry::{Registry, get, post};
use super::super::{App, Caller};
use super::services;
use crate::auth::Permission;
use crate::registries::StoredCredential;

/// The longest user name and secret.
const MAX_USER: usize = 256;
const MAX_SECRET: usize = 64 * 1024;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::REGISTRIES,
                Permission::Read,
                "The registries that credentials are stored for.",
            )
            .answers::<Page<RegistryAnswer>>(),
            list,
        )
        .add(
            post(
                paths::REGISTRIES,
                Permission::Administer,
                "Stores a credential for a registry, once that has let it in.",
            )
            .takes::<RegistryLoginRequest>()
            .answers::<RegistryAnswer>(),
            log_in,
        )
        .add(
            post(
                paths::REGISTRY_LOGOUT,
                Permission::Administer,
                "Forgets a registry's credential.",
            )
            .takes::<RegistryLogoutRequest>()
            .answers_kind("application/json"),
            log_out,
        )
        .add(
            get(
                paths::SIGNING_KEY,
                Permission::Read,
                "The public half of the key that images are signed with.",
            )
            .answers::<SigningKeyAnswer>(),
            key,
        )
        .add(
            get(
                paths::RELEASE_SBOM,
                Permission::Read,
                "What a release's image is made of, as SPDX or CycloneDX.",
            )
            .query::<SbomQuery>()
            .answers_kind("application/json"),
            bill_of_materials,
        )
        .add(
            get(
                paths::RELEASE_VERIFY,
                Permission::Read,
                "Checks the signature of a release's image in its registry.",
            )
            .answers::<VerifyAnswer>(),
            verify,
        )
        .add(
            post(
                paths::RELEASE_PUSH,
                Permission::Deploy,
                "Pushes and signs the image of a release that was built.",
            )
            .answers::<PushAnswer>(),
            push,
        )
}

fn answer(stored: &StoredCredential) -> RegistryAnswer {
    RegistryAnswer {
        registry: stored.registry.to_string(),
        username: stored.username.clone(),
        stored_by: stored.stored_by.clone(),
        stored_at: stored.stored_at,
    }
}

fn host(text: &str) -> Result<RegistryHost, Error> {
    text.parse().map_err(|e: InvalidRegistry| {
        Error::user(Code::InvalidInput, format!("`registry`: {e}."))
            .hint("Name the registry only, not an image in it. Docker Hub is `docker.io`.")
    })
}

async fn list(State(app): State<Arc<App>>) -> Answer<Json<Page<RegistryAnswer>>> {
    let found = app
        .registries
        .credentials
        .list(&app.installation.organization)
        .await?;
    Ok(Json(Page {
        items: found.iter().map(answer).collect(),
        next: None,
    }))
}

async fn log_in(
    State(app): State<Arc<App>>,
    caller: Caller,
    Input(request): Input<RegistryLoginRequest>,
) -> Answer<Json<RegistryAnswer>> {
    let wrong = |message: &str| Error::user(Code::InvalidInput, message);
    let registry = host(&request.registry)?;
    let (username, secret) = match (request.username, request.password, request.identity_token) {
        (Some(username), Some(password), None) => (Some(username), password),
        (None, None, Some(token)) => (None, token),
        _ => {
            return Err(wrong("Give `username` and `password`, or `identity_token`, and not both.").into());
        }
    };
    if secret.is_empty() || secret.len() > MAX_SECRET {
        return Err(wrong("The password is empty or longer than 64 KiB.").into());
    }
    if let Some(name) = &username
        && (name.is_empty() || name.len() > MAX_USER || name.chars().any(|c| c.is_control() || c == ':'))
    {
        return Err(wrong("A user name has 1 to 256 bytes, no `:` and no control characters.").into());
    }
    let new = StoredCredential {
        registry,
        username,
        secret: secret.into(),
        stored_by: caller.name.clone(),
        stored_at: jiff::Timestamp::now().as_millisecond(),
    };
    app.registries
        .log_in(&app.installation.organization, new.clone())
        .await?;
    app.audit(
        &caller,
        "registry.login",
        new.registry.to_string(),
        new.username.clone(),
    )
    .await;
    Ok(Json(answer(&new)))
}

async fn log_out(
    State(app): State<Arc<App>>,
    caller: Caller,
    Input(request): Input<RegistryLogoutRequest>,
) -> Answer<Json<serde_json::Value>> {
    let registry = host(&request.registry)?;
    let organization = &app.installation.organization;
    if !app.registries.credentials.remove(organization, &registry).await? {
        return Err(
            Error::user(Code::NotFound, format!("No credential is stored for {registry}."))
                .hint("`nonna registry list` shows for which there are.")
                .into(),
        );
    }
    app.audit(&caller, "registry.logout", registry.to_string(), None)
        .await;
    Ok(Json(serde_json::json!({ "registry": registry })))
}

async fn key(State(app): State<Arc<App>>) -> Answer<Json<SigningKeyAnswer>> {
    let key = app.registries.public_key(&app.installation.organization).await?;
    Ok(Json(SigningKeyAnswer {
        public_key: key.pem(),
        fingerprint: key.fingerprint(),
    }))
}

/// A release that must be there, with its image and where it stands.
async fn release(app: &App, at: &OfAnyRelease) -> Answer<(Scope, Release, String)> {
    let snapshot = app.snapshot(&at.service.project, &at.service.environment).await?;
    let service = services::must(&snapshot, &at.service)?;
    let number = match (at.release, &service.current) {
        (Some(number), _) => number,
        (None, Some(current)) => current.release.number,
        (None, None) => {
            return Err(Error::user(
                Code::Conflict,
                format!("The service `{}` was never deployed.", at.service.service),
            )
            .hint("Deploy it first: `nonna deploy`.")
            .into());
        }
    };
    let found = services::must_release(app, service, number).await?;
    let image = found.image.clone().ok_or_else(|| {
        Error::user(
            Code::NotFound,
            format!(
                "{number} of `{}` never came to have an image.",
                at.service.service
            ),
        )
    })?;
    Ok((snapshot.scope, found, image))
}

async fn bill_of_materials(
    State(app): State<Arc<App>>,
    at: OfAnyRelease,
    Params(query): Params<SbomQuery>,
) -> Answer<Json<serde_json::Value>> {
    let write = match query.format.as_deref() {
        None | Some("spdx") => sbom::spdx,
        Some("cyclonedx") => sbom::cyclonedx,
        Some(_) => {
            return Err(Error::user(Code::InvalidInput, "`format` must be `spdx` or `cyclonedx`.").into());
        }
    };
    let (_, release, image) = release(&app, &at).await?;
    let contents = app.registries.contents(&image).await?;
    let OfService {
        project,
        environment,
        service,
    } = &at.service;
    let subject = Subject {
        name: format!("{project}/{environment}/{service}"),
        version: release.number.to_string(),
        reference: app.registries.origin(&image).await?,
        image,
        at: jiff::Timestamp::now().as_millisecond(),
    };
    Ok(Json(write(&contents, &subject)))
}

async fn verify(State(app): State<Arc<App>>, at: OfAnyRelease) -> Answer<Json<VerifyAnswer>> {
    let (scope, release, image) = release(&app, &at).await?;
    let verified = app.registries.verify(&scope.organization, &image).await?;
    Ok(Json(VerifyAnswer {
        release: release.number.to_string(),
        reference: verified.reference,
        signatures: verified.signatures,
        key: verified.fingerprint,
    }))
}

async fn push(State(app): State<Arc<App>>, caller: Caller, at: OfAnyRelease) -> Answer<Json<PushAnswer>> {
    let (scope, release, image) = release(&app, &at).await?;
    let Some(push) = &release.spec.push else {
        return Err(Error::user(
            Code::InvalidInput,
            format!(
                "{} of `{}` names no repository to push to.",
                release.number, at.service.service
            ),
        )
        .hint("Write `push = \"registry.example/team/app\"` into the service in nonna.toml and deploy.")
        .into());
    };
    let publication = Publication {
        scope,
        service: release.service.clone(),
        service_name: at.service.service.clone(),
        release: release.number,
        image: image.clone(),
        repository: push.repository.clone(),
    };
    // Cancelled with the request: the future's guard is dropped then.
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let reference = app
        .registries
        .publish(&publication, &Progress::discard(), &cancel)
        .await?;
    app.store.keep_origin(&image, &reference).await?;
    app.audit(&caller, "release.push", reference.clone(), None).await;
    Ok(Json(PushAnswer {
        release: release.number.to_string(),
        reference,
    }))
}
