use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::build::GeneratedDockerfile;
use crate::manifest;
use crate::{ReleaseNumber, ReleaseState, ServiceId};

const MANIFEST: &str = r#"
[services.web]
source = "app"
target = "runtime"
build_arguments = { VERSION = "$1" }
domains = ["shop.example.org", "*.shop.example.org/api"]
health = "/healthz?deep=1"
replicas = 3
cpu = 0.5
variables = { PRICE = "5$ & ${HOME}", NO = "no", "Y" = "1e3", MULTI = "a\nb: c # d\t" }
secrets = ["DATABASE_URL"]

[services.worker]
command = ["sh", "-c", "echo $(date) $HOME"]
port = false
restart = "on-failure"
secrets = ["DATABASE_URL", "KEY"]

[services.db]
image = "postgres:17"
port = 5432
health = { command = ["pg_isready", "-q"] }
memory = "none"
volumes = { data = "/var/lib/postgresql/data" }
stop_timeout = "1500ms"

[services.cache]
image = "redis:7"
port = 6379
health = { tcp = true }
protocol = "h2c"
"#;

fn environment(text: &str) -> ExportedEnvironment {
    let manifest = manifest::parse(text, "nonna.toml").unwrap_or_else(|problems| panic!("{problems}"));
    let services = manifest
        .resolve(&"production".parse().unwrap())
        .into_iter()
        .map(|declared| {
            let secrets: BTreeMap<String, u64> =
                declared.required_secrets.iter().map(|s| (s.clone(), 7)).collect();
            let source = declared.source.with_context("sha256:00");
            ExportedService {
                build: match &declared.source {
                    manifest::DeclaredSource::Folder { path, .. } => Some(ExportedBuild {
                        folder: path.clone(),
                        generated: (declared.name.as_str() == "worker").then(|| GeneratedDockerfile {
                            dockerfile: "FROM python:3.13\nCOPY Dockerfile.files/a.conf /a.conf\n".into(),
                            files: BTreeMap::from([("Dockerfile.files/a.conf".into(), "a".into())]),
                            ignored: ".env\n!Dockerfile.files\n".into(),
                        }),
                        unknown: None,
                    }),
                    manifest::DeclaredSource::Image { .. } => None,
                },
                replicas: declared.replicas.unwrap_or(1),
                release: Release {
                    service: ServiceId::generate(),
                    number: ReleaseNumber(4),
                    spec: declared.spec(source, &BTreeMap::new(), secrets),
                    image: Some("sha256:1234".into()),
                    state: ReleaseState::Succeeded,
                    created_at: 0,
                    reason: "deploy".into(),
                },
                name: declared.name,
            }
        })
        .collect();
    ExportedEnvironment {
        project: "shop".parse().unwrap(),
        environment: "production".parse().unwrap(),
        services,
    }
}

