//! An environment as Kubernetes manifests.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{CAPABILITIES, ExportError, ExportFile, ExportedEnvironment, ExportedService, yaml};
use crate::service::{FileContent, FileMount, Probe, Protocol, RestartPolicy, ServiceSpec, Strategy};

/// The longest name of a namespace.
const MAX_NAMESPACE: usize = 63;
/// What a volume asks for: the size is not known here.
const VOLUME_SIZE: &str = "1Gi";
/// Between two probes of a replica that starts, in seconds.
const START_INTERVAL: u64 = 2;
/// What whoever applies the secrets has to replace.
const PLACEHOLDER: &str = "REPLACE-ME";

/// Makes `kubernetes.yaml` with everything but secrets,
/// `secrets.example.yaml` with a placeholder for each of them, a
/// `kustomization.yaml` that says where built images are, the Dockerfiles that
/// were made for detected languages, and an `EXPORT.md`.
///
/// # Errors
/// Where the data cannot be written as YAML.
pub fn kubernetes(environment: &ExportedEnvironment) -> Result<Vec<ExportFile>, ExportError> {
    let namespace = namespace(environment);
    let mut objects = vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": common_labels(environment)},
        }),
        private(environment, &namespace),
    ];
    let mut secrets = Vec::new();
    for service in &environment.services {
        let make = Maker {
            environment,
            service,
            namespace: &namespace,
        };
        objects.extend(make.claims());
        objects.extend(make.config_maps());
        objects.push(make.deployment());
        objects.extend(make.service());
        objects.extend(make.ingress());
        objects.extend(make.public());
        secrets.extend(make.secret());
    }
    let mut files = vec![ExportFile {
        path: "kubernetes.yaml".into(),
        contents: yaml(&objects)?,
    }];
    if !secrets.is_empty() {
        files.push(ExportFile {
            path: "secrets.example.yaml".into(),
            contents: yaml(&secrets)?,
        });
    }
    files.push(ExportFile {
        path: "kustomization.yaml".into(),
        contents: yaml(&[kustomization(environment)])?,
    });
    files.push(ExportFile {
        path: "EXPORT.md".into(),
        contents: notes(environment, &namespace, !secrets.is_empty()),
    });
    files.extend(
        environment
            .services
            .iter()
            .flat_map(ExportedService::generated_files),
    );
    Ok(files)
}

/// `shop-production`; names that are too long are cut and told apart by a hash.
fn namespace(environment: &ExportedEnvironment) -> String {
    let title = environment.title();
    if title.len() <= MAX_NAMESPACE {
        return title;
    }
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(title.as_bytes()));
    let cut = title[..MAX_NAMESPACE - 9].trim_end_matches('-');
    format!("{cut}-{}", &hash[..8])
}

fn common_labels(environment: &ExportedEnvironment) -> Value {
    json!({"app.kubernetes.io/part-of": environment.project.as_str()})
}

/// Within the namespace everybody reaches everybody; from outside nobody does.
fn private(environment: &ExportedEnvironment, namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "private", "namespace": namespace, "labels": common_labels(environment)},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {}}]}],
        },
    })
}

/// Where images that are built are to be found, which nobody knows here.
fn kustomization(environment: &ExportedEnvironment) -> Value {
    let images: Vec<Value> = environment
        .services
        .iter()
        .filter(|service| service.pulled_image().is_none())
        .map(|service| {
            let name = environment.image_name(service);
            json!({
                "name": name,
                "newName": format!("registry.example.org/{name}"),
                "newTag": service.release.number.to_string(),
            })
        })
        .collect();
    let mut out = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["kubernetes.yaml"],
    });
    if !images.is_empty() {
        out["images"] = images.into();
    }
    out
}

/// What the volume of a file is called.
fn host_name(number: usize) -> String {
    format!("host-{number}")
}

fn file_name(number: usize) -> String {
    format!("file-{number}")
}

/// Makes the objects of one service.
struct Maker<'a> {
    environment: &'a ExportedEnvironment,
    service: &'a ExportedService,
    namespace: &'a str,
}

