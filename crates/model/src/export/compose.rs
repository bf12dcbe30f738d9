//! An environment as a Compose project.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{CAPABILITIES, ExportError, ExportFile, ExportedEnvironment, ExportedService, secrets, yaml};
use crate::name::Name;
use crate::service::{FileContent, HealthCheck, Probe, RestartPolicy, ServiceSpec, Source};

/// Ports below this one may be refused to those who are not root.
const FIRST_FREE_PORT: u16 = 1024;
/// From where ports are given to services whose own one is taken.
const SPARE_PORTS: u16 = 8080;

/// Makes `compose.yaml`, `.env.example`, the Dockerfiles that were made for
/// detected languages, and an `EXPORT.md` that says how to start it.
///
/// The files belong into the project's folder, beside its source.
///
/// # Errors
/// Where the data cannot be written as YAML.
pub fn compose(environment: &ExportedEnvironment) -> Result<Vec<ExportFile>, ExportError> {
    let references = secrets::references(environment);
    let ports = host_ports(environment);
    let mut services = Map::new();
    let mut volumes = Map::new();
    let mut secrets = Map::new();
    let mut configs = Map::new();
    for service in &environment.services {
        for volume in &service.release.spec.volumes {
            volumes.insert(volume_name(service, &volume.name), json!({}));
        }
        let declared = declare(
            environment,
            service,
            &references,
            ports.get(&service.name).copied(),
        );
        services.insert(service.name.to_string(), declared);
        for (number, file) in service.release.spec.files.iter().enumerate() {
            match &file.content {
                FileContent::Secret { name } => {
                    if let Some(reference) = references.get(&(service.name.clone(), name.clone())) {
                        secrets.insert(reference.clone(), json!({"environment": reference}));
                    }
                }
                FileContent::Text { text } => {
                    configs.insert(config_name(service, number), json!({"content": escape(text)}));
                }
            }
        }
    }
    let mut project = json!({"services": services, "networks": {"private": {}}});
    for (section, things) in [("volumes", volumes), ("secrets", secrets), ("configs", configs)] {
        if !things.is_empty() {
            project[section] = Value::Object(things);
        }
    }
    let mut files = vec![
        ExportFile {
            path: "compose.yaml".into(),
            contents: yaml(&[project])?,
        },
        ExportFile {
            path: ".env.example".into(),
            contents: env_example(environment, &references, &ports),
        },
        ExportFile {
            path: "EXPORT.md".into(),
            contents: notes(environment, &ports),
        },
    ];
    files.extend(
        environment
            .services
            .iter()
            .flat_map(ExportedService::generated_files),
    );
    Ok(files)
}

fn declare(
    environment: &ExportedEnvironment,
    service: &ExportedService,
    references: &BTreeMap<(Name, String), String>,
    host_port: Option<u16>,
) -> Value {
    let spec = &service.release.spec;
    let mut out = json!({
        "cap_add": CAPABILITIES,
        "cap_drop": ["ALL"],
        "init": true,
        "logging": {"driver": "json-file", "options": {"max-file": "3", "max-size": "10m"}},
        "networks": ["private"],
        "pids_limit": spec.resources.pids,
        "restart": match spec.restart {
            RestartPolicy::Always => "unless-stopped",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Never => "no",
        },
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": format!("{}s", spec.stop_timeout_ms.div_ceil(1000)),
    });
    image(environment, service, &mut out);
    if let Some(command) = &spec.command {
        out["command"] = command.iter().map(|word| escape(word)).collect();
    }
    if let Some(entrypoint) = &spec.entrypoint {
        out["entrypoint"] = entrypoint.iter().map(|word| escape(word)).collect();
    }
    if let Some(user) = &spec.user {
        out["user"] = escape(user).into();
    }
    if let Some(folder) = &spec.working_directory {
        out["working_dir"] = escape(folder).into();
    }
    if !spec.aliases.is_empty() {
        out["networks"] = json!({"private": {"aliases": spec.aliases}});
    }
    files(service, references, &mut out);
    let variables = variables(service, references);
    if !variables.is_empty() {
        out["environment"] = Value::Object(variables);
    }
    if let Some(check) = health_check(spec) {
        out["healthcheck"] = check;
    }
    if let Some(millis) = spec.resources.cpu_millis {
        out["cpus"] = json!(f64::from(millis) / 1000.0);
    }
    if let Some(memory) = spec.resources.memory {
        out["mem_limit"] = format!("{}b", memory.0).into();
        // Memory and swap together: no swap.
        out["memswap_limit"] = format!("{}b", memory.0).into();
    }
    if let (Some(port), Some(host_port)) = (spec.port, host_port) {
        // Every replica needs a port of its own on the host.
        let last = u32::from(host_port) + service.replicas.max(1) - 1;
        let range = if last == u32::from(host_port) {
            host_port.to_string()
        } else {
            format!("{host_port}-{last}")
        };
        out["ports"] = json!([format!(
            "127.0.0.1:${{{}:-{range}}}:{port}",
            port_variable(service)
        )]);
    }
    if service.replicas != 1 {
        out["scale"] = service.replicas.into();
    }
    let named = spec.volumes.iter().map(|volume| {
        json!({
            "type": "volume",
            "source": volume_name(service, &volume.name),
            "target": escape(&volume.path),
        })
    });
    let of_host = spec.host.mounts.iter().map(|mount| {
        json!({
            "type": "bind",
            "source": escape(&mount.source),
            "target": escape(&mount.path),
            "read_only": mount.read_only,
        })
    });
    let volumes: Vec<Value> = named.chain(of_host).collect();
    if !volumes.is_empty() {
        out["volumes"] = volumes.into();
    }
    if spec.host.privileged {
        out["privileged"] = true.into();
        for kept in ["cap_add", "cap_drop", "security_opt"] {
            out.as_object_mut().map(|fields| fields.remove(kept));
        }
    }
    out
}