fn file(files: &[ExportFile], path: &str) -> String {
    files
        .iter()
        .find(|file| file.path == path)
        .unwrap_or_else(|| panic!("no {path}"))
        .contents
        .clone()
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn objects(files: &[ExportFile], path: &str) -> Vec<Value> {
    serde_saphyr::from_str_multiple(&file(files, path)).unwrap()
}

#[test]
fn compose_holds_what_the_releases_say() {
    let files = compose(&environment(MANIFEST)).unwrap();
    let project = read(&file(&files, "compose.yaml"));
    let web = &project["services"]["web"];
    assert_eq!(web["build"]["context"], "./app");
    assert_eq!(web["build"]["target"], "runtime");
    assert_eq!(web["build"]["args"]["VERSION"], "$$1");
    assert_eq!(web["image"], "shop-web:v4");
    assert_eq!(web["scale"], 3);
    assert_eq!(web["cpus"], 0.5);
    assert_eq!(web["mem_limit"], "536870912b");
    assert_eq!(web["memswap_limit"], web["mem_limit"]);
    assert_eq!(web["environment"]["PORT"], "8080");
    assert_eq!(web["environment"]["PRICE"], "5$$ & $${HOME}");
    assert_eq!(web["environment"]["NO"], "no");
    assert_eq!(web["environment"]["MULTI"], "a\nb: c # d\t");
    assert_eq!(web["cap_drop"], serde_json::json!(["ALL"]));
    assert_eq!(web["cap_add"], serde_json::json!(CAPABILITIES));
    assert_eq!(web["security_opt"], serde_json::json!(["no-new-privileges:true"]));
    assert_eq!(web["ports"][0], "127.0.0.1:${WEB_HOST_PORT:-8080-8082}:8080");
    let worker = &project["services"]["worker"];
    assert_eq!(worker["command"][2], "echo $$(date) $$HOME");
    assert_eq!(worker["ports"], Value::Null);
    assert_eq!(worker["restart"], "on-failure");
    let of_worker: Vec<(&str, &str)> = files
        .iter()
        .filter(|file| file.path.contains("worker.Dockerfile"))
        .map(|file| (file.path.as_str(), file.contents.as_str()))
        .collect();
    assert_eq!(
        of_worker,
        [
            (
                "worker.Dockerfile",
                "FROM python:3.13\nCOPY worker.Dockerfile.files/a.conf /a.conf\n"
            ),
            (
                "worker.Dockerfile.dockerignore",
                ".env\n!worker.Dockerfile.files\n"
            ),
            ("worker.Dockerfile.files/a.conf", "a"),
        ]
    );
    assert_eq!(worker["build"]["dockerfile"], "worker.Dockerfile");
    let db = &project["services"]["db"];
    assert_eq!(db["image"], "postgres:17");
    assert_eq!(db["mem_limit"], Value::Null);
    assert_eq!(db["volumes"][0]["source"], "db-data");
    assert_eq!(
        db["healthcheck"]["test"],
        serde_json::json!(["CMD", "pg_isready", "-q"])
    );
    assert_eq!(db["stop_grace_period"], "2s");
    assert!(project["volumes"]["db-data"].is_object());
}

#[test]
fn secrets_are_references_and_one_name_of_two_services_is_two() {
    let environment = environment(MANIFEST);
    let files = compose(&environment).unwrap();
    let project = read(&file(&files, "compose.yaml"));
    let of = |service: &str, name: &str| project["services"][service]["environment"][name].clone();
    assert_eq!(
        of("web", "DATABASE_URL"),
        "${WEB_DATABASE_URL:?set WEB_DATABASE_URL in the file .env}"
    );
    assert_eq!(
        of("worker", "DATABASE_URL"),
        "${WORKER_DATABASE_URL:?set WORKER_DATABASE_URL in the file .env}"
    );
    assert_eq!(of("worker", "KEY"), "${KEY:?set KEY in the file .env}");
    let example = file(&files, ".env.example");
    for line in [
        "WEB_DATABASE_URL=",
        "WORKER_DATABASE_URL=",
        "KEY=",
        "COMPOSE_PROJECT_NAME=shop-production",
    ] {
        assert!(example.lines().any(|found| found == line), "{line}");
    }
    let secrets = objects(&kubernetes(&environment).unwrap(), "secrets.example.yaml");
    let names: Vec<&Value> = secrets.iter().map(|secret| &secret["metadata"]["name"]).collect();
    assert_eq!(names, ["web-secrets", "worker-secrets"]);
    assert_eq!(secrets[1]["stringData"]["KEY"], "REPLACE-ME");
}

#[test]
fn no_two_services_get_the_same_port_of_the_host() {
    let text = "[services.a]\nreplicas = 2\n[services.b]\n[services.c]\nport = 80\n[services.d]\nport = 8081\n\
                [services.e]\nport = 65535\nreplicas = 3\n[services.f]\nport = false";
    let project = read(&file(&compose(&environment(text)).unwrap(), "compose.yaml"));
    let ports: Vec<String> = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|name| project["services"][name]["ports"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ports,
        [
            "127.0.0.1:${A_HOST_PORT:-8080-8081}:8080",
            "127.0.0.1:${B_HOST_PORT:-8082}:8080",
            "127.0.0.1:${C_HOST_PORT:-8083}:80",
            "127.0.0.1:${D_HOST_PORT:-8084}:8081",
            "127.0.0.1:${E_HOST_PORT:-8085-8087}:65535",
        ]
    );
}

#[test]
fn an_image_is_pinned_to_what_runs() {
    let mut environment = environment("[services.web]\nimage = \"redis:7\"");
    let pinned = format!("redis@sha256:{}", "a".repeat(64));
    environment.services[0].release.image = Some(pinned.clone());
    let project = read(&file(&compose(&environment).unwrap(), "compose.yaml"));
    assert_eq!(project["services"]["web"]["image"], pinned);
    let objects = objects(&kubernetes(&environment).unwrap(), "kubernetes.yaml");
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        pinned
    );
}

