//! What a folder's other files say, as the ground that a manifest stands on:
//! the manifest's own fields win, one by one.

use std::collections::BTreeMap;

use super::service::Fields;
use super::{At, DEFAULT_SERVICE, Manifest};
use crate::name::Name;
use crate::service::{HealthCheck, Probe};

/// What a Procfile and an app.json say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Base {
    /// The process types.
    pub(crate) services: Vec<BaseService>,
    /// What runs before each release.
    pub(crate) release: Option<Vec<String>>,
    /// What runs in the first deployment.
    pub(crate) post_deploy: Option<Vec<String>>,
    /// How replicas of services are found healthy.
    pub(crate) health: BTreeMap<Name, HealthCheck>,
    /// Variables of the project.
    pub(crate) variables: BTreeMap<String, String>,
}

/// A process type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BaseService {
    /// The service that it is.
    pub(crate) name: Name,
    /// What it runs.
    pub(crate) command: Vec<String>,
    /// It has a port.
    pub(crate) listens: bool,
}

impl Base {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A value that stands nowhere in the manifest.
fn unwritten<T>(value: T) -> At<T> {
    At { value, at: 0..0 }
}

/// Whether a service is built from the manifest's own folder.
fn is_root(fields: &Fields) -> bool {
    fields.image.is_none() && fields.source.as_ref().is_none_or(|path| path.value == ".")
}

/// Lays the manifest over its ground. False where the ground does not count:
/// the manifest builds folders, and this one is not among them.
pub(super) fn lay_under(manifest: &mut Manifest, base: &Base) -> bool {
    if base.is_empty() {
        return true;
    }
    let mut built = manifest
        .services
        .values()
        .filter(|fields| fields.image.is_none())
        .peekable();
    if built.peek().is_some() && !built.any(is_root) {
        return false;
    }
    for (name, value) in &base.variables {
        manifest
            .variables
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    if base.services.is_empty()
        && manifest.services.is_empty()
        && let Ok(name) = DEFAULT_SERVICE.parse()
    {
        manifest.services.insert(name, Fields::default());
    }
    for service in &base.services {
        let fields = manifest.services.entry(service.name.clone()).or_default();
        if !is_root(fields) {
            continue;
        }
        fields
            .command
            .get_or_insert_with(|| unwritten(service.command.clone()));
        if !service.listens {
            fields.port.get_or_insert_with(|| unwritten(None));
        }
    }
    for (name, check) in &base.health {
        if let Some(fields) = manifest.services.get_mut(name).filter(|fields| is_root(fields)) {
            // A check of a port needs one.
            let listens = !matches!(&fields.port, Some(port) if port.value.is_none());
            let needs_port = matches!(
                check.probe,
                Probe::Http { port: None, .. } | Probe::Tcp { port: None }
            );
            if listens || !needs_port {
                fields.health.get_or_insert_with(|| unwritten(check.clone()));
            }
        }
    }
    let owner = base
        .services
        .iter()
        .map(|service| service.name.as_str())
        .filter(|name| {
            manifest
                .services
                .iter()
                .any(|(n, f)| n.as_str() == *name && is_root(f))
        })
        .min_by_key(|name| *name != DEFAULT_SERVICE)
        .map(str::to_owned)
        .or_else(|| {
            let mut root = manifest.services.iter().filter(|(_, fields)| is_root(fields));
            let web = root.clone().find(|(name, _)| name.as_str() == DEFAULT_SERVICE);
            web.or_else(|| root.next()).map(|(name, _)| name.to_string())
        });
    let owner = owner.and_then(|name| name.parse::<Name>().ok());
    if let Some(fields) = owner.and_then(|name| manifest.services.get_mut(&name)) {
        if let Some(release) = &base.release {
            fields.release.get_or_insert_with(|| unwritten(release.clone()));
        }
        if let Some(post_deploy) = &base.post_deploy {
            fields
                .post_deploy
                .get_or_insert_with(|| unwritten(post_deploy.clone()));
        }
    }
    true
}