fn image(environment: &ExportedEnvironment, service: &ExportedService, out: &mut Value) {
    if let Some(image) = service.pulled_image() {
        out["image"] = escape(image).into();
        return;
    }
    let built = format!("{}:{}", environment.image_name(service), service.release.number);
    let (Some(build), Source::Build(source)) = (&service.build, &service.release.spec.source) else {
        // Its source is not at hand: the image stays where it was built.
        out["image"] = service.release.image.as_deref().map_or(built, escape).into();
        return;
    };
    out["image"] = built.into();
    let folder = build.folder.trim_matches('/');
    let context = if matches!(folder, "" | ".") {
        ".".to_owned()
    } else {
        format!("./{folder}")
    };
    let mut section = json!({"context": escape(&context)});
    if let Some(dockerfile) = service.dockerfile() {
        section["dockerfile"] = escape(&dockerfile).into();
    }
    if let Some(target) = &source.target {
        section["target"] = escape(target).into();
    }
    if !source.arguments.is_empty() {
        section["args"] = source
            .arguments
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(escape(value))))
            .collect::<Map<_, _>>()
            .into();
    }
    out["build"] = section;
}

fn config_name(service: &ExportedService, number: usize) -> String {
    format!("{}-{number}", service.name)
}

/// Files, as secrets and configs of the project.
fn files(service: &ExportedService, references: &BTreeMap<(Name, String), String>, out: &mut Value) {
    let mut secrets = Vec::new();
    let mut configs = Vec::new();
    for (number, file) in service.release.spec.files.iter().enumerate() {
        let source = match &file.content {
            FileContent::Secret { name } => references.get(&(service.name.clone(), name.clone())).cloned(),
            FileContent::Text { .. } => Some(config_name(service, number)),
        };
        let Some(source) = source else { continue };
        let grant =
            json!({"source": source, "target": escape(&file.path), "mode": format!("{:04o}", file.mode)});
        match &file.content {
            FileContent::Secret { .. } => secrets.push(grant),
            FileContent::Text { .. } => configs.push(grant),
        }
    }
    for (section, grants) in [("secrets", secrets), ("configs", configs)] {
        if !grants.is_empty() {
            out[section] = grants.into();
        }
    }
}

fn variables(service: &ExportedService, references: &BTreeMap<(Name, String), String>) -> Map<String, Value> {
    let spec = &service.release.spec;
    let mut out: Map<String, Value> = spec
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), escape(value).into()))
        .collect();
    for secret in spec.secrets.keys().filter(|secret| !spec.is_file(secret)) {
        if let Some(reference) = references.get(&(service.name.clone(), secret.clone())) {
            let value = format!("${{{reference}:?set {reference} in the file .env}}");
            out.insert(secret.clone(), value.into());
        }
    }
    if let Some(port) = spec.port {
        out.insert("PORT".into(), port.to_string().into());
    }
    out
}

/// A check that runs inside the container, which is all that Compose has. A
/// probe over the network needs a program there; where the image has none,
/// it passes rather than call a good replica ill.
fn health_check(spec: &ServiceSpec) -> Option<Value> {
    let check = &spec.health;
    let test = match &check.probe {
        Probe::Auto => return None,
        Probe::Process => return Some(json!({"disable": true})),
        Probe::Command { command } => {
            let mut test = vec!["CMD".to_owned()];
            test.extend(command.iter().map(|word| escape(word)));
            test
        }
        Probe::Http { path, port } => {
            let url = format!("http://127.0.0.1:{}{path}", port.or(spec.port)?);
            const SCRIPT: &str = "if command -v curl >/dev/null; then exec curl -fsS -o /dev/null -- \"$0\"; \
                                  elif command -v wget >/dev/null; then exec wget -q -O /dev/null \"$0\"; fi";
            in_shell(SCRIPT, &url)
        }
        Probe::Tcp { port } => {
            // Not every `nc` knows `-z`.
            const SCRIPT: &str = "if command -v nc >/dev/null; then nc -z 127.0.0.1 \"$0\" 2>/dev/null || \
                                  nc -w 1 127.0.0.1 \"$0\" </dev/null >/dev/null; fi";
            in_shell(SCRIPT, &port.or(spec.port)?.to_string())
        }
    };
    Some(timed(&test, check))
}

