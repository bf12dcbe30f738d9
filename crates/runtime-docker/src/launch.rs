//! A release as the engine's API has it: what a container is made of.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use nonna_engine::ports::runtime::Launch;
use nonna_model::labels as l;
use nonna_model::plan::Job;
use nonna_model::service::RestartPolicy as Restart;
use secrecy::ExposeSecret;

use crate::labels::{self, ROLE_JOB, ROLE_REPLICA, ROLE_RUN};
use crate::names;

/// What a replica may do of what root may: what images commonly need to start
/// and to drop their rights, and no more.
const CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];

/// The engine keeps this much of a replica's log.
const LOG_FILE_SIZE: &str = "10m";
const LOG_FILES: &str = "3";

/// The body of the call that makes a replica.
pub(crate) fn replica(installation: &str, launch: &Launch, index: u32) -> ContainerCreateBody {
    let mut body = container(installation, launch, ROLE_REPLICA);
    if let Some(labels) = &mut body.labels {
        labels.insert(l::REPLICA.into(), index.to_string());
    }
    body.env
        .get_or_insert_default()
        .push(format!("NONNA_REPLICA={index}"));
    let names = std::iter::once(launch.service_name.to_string()).chain(launch.spec.aliases.iter().cloned());
    body.networking_config = Some(networking(launch, names.collect()));
    if let Some(host) = &mut body.host_config {
        host.restart_policy = Some(restart_policy(launch.spec.restart));
    }
    body
}

/// The body of the call that makes the container of a one-off command: like a
/// replica, but nobody finds it by the service's name, and it stays ended.
pub(crate) fn run(
    installation: &str,
    launch: &Launch,
    arguments: &[String],
    terminal: bool,
) -> ContainerCreateBody {
    let mut body = container(installation, launch, ROLE_RUN);
    if !arguments.is_empty() {
        body.cmd = Some(arguments.to_vec());
    }
    body.networking_config = Some(networking(launch, Vec::new()));
    body.tty = Some(terminal);
    body.open_stdin = Some(true);
    body.stdin_once = Some(true);
    body.attach_stdin = Some(true);
    body.attach_stdout = Some(true);
    body.attach_stderr = Some(true);
    body
}

/// The body of the call that makes the container of a deployment's command.
pub(crate) fn job(
    installation: &str,
    launch: &Launch,
    job: Job,
    arguments: &[String],
) -> ContainerCreateBody {
    let mut body = container(installation, launch, ROLE_JOB);
    if let Some(labels) = &mut body.labels {
        labels.insert(l::JOB.into(), labels::job_name(job).into());
    }
    body.cmd = Some(arguments.to_vec());
    body.networking_config = Some(networking(launch, Vec::new()));
    body
}

fn container(installation: &str, launch: &Launch, role: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(launch.image.clone()),
        cmd: launch.spec.command.clone(),
        entrypoint: launch.spec.entrypoint.clone(),
        user: launch.spec.user.clone(),
        working_dir: launch.spec.working_directory.clone(),
        env: Some(environment(launch)),
        labels: Some(labels::of_container(installation, launch, role)),
        stop_timeout: Some(stop_seconds(launch.spec.stop_timeout_ms)),
        host_config: Some(host(installation, launch)),
        ..ContainerCreateBody::default()
    }
}

/// The engine counts whole seconds.
fn stop_seconds(millis: u64) -> i64 {
    i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX)
}

fn environment(launch: &Launch) -> Vec<String> {
    let spec = &launch.spec;
    let mut all: BTreeMap<String, String> = spec.variables.clone();
    for (key, value) in launch.secrets.iter().filter(|(key, _)| !spec.is_file(key)) {
        all.insert(key.clone(), value.expose_secret().to_owned());
    }
    // Nonna's own win: what it says of the port must be true.
    all.extend([
        ("NONNA_SERVICE".into(), launch.service_name.to_string()),
        (
            "NONNA_ENVIRONMENT".into(),
            launch.scope.environment_name.to_string(),
        ),
        ("NONNA_RELEASE".into(), launch.release.to_string()),
    ]);
    if let Some(port) = spec.port {
        all.insert("PORT".into(), port.to_string());
    }
    all.into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn networking(launch: &Launch, aliases: Vec<String>) -> NetworkingConfig {
    let endpoint = EndpointSettings {
        aliases: Some(aliases),
        ..EndpointSettings::default()
    };
    NetworkingConfig {
        endpoints_config: Some(HashMap::from([(
            names::network(&launch.scope.environment),
            endpoint,
        )])),
    }
}

fn restart_policy(restart: Restart) -> RestartPolicy {
    let name = match restart {
        // Not `always`: what was stopped on purpose stays stopped when the
        // engine is restarted.
        Restart::Always => RestartPolicyNameEnum::UNLESS_STOPPED,
        Restart::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        Restart::Never => RestartPolicyNameEnum::NO,
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: None,
    }
}

fn host(installation: &str, launch: &Launch) -> HostConfig {
    let resources = &launch.spec.resources;
    let privileged = launch.spec.host.privileged;
    let memory = resources
        .memory
        .map(|bytes| i64::try_from(bytes.0).unwrap_or(i64::MAX));
    HostConfig {
        network_mode: Some(names::network(&launch.scope.environment)),
        mounts: Some(mounts(installation, launch)),
        // A small first process that passes signals on and buries the dead.
        init: Some(true),
        // A privileged container has all of it, whatever else is said.
        security_opt: (!privileged).then(|| vec!["no-new-privileges".into()]),
        cap_drop: (!privileged).then(|| vec!["ALL".into()]),
        cap_add: (!privileged).then(|| CAPABILITIES.map(String::from).to_vec()),
        privileged: Some(privileged),
        pids_limit: Some(i64::from(resources.pids)),
        memory,
        // Memory and swap together: no swap.
        memory_swap: memory,
        nano_cpus: resources.cpu_millis.map(|millis| i64::from(millis) * 1_000_000),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

/// Volumes, and the paths of the host that the control plane let through.
fn mounts(installation: &str, launch: &Launch) -> Vec<Mount> {
    let mount = |volume: &nonna_model::service::VolumeMount| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(names::volume(&launch.service, &volume.name)),
        target: Some(volume.path.clone()),
        // Should the engine have to make it, it is found again all the same.
        volume_options: Some(MountVolumeOptions {
            labels: Some(labels::of_volume(
                installation,
                &launch.scope,
                &launch.service,
                &volume.name,
            )),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    let of_host = |mount: &nonna_model::service::HostMount| Mount {
        // The engine refuses one that is not there, rather than make a folder
        // that belongs to root.
        typ: Some(MountType::BIND),
        source: Some(mount.source.clone()),
        target: Some(mount.path.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    };
    let spec = &launch.spec;
    spec.volumes
        .iter()
        .map(mount)
        .chain(spec.host.mounts.iter().map(of_host))
        .collect()
}
