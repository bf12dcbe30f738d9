//! Laying an environment's overrides over the services, and the mistakes that
//! only show when several fields or services are seen together.

use std::collections::BTreeMap;

use super::declaration::{DeclaredPort, DeclaredSource, ServiceDeclaration};
use super::problem::Report;
use super::service::Fields;
use super::{At, DEFAULT_ENVIRONMENT, DEFAULT_SERVICE, Manifest, build};
use crate::name::Name;
use crate::service::{
    DEFAULT_JOB_TIMEOUT_MS, DEFAULT_STOP_TIMEOUT_MS, HostAccess, JobSpec, Probe, Push, Resources, RouteSpec,
    Strategy, VolumeMount,
};

impl Manifest {
    /// The names of its services; `web` alone where it declares none.
    #[must_use]
    pub fn service_names(&self) -> Vec<Name> {
        self.services_in(None).into_keys().collect()
    }

    /// The environments for which something differs.
    #[must_use]
    pub fn environment_names(&self) -> Vec<Name> {
        self.environments.keys().cloned().collect()
    }

    /// Where a deploy goes that is not told: the manifest's `environment`, else
    /// `production`.
    #[must_use]
    pub fn default_environment(&self) -> Option<Name> {
        self.environment
            .clone()
            .or_else(|| DEFAULT_ENVIRONMENT.parse().ok())
    }

    /// The services as this environment wants them, by name. Variables of all
    /// scopes are merged: those of a service win over those of its
    /// environment, and those over the project's; within one scope, what an
    /// environment says wins over what holds everywhere.
    #[must_use]
    pub fn resolve(&self, environment: &Name) -> Vec<ServiceDeclaration> {
        let mut shared = self.variables.clone();
        if let Some(overrides) = self.environments.get(environment) {
            shared.extend(overrides.variables.clone());
        }
        self.services_in(Some(environment))
            .iter()
            .map(|(name, fields)| declare(name, fields, &shared, &self.build))
            .collect()
    }

    fn services_in(&self, environment: Option<&Name>) -> BTreeMap<Name, Fields> {
        let mut services = self.services.clone();
        if services.is_empty()
            && let Ok(name) = DEFAULT_SERVICE.parse()
        {
            services.insert(name, Fields::default());
        }
        if let Some(overrides) = environment.and_then(|name| self.environments.get(name)) {
            for (name, over) in &overrides.services {
                if let Some(fields) = services.get_mut(name) {
                    *fields = fields.overridden_by(over);
                }
            }
        }
        services
    }
}

/// What a service says of its build, over what is said of the manifest's own
/// folder if it is built from that. A Dockerfile that is named leaves nothing
/// to detect.
fn build(fields: &Fields, own_folder: &build::Fields) -> build::Fields {
    let said = if fields.source.as_ref().is_none_or(|path| path.value == ".") {
        own_folder.overridden_by(&fields.build)
    } else {
        fields.build.clone()
    };
    if fields.dockerfile.is_some() {
        said.of_dockerfiles()
    } else {
        said
    }
}