#[test]
fn kubernetes_holds_what_the_releases_say() {
    let files = kubernetes(&environment(MANIFEST)).unwrap();
    let objects = objects(&files, "kubernetes.yaml");
    let find = |kind: &str, name: &str| {
        objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
        assert_eq!(object["metadata"]["namespace"], "shop-production");
    }
    let web = &find("Deployment", "web")["spec"];
    assert_eq!(web["replicas"], 3);
    assert_eq!(web["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let container = &web["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["cpu"], "500m");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/healthz?deep=1");
    assert_eq!(container["startupProbe"]["failureThreshold"], 30);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    let price = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["name"] == "PRICE")
        .unwrap();
    assert_eq!(price["value"], "5$$ & $${HOME}");
    let ingress = &find("Ingress", "web")["spec"];
    assert_eq!(ingress["rules"][0]["host"], "*.shop.example.org");
    assert_eq!(ingress["rules"][0]["http"]["paths"][0]["path"], "/api");
    find("NetworkPolicy", "private");
    find("NetworkPolicy", "web-public");
    assert_eq!(find("Deployment", "db")["spec"]["strategy"]["type"], "Recreate");
    find("PersistentVolumeClaim", "db-data");
    assert_eq!(
        find("Service", "cache")["spec"]["ports"][0]["appProtocol"],
        "kubernetes.io/h2c"
    );
    assert!(
        !objects
            .iter()
            .any(|o| o["kind"] == "Service" && o["metadata"]["name"] == "worker")
    );
    let images = read(&file(&files, "kustomization.yaml"))["images"].clone();
    assert_eq!(images[0]["newTag"], "v4");
}

#[test]
fn a_namespace_is_never_too_long() {
    let mut environment = environment("");
    environment.project = "p".repeat(40).parse().unwrap();
    environment.environment = "e".repeat(40).parse().unwrap();
    let files = kubernetes(&environment).unwrap();
    let namespace = objects(&files, "kubernetes.yaml")[0]["metadata"]["name"].clone();
    assert_eq!(namespace.as_str().unwrap().len(), 63);
}

