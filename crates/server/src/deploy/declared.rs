//! From the words of a request to services, and the code that several of them
//! share.

use data_encoding::HEXLOWER;
use nonna_api::DesiredRequest;
use nonna_engine::{Code, Error, Result};
use nonna_model::ServiceId;
use nonna_model::folder::{PROCFILE, SecretFrom, SecretSource};
use nonna_model::manifest::{self, DeclaredSource, Problems, ServiceDeclaration};
use nonna_model::plan::Scope;
use nonna_model::service::Source;
use nonna_store::records::{Owner, VariablesChange};
use secrecy::SecretString;

use super::desired::unknown_service;
use super::manager::Deployments;
use super::queue::Place;

/// How many random bytes a secret has that is made up.
const GENERATED: usize = 32;

/// The services that a request is about.
pub(super) struct Services {
    pub(super) services: Vec<ServiceDeclaration>,
    /// Some of them are process types of a Procfile.
    pub(super) has_processes: bool,
    /// Secrets that are made up before the deployment, if they are not set.
    pub(super) generated: Vec<String>,
}

/// Code that is built once, whatever number of services run it.
pub(super) struct SameCode<'a> {
    pub(super) source: &'a Source,
    /// The port that the build is told: of the first service that listens.
    pub(super) port: Option<u16>,
    /// The services that run it.
    pub(super) services: Vec<&'a ServiceId>,
}

impl<'a> SameCode<'a> {
    /// The code of this source, among all that is wanted.
    pub(super) fn of(source: &'a Source, wanted: &'a [(ServiceId, &ServiceDeclaration, Source)]) -> Self {
        let same = || wanted.iter().filter(|(.., other)| other == source);
        Self {
            source,
            port: same().find_map(|(_, declaration, _)| declaration.port.number()),
            services: same().map(|(id, ..)| id).collect(),
        }
    }
}

/// What is wrong with a folder's words, as one error.
pub(crate) fn mistakes(problems: &Problems) -> Error {
    let count = problems.0.len();
    let mut files: Vec<&str> = problems.0.iter().map(|p| p.file.as_str()).collect();
    files.dedup();
    let error = Error::user(
        Code::InvalidInput,
        format!(
            "{} {} {count} mistake{}.",
            files.join(" and "),
            if files.len() == 1 { "has" } else { "have" },
            if count == 1 { "" } else { "s" }
        ),
    );
    problems
        .0
        .iter()
        .fold(error, |error, problem| error.detail(problem.to_string()))
}

fn generated(secrets: &[SecretSource]) -> Vec<String> {
    secrets
        .iter()
        .filter(|secret| secret.from == SecretFrom::Generated)
        .map(|secret| secret.name.clone())
        .collect()
}

impl Deployments {
    /// Makes up the secrets that the request's words want made up, and that
    /// the environment does not have yet.
    pub(super) async fn make_secrets_up(
        &self,
        place: &Place,
        request: &DesiredRequest,
        actor: &str,
    ) -> Result<()> {
        let declared = request
            .words()
            .declare(Some(&place.1))
            .map_err(|problems| mistakes(&problems))?;
        let names = generated(&declared.secrets);
        if names.is_empty() {
            return Ok(());
        }
        let store = &self.parts.store;
        let project = store.ensure_project(&self.parts.organization, &place.0).await?;
        let environment = store.ensure_environment(&project.id, &place.1).await?;
        let owner = Owner::Environment(environment.id);
        let there = store.list_variables(&owner).await?;
        let mut change = VariablesChange::of(owner, actor.to_owned());
        for name in names {
            if there.iter().any(|variable| variable.name == name) {
                continue;
            }
            let mut bytes = [0_u8; GENERATED];
            getrandom::fill(&mut bytes)
                .map_err(|e| Error::bug(format!("the system gives no randomness: {e}")))?;
            change
                .set_secrets
                .insert(name, SecretString::from(HEXLOWER.encode(&bytes)));
        }
        if !change.set_secrets.is_empty() {
            store.change_variables(change).await?;
        }
        Ok(())
    }
}

/// Where a service's image comes from, with the build context that was sent.
pub(super) fn source(declaration: &ServiceDeclaration, request: &DesiredRequest) -> Result<Source> {
    let name = &declaration.name;
    let DeclaredSource::Folder { path, .. } = &declaration.source else {
        return Ok(declaration.source.with_context(""));
    };
    let context = request.contexts.get(name.as_str()).ok_or_else(|| {
        Error::user(
            Code::InvalidInput,
            format!(
                "The service `{name}` is built from the folder `{path}`, and no build context was sent for it."
            ),
        )
        .hint("Send it with `nonna deploy`, or name an image with `--image`.")
    })?;
    if nonna_model::context::digest_hex(context).is_none() {
        return Err(Error::user(
            Code::InvalidInput,
            format!(
                "The build context of `{name}` is named by no digest: expected `sha256:` and 64 hexadecimal digits."
            ),
        ));
    }
    Ok(declaration.source.with_context(context.clone()))
}

/// The services of the manifest that the request is about.
pub(super) fn read(scope: &Scope, request: &DesiredRequest) -> Result<Services> {
    let declared = request
        .words()
        .declare(Some(&scope.environment_name))
        .map_err(|problems| mistakes(&problems))?;
    let mut declarations = declared.services;
    let names: Vec<String> = declarations.iter().map(|d| d.name.to_string()).collect();
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let about = request
        .services
        .iter()
        .map(String::as_str)
        .chain(request.contexts.keys().map(String::as_str));
    if let Some(unknown) = about.into_iter().find(|name| !listed.contains(name)) {
        let shown: String = unknown.chars().take(64).collect();
        return Err(unknown_service(&shown, scope, &listed));
    }
    if !request.services.is_empty() {
        declarations.retain(|d| request.services.iter().any(|name| *name == d.name.as_str()));
    }
    if let Some(image) = &request.image {
        manifest::value::check_image(image).map_err(|e| {
            Error::user(Code::InvalidInput, format!("`image`: {}", e.message))
                .hint("Write it as `docker pull` takes it: `nginx:1.27`, `ghcr.io/owner/app@sha256:…`.")
        })?;
        let target = match declarations.as_mut_slice() {
            [only] => Some(only),
            all => all
                .iter_mut()
                .find(|d| d.name.as_str() == manifest::DEFAULT_SERVICE),
        };
        let Some(target) = target else {
            return Err(Error::user(
                Code::InvalidInput,
                "It is not clear which service the image is for.",
            )
            .hint(format!("Name one of {}.", listed.join(", "))));
        };
        target.source = DeclaredSource::Image {
            reference: image.clone(),
        };
    }
    Ok(Services {
        services: declarations,
        generated: generated(&declared.secrets),
        has_processes: request.files.contains_key(PROCFILE) && request.compose.is_none(),
    })
}