fn declare(
    name: &Name,
    fields: &Fields,
    shared: &BTreeMap<String, String>,
    own_folder: &build::Fields,
) -> ServiceDeclaration {
    let build = build(fields, own_folder);
    let source = match &fields.image {
        Some(image) => DeclaredSource::Image {
            reference: image.value.clone(),
        },
        None => DeclaredSource::Folder {
            path: fields
                .source
                .as_ref()
                .map_or_else(|| ".".to_owned(), |path| path.value.clone()),
            dockerfile: fields.dockerfile.as_ref().map(|path| path.value.clone()),
            target: fields.target.as_ref().map(|stage| stage.value.clone()),
            arguments: values(&fields.build_arguments),
            timeout_ms: fields.build_timeout_ms.as_ref().map(|time| time.value),
            overrides: Box::new(build.plain()),
            secrets: build.secrets(),
        },
    };
    // A database does not bear two processes on one volume, and an image with
    // a volume nearly always is one.
    let default_strategy = if fields.image.is_some() && !fields.volumes.is_empty() {
        Strategy::Recreate
    } else {
        Strategy::Rolling
    };
    let limits = Resources::default();
    let mut variables = shared.clone();
    variables.extend(values(&fields.variables));
    ServiceDeclaration {
        name: name.clone(),
        push: fields.push.as_ref().map(|repository| Push {
            repository: repository.value.clone(),
            required: fields
                .push_required
                .as_ref()
                .is_none_or(|required| required.value),
        }),
        source,
        command: fields.command.as_ref().map(|words| words.value.clone()),
        entrypoint: None,
        user: None,
        working_directory: None,
        port: match fields.port.as_ref().map(|port| port.value) {
            None => DeclaredPort::Unsaid,
            Some(None) => DeclaredPort::Nothing,
            Some(Some(port)) => DeclaredPort::Number(port),
        },
        protocol: fields.protocol.as_ref().map(|p| p.value).unwrap_or_default(),
        replicas: fields.replicas.as_ref().map(|replicas| replicas.value),
        initial_replicas: None,
        routes: routes(fields).map(|(route, _)| route.clone()).collect(),
        health: fields
            .health
            .as_ref()
            .map(|health| health.value.clone())
            .unwrap_or_default(),
        resources: Resources {
            cpu_millis: fields.cpu_millis.as_ref().map(|cpu| cpu.value),
            memory: fields
                .memory
                .as_ref()
                .map_or(limits.memory, |memory| memory.value),
            pids: fields.pids.as_ref().map_or(limits.pids, |pids| pids.value),
        },
        restart: fields.restart.as_ref().map(|r| r.value).unwrap_or_default(),
        strategy: fields
            .strategy
            .as_ref()
            .map_or(default_strategy, |strategy| strategy.value),
        volumes: fields
            .volumes
            .iter()
            .map(|(name, path)| VolumeMount {
                name: name.clone(),
                path: path.value.clone(),
            })
            .collect(),
        host: HostAccess::default(),
        files: Vec::new(),
        aliases: Vec::new(),
        release: job(&fields.release, fields.release_timeout_ms.as_ref()),
        post_deploy: job(&fields.post_deploy, fields.release_timeout_ms.as_ref()),
        after: fields
            .after
            .iter()
            .flat_map(|after| &after.value)
            .map(|name| name.value.clone())
            .collect(),
        stop_timeout_ms: fields
            .stop_timeout_ms
            .as_ref()
            .map_or(DEFAULT_STOP_TIMEOUT_MS, |t| t.value),
        variables,
        watch: fields
            .watch
            .iter()
            .flat_map(|watch| &watch.value)
            .map(|path| path.value.clone())
            .collect(),
        required_secrets: fields
            .secrets
            .iter()
            .flat_map(|secrets| &secrets.value)
            .map(|secret| secret.value.clone())
            .collect(),
        required_variables: Vec::new(),
        withheld_secrets: Vec::new(),
    }
}

fn job(command: &Option<At<Vec<String>>>, timeout: Option<&At<u64>>) -> Option<JobSpec> {
    Some(JobSpec {
        command: command.as_ref()?.value.clone(),
        timeout_ms: timeout.map_or(DEFAULT_JOB_TIMEOUT_MS, |timeout| timeout.value),
    })
}

fn values(of: &BTreeMap<String, super::At<String>>) -> BTreeMap<String, String> {
    of.iter()
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect()
}

fn routes(fields: &Fields) -> impl Iterator<Item = (&RouteSpec, &std::ops::Range<usize>)> {
    fields
        .domains
        .iter()
        .flat_map(|domains| &domains.value)
        .map(|route| (&route.value, &route.at))
}

/// Notes what does not go together, in the services as they are declared and
/// as each environment changes them.
pub(super) fn check(manifest: &Manifest, whole: bool, report: &mut Report<'_>) {
    if !whole && !report.is_clean() && manifest.services.is_empty() {
        return;
    }
    check_services(&manifest.services_in(None), report);
    for environment in manifest.environments.keys() {
        check_services(&manifest.services_in(Some(environment)), report);
    }
}

fn check_services(services: &BTreeMap<Name, Fields>, report: &mut Report<'_>) {
    for fields in services.values() {
        check_source(fields, report);
        check_port(fields, report);
        check_volumes(fields, report);
        for secret in fields.secrets.iter().flat_map(|secrets| &secrets.value) {
            if fields.variables.contains_key(&secret.value) {
                report.add(
                    &secret.at,
                    format!(
                        "`{}` is a variable of this service already: it is one or the other",
                        secret.value
                    ),
                );
            }
        }
    }
    check_routes(services, report);
    check_after(services, report);
}

