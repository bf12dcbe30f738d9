//! The table `build`.

use super::{declared, problem, problems};
use crate::manifest::{DeclaredSource, ServiceDeclaration};
use crate::service::{BuildOverrides, LANGUAGES, Source};

fn overrides(service: &ServiceDeclaration) -> BuildOverrides {
    match service.source.with_context("sha256:00") {
        Source::Build(source) => *source.overrides,
        Source::Image { .. } => panic!("{service:?} is built"),
    }
}

fn said(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_nearest_table_wins_field_by_field() {
    let text = r#"
        [build]
        language = "node"
        install = "npm ci"
        [services.web]
        [services.web.build]
        command = "npm run build"
        output = "./dist/"
        [services.docs]
        source = "docs"
        build = { install = "" }
        [services.own]
        dockerfile = "Dockerfile"
        [environments.staging.services.web.build]
        command = "npm run build:staging"
    "#;
    let production = declared(text, "production");
    let web = overrides(&production["web"]);
    assert_eq!(web.language, said("node"));
    assert_eq!(
        (web.install, web.command),
        (said("npm ci"), said("npm run build"))
    );
    assert_eq!((web.output, web.start), (said("dist"), None));
    // What is said of the manifest's own folder is said of no other.
    let docs = overrides(&production["docs"]);
    assert_eq!((docs.install, docs.language), (said(""), None));
    assert!(overrides(&production["own"]).is_empty());
    let staging = overrides(&declared(text, "staging")["web"]);
    assert_eq!(
        (staging.command, staging.install),
        (said("npm run build:staging"), said("npm ci"))
    );
}

#[test]
fn what_is_said_decides_what_is_built() {
    let source = |text: &str| {
        declared(text, "production")["web"]
            .source
            .with_context("sha256:00")
    };
    let plain = source("");
    assert_ne!(plain, source("[build]\nstart = \"a\""));
    assert_ne!(source("[build]\nstart = \"b\""), source("[build]\nstart = \"a\""));
    // Nothing said: the specifications of releases before it are the same.
    assert!(!serde_json::to_string(&plain).unwrap().contains("overrides"));
}

#[test]
fn a_build_may_read_secrets_whatever_builds_it_and_they_must_be_set() {
    let text = r#"
        [build]
        secrets = ["NPM_TOKEN"]
        [services.web]
        secrets = ["DATABASE_URL"]
        [services.own]
        dockerfile = "Dockerfile"
        [services.other]
        source = "other"
        dockerfile = "Dockerfile"
        build = { secrets = ["PIP_TOKEN"] }
    "#;
    let there = declared(text, "production");
    let secrets = |name: &str| match there[name].source.with_context("sha256:00") {
        Source::Build(source) => source.secrets,
        Source::Image { .. } => panic!("{name} is built"),
    };
    assert_eq!(secrets("web"), ["NPM_TOKEN"]);
    assert_eq!(secrets("own"), ["NPM_TOKEN"]);
    assert_eq!(secrets("other"), ["PIP_TOKEN"]);
    let none = std::collections::BTreeMap::new();
    assert_eq!(there["web"].missing_secrets(&none), ["DATABASE_URL", "NPM_TOKEN"]);
    let twice = problem("[build]\nsecrets = [\"A\", \"A\"]");
    assert!(twice.message.contains("twice"), "{twice}");
    let image = problem("[services.db]\nimage = \"a\"\nbuild = { secrets = [\"A\"] }");
    assert!(image.message.contains("has an `image`"), "{image}");
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    for (text, offending, suggestion) in [
        ("[build]\nlanguage = \"pyton\"", "\"pyton\"", Some("python")),
        ("[build]\nlanguage = \"golang\"", "\"golang\"", Some("go")),
        ("[build]\nlanguage = \"cobol\"", "\"cobol\"", None),
        ("[build]\ncomand = \"x\"", "comand", Some("command")),
        (
            "[build]\ninstall_command = \"x\"",
            "install_command",
            Some("install"),
        ),
        ("[build]\nstart = \" \"", "\" \"", None),
        ("[build]\noutput = \"../x\"", "\"../x\"", None),
        ("[build]\ninstall = \"a\\nb\"", "\"a\\nb\"", None),
        ("[services.web]\nbuild = \".\"", "build", Some("source")),
        ("[services.web]\nbuild = 5", "5", None),
        ("[services.web]\ninstall = \"x\"", "install", None),
    ] {
        let problem = problem(text);
        assert_eq!(problem.offending, offending, "{text}");
        assert_eq!(problem.suggestion.as_deref(), suggestion, "{text}: {problem}");
    }
    let there = problem("[build]\nlanguage = \"cobol\"").message;
    assert!(
        LANGUAGES.iter().all(|language| there.contains(language)),
        "{there}"
    );
}

#[test]
fn nothing_is_said_of_the_build_of_an_image_or_beside_a_dockerfile() {
    let image = problem("[services.db]\nimage = \"postgres:17\"\nbuild = { start = \"x\" }");
    assert!(image.message.contains("has an `image`"), "{image}");
    let dockerfile = problem("[services.web]\ndockerfile = \"D\"\nbuild = { start = \"x\" }");
    assert!(
        dockerfile.message.contains("names a `dockerfile`"),
        "{dockerfile}"
    );
    // An environment that builds otherwise takes the place of what it replaces.
    let text = "[services.web]\nbuild = { start = \"x\" }\n[services.db]\nimage = \"a\"\n\
                [environments.e.services.web]\ndockerfile = \"D\"\n[environments.f.services.web]\nimage = \"b\"\n\
                [environments.e.services.db.build]\nlanguage = \"go\"";
    assert_eq!(problems(text), []);
    let there = declared(text, "e");
    assert!(overrides(&there["web"]).is_empty());
    assert_eq!(overrides(&there["db"]).language, said("go"));
    let there = declared(text, "f");
    assert!(matches!(there["web"].source, DeclaredSource::Image { .. }));
}