/// The value is the script's `$0`, never part of its text.
fn in_shell(script: &str, value: &str) -> Vec<String> {
    ["CMD", "sh", "-c", script, value]
        .into_iter()
        .map(escape)
        .collect()
}

fn timed(test: &[String], check: &HealthCheck) -> Value {
    json!({
        "test": test,
        "interval": format!("{}ms", check.interval_ms),
        "timeout": format!("{}ms", check.timeout_ms),
        "start_period": format!("{}ms", check.start_period_ms),
        "retries": check.retries,
    })
}

/// Compose replaces `$NAME` everywhere; what is meant as it stands has `$$`.
fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

fn volume_name(service: &ExportedService, volume: &Name) -> String {
    format!("{}-{volume}", service.name)
}

/// What sets a service's port on the host.
fn port_variable(service: &ExportedService) -> String {
    format!(
        "{}_HOST_PORT",
        service.name.as_str().to_ascii_uppercase().replace('-', "_")
    )
}

/// A port on the host for each service that listens: its own where that may
/// be had, no two the same, and as many in a row as it has replicas.
fn host_ports(environment: &ExportedEnvironment) -> BTreeMap<Name, u16> {
    let mut taken: Vec<(u32, u32)> = Vec::new();
    let mut out = BTreeMap::new();
    for service in &environment.services {
        let Some(port) = service.release.spec.port else {
            continue;
        };
        let wanted = service.replicas.max(1);
        let free = |from: u32| {
            from + wanted <= 65_536 && taken.iter().all(|(a, b)| from >= *b || from + wanted <= *a)
        };
        let own = Some(u32::from(port)).filter(|port| *port >= u32::from(FIRST_FREE_PORT) && free(*port));
        let Some(from) = own.or_else(|| (u32::from(SPARE_PORTS)..65_536).find(|from| free(*from))) else {
            continue;
        };
        taken.push((from, from + wanted));
        if let Ok(from) = u16::try_from(from) {
            out.insert(service.name.clone(), from);
        }
    }
    out
}

fn env_example(
    environment: &ExportedEnvironment,
    references: &BTreeMap<(Name, String), String>,
    ports: &BTreeMap<Name, u16>,
) -> String {
    let mut out = format!(
        "# Copy this file to .env and fill in the secrets. Do not commit .env.\nCOMPOSE_PROJECT_NAME={}\n",
        environment.title()
    );
    if !references.is_empty() {
        out.push_str("\n# Secrets.\n");
    }
    for ((service, secret), reference) in references {
        out.push_str(&format!("# {secret} of {service}\n{reference}=\n"));
    }
    if !ports.is_empty() {
        out.push_str("\n# Where the services are reached on this machine, if not there.\n");
    }
    for service in &environment.services {
        if let Some(port) = ports.get(&service.name) {
            out.push_str(&format!("# {}={port}\n", port_variable(service)));
        }
    }
    out
}

fn notes(environment: &ExportedEnvironment, ports: &BTreeMap<Name, u16>) -> String {
    let mut out = format!(
        "# {title}\n\n\
         The environment `{environment}` of the project `{project}`, to be run without Nonna.\n\n\
         1. Put these files into the project's folder.\n\
         2. Copy `.env.example` to `.env` and fill in the secrets. Their values are not in any of these files.\n\
         3. Run `docker compose up --detach --build`.\n\n",
        title = environment.title(),
        environment = environment.environment,
        project = environment.project,
    );
    if !ports.is_empty() {
        out.push_str("## Where it answers\n\n| service | address | domains, once |\n|---|---|---|\n");
        for service in &environment.services {
            let Some(port) = ports.get(&service.name) else {
                continue;
            };
            let domains: Vec<String> = service
                .release
                .spec
                .routes
                .iter()
                .map(|route| format!("`{}{}`", route.host, route.path))
                .collect();
            out.push_str(&format!(
                "| `{}` | `127.0.0.1:{port}` | {} |\n",
                service.name,
                domains.join(", ")
            ));
        }
        out.push_str(
            "\nOnly this machine reaches them. Nonna's edge is not part of this: for domains and TLS put a proxy \
             such as Caddy or nginx before these addresses.\n\n",
        );
    }
    out.push_str(
        "## What is not the same\n\n\
         - `docker compose up` stops a container before it starts its next version; requests fail meanwhile.\n\
         - Health checks run inside the containers, with `curl`, `wget` or `nc` where the image has them, and \
         nothing is rolled back.\n\
         - Volumes begin empty. To take the data along, copy it from Nonna's volumes, with the services stopped.\n",
    );
    out.push_str(&environment.notes_on_dockerfiles());
    out.push_str(&commands(environment));
    out
}

/// What nothing runs any more before a release.
fn commands(environment: &ExportedEnvironment) -> String {
    let mut out = String::new();
    for service in &environment.services {
        if let Some(release) = &service.release.spec.release {
            let words: Vec<String> = release
                .command
                .iter()
                .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
                .collect();
            out.push_str(&format!(
                "- Nothing runs the release command. Before each new version: `docker compose run --rm {} {}`.\n",
                service.name,
                words.join(" ")
            ));
        }
    }
    out
}
