//! What becomes of whole folders.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Ask, Declared, Folder, SecretFrom, Words, declare};
use crate::manifest::{DeclaredPort, Problems};

/// A folder of these files.
pub(super) struct Files(BTreeMap<String, String>);

impl Files {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }
}

impl Folder for Files {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(path).cloned())
    }
}

fn read(files: &[(&str, &str)]) -> Result<Declared, Problems> {
    declare(&Files::new(files), &Ask::default())
}

fn good(files: &[(&str, &str)]) -> Declared {
    let declared = read(files).unwrap_or_else(|problems| panic!("{problems}"));
    // The words alone lead to the same.
    assert_eq!(declared.words.declare(None).unwrap(), declared);
    declared
}

fn summary(declared: &Declared) -> Vec<String> {
    declared
        .services
        .iter()
        .map(|s| {
            let port = s.port.number().map_or_else(|| "-".to_owned(), |p| p.to_string());
            let command = s
                .command
                .as_ref()
                .map(|words| words.join(" "))
                .unwrap_or_default();
            format!("{} {port} {command}", s.name)
        })
        .collect()
}

const PROCFILE: &str = "web: node web.js\nworker: node worker.js\nrelease: node migrate.js\n";

#[test]
fn a_folder_without_words_has_one_service() {
    let declared = good(&[]);
    assert_eq!(summary(&declared), ["web 8080 "]);
    assert_eq!(declared.words, Words::default());
}

#[test]
fn process_types_become_services_of_one_source() {
    let declared = good(&[("Procfile", PROCFILE)]);
    assert_eq!(
        summary(&declared),
        ["web 8080 node web.js", "worker - node worker.js"]
    );
    assert_eq!(declared.services[0].source, declared.services[1].source);
    let release = declared.services[0].release.as_ref().unwrap();
    assert_eq!(release.command, ["node", "migrate.js"]);
    assert_eq!(declared.services[1].release, None);
}

#[test]
fn without_web_the_first_process_type_has_the_release_command_and_nothing_listens() {
    let declared = good(&[("Procfile", "release: m\nworker: w\nclock: c")]);
    assert_eq!(summary(&declared), ["clock - c", "worker - w"]);
    assert!(declared.services[1].release.is_some() && declared.services[0].release.is_none());
}

#[test]
fn the_manifest_wins_field_by_field() {
    let declared = good(&[
        ("Procfile", PROCFILE),
        (
            "nonna.toml",
            "[services.web]\ndomains = [\"a.example.org\"]\nrelease_timeout = \"5m\"\n\
             [services.worker]\ncommand = \"node other.js\"\nport = 9000\n\
             [services.db]\nimage = \"postgres:16\"\n\
             [environments.staging.services.worker]\nreplicas = 3\n",
        ),
    ]);
    assert_eq!(
        summary(&declared),
        ["db 8080 ", "web 8080 node web.js", "worker 9000 node other.js"]
    );
    assert_eq!(declared.services[1].release.as_ref().unwrap().timeout_ms, 300_000);
    assert_eq!(declared.services[1].routes.len(), 1);
    let staging = "staging".parse().unwrap();
    let staging = declared.words.declare(Some(&staging)).unwrap();
    assert_eq!(staging.services[2].replicas, Some(3));
}

#[test]
fn an_environment_may_change_what_only_the_procfile_declares() {
    let files = [
        ("Procfile", PROCFILE),
        (
            "nonna.toml",
            "[environments.staging.services.worker]\nreplicas = 3\n",
        ),
    ];
    assert_eq!(good(&files).services.len(), 2);
    assert!(super::manifest(&Files::new(&files)).is_ok());
    let problems = read(&[
        files[0],
        (
            "nonna.toml",
            "[environments.staging.services.worke]\nreplicas = 3\n",
        ),
    ])
    .unwrap_err();
    assert_eq!(problems.0[0].suggestion.as_deref(), Some("worker"));
}

#[test]
fn a_manifest_of_other_folders_leaves_the_procfile_alone() {
    let declared = good(&[
        ("Procfile", PROCFILE),
        ("nonna.toml", "[services.api]\nsource = \"api\"\n"),
    ]);
    assert_eq!(summary(&declared), ["api 8080 "]);
    assert!(declared.notes[0].contains("not used"), "{:?}", declared.notes);
}

#[test]
fn the_mistakes_of_all_files_come_at_once() {
    let problems = read(&[
        ("Procfile", "web node web.js"),
        ("app.json", "{\"envv\": {}}"),
        (
            "nonna.toml",
            "[services.web]\nreplica = 1\n[environments.staging.services.worker]\nreplicas = 2",
        ),
    ])
    .unwrap_err();
    let files: Vec<&str> = problems.0.iter().map(|p| p.file.as_str()).collect();
    assert_eq!(files, ["nonna.toml", "Procfile", "app.json"], "{problems}");
    assert!(
        problems
            .to_string()
            .ends_with("3 mistakes in nonna.toml and Procfile and app.json")
    );
}

#[test]
fn app_json_adds_variables_secrets_replicas_and_a_first_command() {
    let declared = good(&[
        ("Procfile", PROCFILE),
        (
            "nonna.toml",
            "[services.web]\nvariables = { LEVEL = \"debug\" }\n",
        ),
        (
            "app.json",
            r#"{"env": {"LEVEL": "info", "KEY": {"generator": "secret"}, "TOKEN": {}},
                "formation": {"worker": {"quantity": 2}, "clock": {"quantity": 1}},
                "scripts": {"postdeploy": "node seed.js"}, "stack": "heroku-24"}"#,
        ),
    ]);
    let [web, worker] = declared.services.as_slice() else {
        panic!()
    };
    assert_eq!(web.variables["LEVEL"], "debug");
    assert_eq!(worker.variables["LEVEL"], "info");
    assert_eq!(worker.initial_replicas, Some(2));
    assert_eq!(web.post_deploy.as_ref().unwrap().command, ["node", "seed.js"]);
    assert_eq!(worker.post_deploy, None);
    assert_eq!(worker.required_variables, ["TOKEN"]);
    assert_eq!(web.required_secrets, ["KEY"]);
    assert_eq!(declared.secrets[0].from, SecretFrom::Generated);
    assert_eq!(declared.notes.len(), 2, "{:?}", declared.notes);
    let none = BTreeMap::new();
    assert_eq!(web.missing_variables(&none, &BTreeMap::new()), ["TOKEN"]);
    let set = BTreeMap::from([("TOKEN".to_owned(), 1)]);
    assert!(web.missing_variables(&none, &set).is_empty());
}

#[test]
fn a_release_command_alone_belongs_to_the_one_service() {
    let declared = good(&[("Procfile", "release: migrate")]);
    assert_eq!(declared.services.len(), 1);
    assert!(declared.services[0].release.is_some());
    assert_eq!(declared.services[0].port, DeclaredPort::Unsaid);
}

proptest! {
    #[test]
    fn any_texts_are_read_or_refused(
        manifest in any::<String>(), procfile in any::<String>(), app in any::<String>()
    ) {
        let _ = read(&[("nonna.toml", &manifest), ("Procfile", &procfile), ("app.json", &app)])
            .map_err(|problems| problems.to_string());
    }
}