impl Maker<'_> {
    fn spec(&self) -> &ServiceSpec {
        &self.service.release.spec
    }

    fn name(&self) -> &str {
        self.service.name.as_str()
    }

    fn selector(&self) -> Value {
        json!({"app.kubernetes.io/name": self.name()})
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": self.name(),
            "app.kubernetes.io/part-of": self.environment.project.as_str(),
            "app.kubernetes.io/version": self.service.release.number.to_string(),
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": self.labels()})
    }

    fn secret_name(&self) -> String {
        format!("{}-secrets", self.name())
    }

    fn claim_name(&self, volume: &crate::Name) -> String {
        format!("{}-{volume}", self.name())
    }

    fn claims(&self) -> Vec<Value> {
        self.spec()
            .volumes
            .iter()
            .map(|volume| {
                json!({
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": self.metadata(&self.claim_name(&volume.name)),
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": VOLUME_SIZE}},
                    },
                })
            })
            .collect()
    }

    fn deployment(&self) -> Value {
        let spec = self.spec();
        let mut pod = json!({
            "automountServiceAccountToken": false,
            "containers": [self.container()],
            // Kubernetes would set variables such as WEB_PORT by itself.
            "enableServiceLinks": false,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": spec.stop_timeout_ms.div_ceil(1000),
        });
        let mut volumes: Vec<Value> = spec
            .volumes
            .iter()
            .map(|volume| {
                json!({
                    "name": volume.name.as_str(),
                    "persistentVolumeClaim": {"claimName": self.claim_name(&volume.name)},
                })
            })
            .collect();
        volumes.extend(
            spec.files
                .iter()
                .enumerate()
                .map(|(number, file)| self.file_volume(number, file)),
        );
        volumes.extend(
            spec.host.mounts.iter().enumerate().map(
                |(number, mount)| json!({"name": host_name(number), "hostPath": {"path": mount.source}}),
            ),
        );
        if !volumes.is_empty() {
            pod["volumes"] = volumes.into();
        }
        let strategy = match spec.strategy {
            Strategy::Rolling => json!({
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0},
            }),
            Strategy::Recreate => json!({"type": "Recreate"}),
        };
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(self.name()),
            "spec": {
                "replicas": self.service.replicas,
                "selector": {"matchLabels": self.selector()},
                "strategy": strategy,
                "template": {"metadata": {"labels": self.labels()}, "spec": pod},
            },
        })
    }

    fn container(&self) -> Value {
        let spec = self.spec();
        let image = match self.service.pulled_image() {
            Some(image) => image.to_owned(),
            None => format!(
                "{}:{}",
                self.environment.image_name(self.service),
                self.service.release.number
            ),
        };
        let mut out = json!({
            "name": self.name(),
            "image": image,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": CAPABILITIES, "drop": ["ALL"]},
                "privileged": false,
            },
        });
        if spec.host.privileged {
            out["securityContext"] = json!({"privileged": true});
        }
        if let Some(command) = &spec.command {
            out["args"] = command.iter().map(|word| escape(word)).collect();
        }
        let variables = self.variables();
        if !variables.is_empty() {
            out["env"] = variables.into();
        }
        let limits = self.limits();
        if !limits.is_empty() {
            out["resources"] = json!({"limits": limits});
        }
        if let Some(port) = spec.port {
            out["ports"] = json!([{"name": "main", "containerPort": port, "protocol": "TCP"}]);
        }
        if let Some(entrypoint) = &spec.entrypoint {
            out["command"] = entrypoint.iter().map(|word| escape(word)).collect();
        }
        if let Some(folder) = &spec.working_directory {
            out["workingDir"] = folder.as_str().into();
        }
        self.user(&mut out);
        let mut mounts: Vec<Value> = spec
            .volumes
            .iter()
            .map(|volume| json!({"name": volume.name.as_str(), "mountPath": volume.path}))
            .collect();
        mounts.extend(spec.files.iter().enumerate().map(|(number, file)| {
            json!({"name": file_name(number), "mountPath": file.path, "subPath": "file", "readOnly": true})
        }));
        mounts.extend(spec.host.mounts.iter().enumerate().map(|(number, mount)| {
            json!({"name": host_name(number), "mountPath": mount.path, "readOnly": mount.read_only})
        }));
        if !mounts.is_empty() {
            out["volumeMounts"] = mounts.into();
        }
        if let Some(probe) = self.probe() {
            let health = &spec.health;
            out["startupProbe"] = timed(
                &probe,
                START_INTERVAL,
                health.timeout_ms,
                (health.start_period_ms / 1000).div_ceil(START_INTERVAL).max(1),
            );
            out["readinessProbe"] = timed(
                &probe,
                health.interval_ms.div_ceil(1000).max(1),
                health.timeout_ms,
                u64::from(health.retries),
            );
        }
        out
    }

    /// Kubernetes knows users by number only.
    fn user(&self, out: &mut Value) {
        let Some(user) = &self.spec().user else { return };
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        for (field, text) in [("runAsUser", user), ("runAsGroup", group)] {
            if let Ok(number) = text.parse::<u32>() {
                out["securityContext"][field] = number.into();
            }
        }
    }

    fn config_map_name(&self, number: usize) -> String {
        format!("{}-{}", self.name(), file_name(number))
    }

    /// The volume that has a file of a secret or a text.
    fn file_volume(&self, number: usize, file: &FileMount) -> Value {
        match &file.content {
            FileContent::Secret { name } => json!({
                "name": file_name(number),
                "secret": {
                    "secretName": self.secret_name(),
                    "defaultMode": file.mode,
                    "items": [{"key": name, "path": "file"}],
                },
            }),
            FileContent::Text { .. } => json!({
                "name": file_name(number),
                "configMap": {"name": self.config_map_name(number), "defaultMode": file.mode},
            }),
        }
    }

    fn config_maps(&self) -> Vec<Value> {
        let texts = self.spec().files.iter().enumerate();
        texts
            .filter_map(|(number, file)| match &file.content {
                FileContent::Text { text } => Some(json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": self.metadata(&self.config_map_name(number)),
                    "data": {"file": text},
                })),
                FileContent::Secret { .. } => None,
            })
            .collect()
    }

    fn variables(&self) -> Vec<Value> {
        let spec = self.spec();
        let mut out = Vec::new();
        if let Some(port) = spec.port {
            out.push(json!({"name": "PORT", "value": port.to_string()}));
        }
        for (name, value) in &spec.variables {
            out.push(json!({"name": name, "value": escape(value)}));
        }
        for name in spec.secrets.keys().filter(|name| !spec.is_file(name)) {
            let reference = json!({"name": self.secret_name(), "key": name});
            out.push(json!({"name": name, "valueFrom": {"secretKeyRef": reference}}));
        }
        out
    }

    fn limits(&self) -> Map<String, Value> {
        let resources = &self.spec().resources;
        let mut out = Map::new();
        if let Some(millis) = resources.cpu_millis {
            out.insert("cpu".into(), format!("{millis}m").into());
        }
        if let Some(memory) = resources.memory {
            out.insert("memory".into(), memory.0.to_string().into());
        }
        out
    }

    fn probe(&self) -> Option<Value> {
        let spec = self.spec();
        match &spec.health.probe {
            // Kubernetes has no "any answer below 500"; that somebody listens
            // comes nearest.
            Probe::Auto => spec.port.map(|port| json!({"tcpSocket": {"port": port}})),
            Probe::Http { path, port } => {
                let port = port.or(spec.port)?;
                Some(json!({"httpGet": {"path": path, "port": port}}))
            }
            Probe::Tcp { port } => Some(json!({"tcpSocket": {"port": port.or(spec.port)?}})),
            Probe::Command { command } => Some(json!({"exec": {"command": command}})),
            Probe::Process => None,
        }
    }

    fn service(&self) -> Option<Value> {
        let port = self.spec().port?;
        let mut open = json!({"name": "main", "port": port, "targetPort": "main", "protocol": "TCP"});
        if self.spec().protocol == Protocol::H2c {
            open["appProtocol"] = "kubernetes.io/h2c".into();
        }
        Some(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(self.name()),
            "spec": {"ports": [open], "selector": self.selector()},
        }))
    }

    fn ingress(&self) -> Option<Value> {
        let spec = self.spec();
        let port = spec.port?;
        if spec.routes.is_empty() {
            return None;
        }
        let mut hosts: Vec<&str> = spec.routes.iter().map(|route| route.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let rules: Vec<Value> = hosts
            .iter()
            .map(|host| {
                let paths: Vec<Value> = spec
                    .routes
                    .iter()
                    .filter(|route| route.host == *host)
                    .map(|route| {
                        json!({
                            "path": route.path,
                            "pathType": "Prefix",
                            "backend": {"service": {"name": self.name(), "port": {"number": port}}},
                        })
                    })
                    .collect();
                json!({"host": host, "http": {"paths": paths}})
            })
            .collect();
        Some(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": self.metadata(self.name()),
            "spec": {
                "rules": rules,
                "tls": [{"hosts": hosts, "secretName": format!("{}-tls", self.name())}],
            },
        }))
    }

    /// Where a domain leads, the controller of ingresses must get through; in
    /// which namespace that is, is not known.
    fn public(&self) -> Option<Value> {
        let port = self.spec().port?;
        if self.spec().routes.is_empty() {
            return None;
        }
        Some(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(&format!("{}-public", self.name())),
            "spec": {
                "podSelector": {"matchLabels": self.selector()},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}],
            },
        }))
    }

    fn secret(&self) -> Option<Value> {
        let secrets = &self.spec().secrets;
        if secrets.is_empty() {
            return None;
        }
        let data: Map<String, Value> = secrets
            .keys()
            .map(|name| (name.clone(), PLACEHOLDER.into()))
            .collect();
        Some(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self.metadata(&self.secret_name()),
            "stringData": data,
            "type": "Opaque",
        }))
    }
}