/// What a service waits for must be there, and must not wait for it in turn.
fn check_after(services: &BTreeMap<Name, Fields>, report: &mut Report<'_>) {
    let waits = |name: &Name| {
        services
            .get(name)
            .and_then(|fields| fields.after.as_ref())
            .map(|after| after.value.as_slice())
            .unwrap_or_default()
    };
    for name in services.keys() {
        for other in waits(name) {
            if !services.contains_key(&other.value) {
                let near = super::reader::nearest(other.value.as_str(), services.keys().map(Name::as_str));
                report.suggest(
                    &other.at,
                    format!("there is no service `{}` to wait for", other.value),
                    near,
                );
                continue;
            }
            let mut reached = vec![&other.value];
            let mut at = 0;
            while let Some(next) = reached.get(at).copied() {
                at += 1;
                for further in waits(next) {
                    if !reached.contains(&&further.value) {
                        reached.push(&further.value);
                    }
                }
            }
            if reached.contains(&name) {
                report.add(
                    &other.at,
                    format!("`{name}` would wait for `{}`, which waits for it", other.value),
                );
            }
        }
    }
}

fn check_source(fields: &Fields, report: &mut Report<'_>) {
    if let Some(at) = fields.build.place().filter(|_| fields.image.is_some()) {
        report.add(
            at,
            "`build` is for services that are built, and this one has an `image`",
        );
        return;
    }
    if let Some(said) = fields.build.any().filter(|_| fields.dockerfile.is_some()) {
        report.add(
            &said.at,
            "`build` is for languages that are detected, and this service names a `dockerfile`, which is the whole \
             plan: leave out one of them",
        );
    }
    let Some(image) = &fields.image else { return };
    if fields.source.is_some() {
        report.add(
            &image.at,
            "a service has either `image` or `source`: leave out `image` to build it, `source` to run the image",
        );
        return;
    }
    let only_for_builds = [
        ("dockerfile", &fields.dockerfile),
        ("target", &fields.target),
        ("push", &fields.push),
    ];
    for (name, field) in only_for_builds {
        if let Some(field) = field {
            report.add(
                &field.at,
                format!("`{name}` is for services that are built, and this one has an `image`"),
            );
        }
    }
    if let Some(argument) = fields.build_arguments.values().next() {
        report.add(
            &argument.at,
            "`build_arguments` are for services that are built, and this one has an `image`",
        );
    }
    if let Some(timeout) = &fields.build_timeout_ms {
        report.add(
            &timeout.at,
            "`build_timeout` is for services that are built, and this one has an `image`",
        );
    }
}

fn check_port(fields: &Fields, report: &mut Report<'_>) {
    if !matches!(&fields.port, Some(port) if port.value.is_none()) {
        return;
    }
    if let Some(domains) = fields
        .domains
        .as_ref()
        .filter(|domains| !domains.value.is_empty())
    {
        report.add(
            &domains.at,
            "`domains` lead to a port, and `port = false` says that nothing listens",
        );
    }
    if let Some(health) = &fields.health
        && matches!(
            health.value.probe,
            Probe::Http { port: None, .. } | Probe::Tcp { port: None }
        )
    {
        report.add(
            &health.at,
            "this health check asks the service's port, and `port = false` says that nothing listens: give the \
             check a `port`, a `command`, or `process = true`",
        );
    }
    if let Some(protocol) = &fields.protocol {
        report.add(
            &protocol.at,
            "`protocol` is what the edge speaks to a port, and `port = false` says that nothing listens",
        );
    }
}

fn check_volumes(fields: &Fields, report: &mut Report<'_>) {
    let mut volumes: Vec<_> = fields.volumes.iter().collect();
    volumes.sort_by_key(|(_, path)| path.at.start);
    let mut seen = BTreeMap::new();
    for (name, path) in volumes {
        if let Some(first) = seen.insert(&path.value, name) {
            report.add(&path.at, format!("the volume `{first}` is at this path already"));
        }
    }
}

fn check_routes(services: &BTreeMap<Name, Fields>, report: &mut Report<'_>) {
    let mut all: Vec<_> = services
        .iter()
        .flat_map(|(name, fields)| routes(fields).map(move |(route, at)| (at, route, name)))
        .collect();
    all.sort_by_key(|(at, ..)| at.start);
    let mut seen: BTreeMap<&RouteSpec, &Name> = BTreeMap::new();
    for (at, route, name) in all {
        match seen.get(route) {
            Some(first) => report.add(at, format!("this domain leads to the service `{first}` already")),
            None => {
                seen.insert(route, name);
            }
        }
    }
}