/// Texts that a reader of YAML may take for something else.
fn text() -> impl proptest::strategy::Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            " ",
            "~",
            "null",
            "yes",
            "no",
            "on",
            "Off",
            "y",
            "N",
            "0x1f",
            "0o17",
            "017",
            "1e3",
            ".inf",
            "1_000",
            "12:30:45",
            "2001-01-01",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "'a'",
            "\"",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a`",
            "---",
            "...",
            "? a",
            "a\n",
            "\n\na",
            "a\tb",
            "\u{7f}",
            "\u{85}",
            "\u{feff}",
            "<<",
            "=",
            "$A ${B} $$",
        ])
        .prop_map(String::from),
        any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_text_is_read_back_as_it_was(
        value in text(), word in text(), key in "(NO|Y|ON|TRUE|NULL|_|[A-Z_][A-Z0-9_]{0,6})",
    ) {
        prop_assume!(key != "PORT");
        let mut environment = environment("");
        let spec = &mut environment.services[0].release.spec;
        spec.variables.insert(key.clone(), value.clone());
        spec.command = Some(vec!["x".into(), word.clone()]);
        let escaped = |text: &str| text.replace('$', "$$");
        let project = read(&file(&compose(&environment).unwrap(), "compose.yaml"));
        prop_assert_eq!(project["services"]["web"]["environment"][&key].as_str(), Some(&*escaped(&value)));
        prop_assert_eq!(project["services"]["web"]["command"][1].as_str(), Some(&*escaped(&word)));
        let objects = objects(&kubernetes(&environment).unwrap(), "kubernetes.yaml");
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        prop_assert_eq!(container["env"][1]["value"].as_str(), Some(&*escaped(&value)));
        prop_assert_eq!(container["args"][1].as_str(), Some(&*escaped(&word)));
    }
}

/// The files of an export, as a folder that is deployed again.
struct Exported(Vec<ExportFile>);

impl crate::folder::Folder for Exported {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        Ok(self
            .0
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.contents.clone()))
    }
}

#[test]
fn what_compose_says_is_read_again_with_the_same_meaning() {
    use crate::service::{FileContent, FileMount};
    let mut before = environment(MANIFEST);
    let db = &mut before.services[1].release.spec;
    assert_eq!(db.port, Some(5432));
    db.secrets.insert("db_password".into(), 1);
    db.entrypoint = Some(vec!["docker-entrypoint.sh".into(), "$x".into()]);
    db.user = Some("999:999".into());
    db.working_directory = Some("/srv".into());
    db.aliases = vec!["my_db".into()];
    db.host.privileged = true;
    db.host.mounts = vec![crate::service::HostMount {
        source: "/srv/$media".into(),
        path: "/media".into(),
        read_only: true,
    }];
    db.files = vec![
        FileMount {
            path: "/run/secrets/db-password".into(),
            content: FileContent::Secret {
                name: "db_password".into(),
            },
            mode: 0o444,
        },
        FileMount {
            path: "/etc/app.conf".into(),
            content: FileContent::Text {
                text: "a = ${b}\nc\n".into(),
            },
            mode: 0o400,
        },
    ];
    let variables = |name: &str| Some(format!("value of {name}")).filter(|_| !name.ends_with("_PORT"));
    let ask = crate::folder::Ask {
        compose: Some("compose.yaml"),
        variables: &variables,
        ..crate::folder::Ask::default()
    };
    let after = crate::folder::declare(&Exported(compose(&before).unwrap()), &ask)
        .unwrap_or_else(|problems| panic!("{problems}"));
    for (old, new) in before.services.iter().zip(&after.services) {
        let spec = &old.release.spec;
        assert_eq!(old.name, new.name);
        assert_eq!(spec.command, new.command, "{}", old.name);
        assert_eq!(spec.entrypoint, new.entrypoint);
        assert_eq!(
            (&spec.user, &spec.working_directory),
            (&new.user, &new.working_directory)
        );
        assert_eq!(spec.aliases, new.aliases);
        assert_eq!(spec.host, new.host);
        assert_eq!(spec.resources, new.resources, "{}", old.name);
        assert_eq!(spec.restart, new.restart);
        assert_eq!(new.replicas.unwrap_or(1), old.replicas);
        for (name, value) in &spec.variables {
            assert_eq!(new.variables.get(name), Some(value), "{name}");
        }
        let paths: Vec<&String> = spec.volumes.iter().map(|volume| &volume.path).collect();
        assert_eq!(
            paths,
            new.volumes.iter().map(|volume| &volume.path).collect::<Vec<_>>()
        );
        let contents = |files: &[FileMount]| -> std::collections::BTreeSet<(String, u32)> {
            files.iter().map(|file| (file.path.clone(), file.mode)).collect()
        };
        assert_eq!(contents(&spec.files), contents(&new.files));
    }
    let db = &after.services[1];
    assert!(!db.variables.contains_key("db_password"), "it is a file");
    let text = FileContent::Text {
        text: "a = ${b}\nc\n".into(),
    };
    assert!(db.files.iter().any(|file| file.content == text), "{:?}", db.files);
    assert_eq!(after.services[2].port.number(), Some(8080));
}