fn timed(probe: &Value, period: u64, timeout_ms: u64, failures: u64) -> Value {
    let mut out = probe.clone();
    out["periodSeconds"] = period.into();
    out["timeoutSeconds"] = timeout_ms.div_ceil(1000).max(1).into();
    out["failureThreshold"] = failures.into();
    out
}

/// Kubernetes replaces `$(NAME)` in variables and arguments; what is meant as
/// it stands has `$$(`.
fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

fn notes(environment: &ExportedEnvironment, namespace: &str, has_secrets: bool) -> String {
    let mut out = format!(
        "# {title}\n\n\
         The environment `{environment}` of the project `{project}`, to be run on Kubernetes without Nonna.\n\n",
        title = environment.title(),
        environment = environment.environment,
        project = environment.project,
    );
    let built: Vec<&ExportedService> = environment
        .services
        .iter()
        .filter(|service| service.pulled_image().is_none())
        .collect();
    if !built.is_empty() {
        out.push_str("1. Build the images from the project's folder, push them to your registry, and put its name into `kustomization.yaml`:\n\n");
        for service in built {
            let folder = service.build.as_ref().map_or(".", |build| build.folder.as_str());
            let file = service
                .dockerfile()
                .map(|file| format!(" --file {folder}/{file}"))
                .unwrap_or_default();
            out.push_str(&format!(
                "       docker build --tag registry.example.org/{}:{}{file} {folder}\n",
                environment.image_name(service),
                service.release.number,
            ));
        }
        out.push('\n');
    }
    if has_secrets {
        out.push_str(&format!(
            "1. Make the namespace (`kubectl create namespace {namespace}`), copy `secrets.example.yaml`, replace each \
             `{PLACEHOLDER}`, and `kubectl apply --filename` the copy. The values of secrets are not in any of these \
             files.\n"
        ));
    }
    out.push_str("1. `kubectl apply --kustomize .`\n");
    out.push_str(
        "\n## What to look at\n\n\
         - Volumes ask for 1Gi each and begin empty: set the size in `kubernetes.yaml`, and copy the data.\n\
         - A volume can be used from one node only: more than one replica of a service with volumes must be on it.\n\
         - Ingresses name no class and take their certificates from the Secrets `*-tls`, which cert-manager can make.\n\
         - Network policies hold only where the cluster's network plugin enforces them.\n\
         - How many processes a replica may have is a setting of the nodes (`podPidsLimit`).\n",
    );
    out.push_str(&environment.notes_on_dockerfiles());
    for service in &environment.services {
        if service.release.spec.restart != RestartPolicy::Always {
            out.push_str(&format!(
                "- `{}` was not to be restarted whenever it ends; a Deployment always does that. If it is to end, \
                 make it a Job.\n",
                service.name
            ));
        }
    }
    out
}
