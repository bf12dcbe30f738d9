use super::*;
use crate::service::{Probe, Strategy};

mod build;
mod examples;
mod properties;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn declared(text: &str, environment: &str) -> BTreeMap<String, ServiceDeclaration> {
    let manifest = parse(text, "nonna.toml").unwrap_or_else(|problems| panic!("{problems}"));
    manifest
        .resolve(&name(environment))
        .into_iter()
        .map(|service| (service.name.to_string(), service))
        .collect()
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, "nonna.toml") {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0,
    }
}

/// The only problem there is.
fn problem(text: &str) -> Problem {
    let mut problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
    problems.remove(0)
}

#[test]
fn no_file_is_one_service_built_from_the_folder() {
    for manifest in [Manifest::default(), parse("", "nonna.toml").unwrap()] {
        assert_eq!(manifest.service_names(), [name("web")]);
        assert_eq!(manifest.default_environment(), Some(name("production")));
        let services = manifest.resolve(&name("production"));
        assert_eq!(services.len(), 1);
        assert_eq!(
            services[0].source,
            DeclaredSource::Folder {
                path: ".".into(),
                dockerfile: None,
                target: None,
                arguments: BTreeMap::new(),
                timeout_ms: None,
                overrides: Box::default(),
                secrets: Vec::new(),
            }
        );
        let spec = services[0].spec(
            services[0].source.with_context("sha256:00"),
            &BTreeMap::new(),
            BTreeMap::new(),
        );
        assert_eq!(
            spec,
            crate::ServiceSpec::new(services[0].source.with_context("sha256:00"))
        );
    }
}

#[test]
fn an_environment_changes_what_it_names_and_nothing_else() {
    let text = r#"
        [services.web]
        replicas = 3
        domains = ["example.org"]
        variables = { A = "service", B = "service" }
        volumes = { data = "/data" }
        [environments.staging.services.web]
        replicas = 1
        domains = ["staging.example.org"]
        variables = { B = "staging" }
        volumes = { cache = "/cache" }
    "#;
    let production = &declared(text, "production")["web"];
    let staging = &declared(text, "staging")["web"];
    assert_eq!((production.replicas, staging.replicas), (Some(3), Some(1)));
    assert_eq!(production.routes[0].host, "example.org");
    assert_eq!(staging.routes.len(), 1);
    assert_eq!(staging.routes[0].host, "staging.example.org");
    assert_eq!(staging.variables["A"], "service");
    assert_eq!(staging.variables["B"], "staging");
    assert_eq!(production.variables["B"], "service");
    assert_eq!(staging.volumes.len(), 2);
}

#[test]
fn the_nearest_variable_wins() {
    let text = r#"
        variables = { A = "project", B = "project", C = "project", D = 1, E = true }
        [services.web]
        variables = { C = "service" }
        [environments.staging]
        variables = { B = "environment", C = "environment" }
    "#;
    let web = &declared(text, "staging")["web"];
    let values: Vec<&str> = web.variables.values().map(String::as_str).collect();
    assert_eq!(values, ["project", "environment", "service", "1", "true"]);
    let by_hand = BTreeMap::from([("C".to_owned(), "hand".to_owned())]);
    let secrets = BTreeMap::from([("A".to_owned(), 3_u64)]);
    let spec = web.spec(web.source.with_context(""), &by_hand, secrets);
    assert_eq!(spec.variables["C"], "hand");
    assert!(!spec.variables.contains_key("A"), "the secret takes its place");
}

#[test]
fn an_environment_may_run_an_image_where_others_build() {
    let text = r#"
        [services.web]
        source = "app"
        dockerfile = "Dockerfile"
        build_arguments = { A = "1" }
        [environments.preview.services.web]
        image = "ghcr.io/acme/web:1"
        [services.db]
        image = "postgres:17"
        volumes = { data = "/var/lib/postgresql/data" }
        [environments.preview.services.db]
        source = "db"
    "#;
    let preview = declared(text, "preview");
    assert_eq!(
        preview["web"].source,
        DeclaredSource::Image {
            reference: "ghcr.io/acme/web:1".into()
        }
    );
    assert!(matches!(&preview["db"].source, DeclaredSource::Folder { path, .. } if path == "db"));
    // The default strategy follows the source.
    assert_eq!(preview["db"].strategy, Strategy::Rolling);
    assert_eq!(declared(text, "production")["db"].strategy, Strategy::Recreate);
}

#[test]
fn health_checks() {
    let probe = |health: &str| {
        declared(&format!("[services.web]\nhealth = {health}"), "production")["web"]
            .health
            .clone()
    };
    assert_eq!(
        probe("\"/healthz\"").probe,
        Probe::Http {
            path: "/healthz".into(),
            port: None
        }
    );
    assert_eq!(
        probe("{ http = \"/x\", port = 9000 }").probe,
        Probe::Http {
            path: "/x".into(),
            port: Some(9000)
        }
    );
    assert_eq!(probe("{ tcp = true }").probe, Probe::Tcp { port: None });
    assert_eq!(probe("{ process = true }").probe, Probe::Process);
    assert_eq!(
        probe("{ command = \"pg_isready -q\" }").probe,
        Probe::Command {
            command: vec!["pg_isready".into(), "-q".into()]
        }
    );
    let check = probe("{ interval = \"2s\", timeout = \"500ms\", start_period = \"5m\", retries = 9 }");
    assert_eq!(check.probe, Probe::Auto);
    assert_eq!(
        (
            check.interval_ms,
            check.timeout_ms,
            check.start_period_ms,
            check.retries
        ),
        (2_000, 500, 300_000, 9)
    );
}

#[test]
fn a_misspelt_field_is_reported_with_what_was_meant() {
    let found = problem("[services.web]\n  replica = 2\n");
    assert_eq!((found.line, found.column), (2, 3));
    assert_eq!(found.offending, "replica");
    assert_eq!(found.suggestion.as_deref(), Some("replicas"));
    assert_eq!(
        Problems(vec![found]).to_string(),
        "nonna.toml:2:3: unknown field `replica` of service `web`; did you mean `replicas`?\n\
         \x20   |\n\
         \x20 2 |   replica = 2\n\
         \x20   |   ^^^^^^^\n\
         1 mistake in nonna.toml"
    );
}

#[test]
fn a_field_at_the_wrong_place_is_told_the_right_one() {
    assert!(problem("replicas = 2").message.contains("[services.web]"));
    assert!(
        problem("[services.web]\ninterval = \"5s\"")
            .message
            .contains("`health`")
    );
    assert!(
        problem("[services.web]\nproject = \"x\"")
            .message
            .contains("at the top")
    );
    assert!(
        problem("[environments.staging]\nreplicas = 2")
            .message
            .contains("[environments.staging.services.web]")
    );
}

#[test]
fn one_syntax_error_does_not_hide_the_other_mistakes() {
    let text = "\
project = \"shop
[services.web]
replicas 3
port = \"80\"
[services.api
cpu = 0
[services.db]
memory = 5
";
    let lines: Vec<usize> = problems(text).iter().map(|p| p.line).collect();
    assert_eq!(lines, [1, 3, 4, 5, 8], "{}", Problems(problems(text)));
}

#[test]
fn values_that_are_too_large_are_refused() {
    let long = "a".repeat(40_000);
    for text in [
        format!("[services.web.variables]\nA = \"{long}\""),
        format!("[services.web]\nimage = \"{long}\""),
        format!("[services.web]\ncommand = [\"{long}\"]"),
        format!("[services.web]\nhealth = \"/{long}\""),
        format!("[services.web]\ndomains = [\"{long}.org\"]"),
        format!("[services.web]\nsource = \"{long}\""),
        format!("[services.web]\ntarget = \"{long}\""),
        format!("[services.web]\nsecrets = [\"{long}\"]"),
        format!("project = \"{long}\""),
        format!("{long} = 1"),
        format!("[services.{long}]\n"),
        format!("[services.web.volumes]\ndata = \"/{long}\""),
    ] {
        let found = problem(&text);
        assert!(found.to_string().len() < 600, "{found}");
        assert!(found.offending.chars().count() <= 81);
    }
    let services: String = (0..101).map(|n| format!("[services.s{n}]\n")).collect();
    assert!(problem(&services).message.contains("100 services"));
    let found = problem(&"#".repeat(limits::MAX_FILE + 1));
    assert_eq!((found.line, found.column), (1, 1));
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let text = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(!problems(&text).is_empty());
    let text = format!("a = {}1{}", "{a=".repeat(60_000), "}".repeat(60_000));
    assert!(!problems(&text).is_empty());
    let dotted = format!("{} = 1", vec!["a"; 50_000].join("."));
    assert!(!problems(&dotted).is_empty());
    let header = format!("[{}]", vec!["a"; 50_000].join("."));
    assert!(!problems(&header).is_empty());
}

#[test]
fn nothing_of_the_file_can_command_a_terminal() {
    let text = "[services.web]\nvariables = { \"A\u{1b}\" = \"\u{202e}x\" }\n\"\\u001b[2J\" = 1\nimage = \"\\u001b]0;x\\u0007\"";
    let shown = Problems(problems(text)).to_string();
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
}

#[test]
fn fields_that_do_not_go_together() {
    let web = |fields: &str| problem(&format!("[services.web]\n{fields}"));
    assert_eq!(web("image = \"redis\"\nsource = \".\"").line, 2);
    assert_eq!(web("image = \"redis\"\ndockerfile = \"Dockerfile\"").line, 3);
    assert_eq!(web("image = \"redis\"\nbuild_arguments = { A = 1 }").line, 3);
    assert_eq!(web("port = false\ndomains = [\"example.org\"]").line, 3);
    assert_eq!(web("port = false\nhealth = \"/\"").line, 3);
    assert_eq!(web("port = false\nhealth = { tcp = true }").line, 3);
    assert_eq!(web("port = false\nprotocol = \"h2c\"").line, 3);
    assert_eq!(web("health = { process = true, port = 80 }").line, 2);
    assert_eq!(web("health = { process = true, tcp = true }").line, 2);
    assert_eq!(web("variables = { A = 1 }\nsecrets = [\"A\"]").line, 3);
    assert_eq!(
        web("[services.web.volumes]\na = \"/data\"\nb = \"/data/\"").line,
        4
    );
    assert_eq!(web("domains = [\"a.org\",\n\"A.org/\"]").line, 3);
    // Nothing wrong with these.
    for good in [
        "port = false\nhealth = { http = \"/\", port = 9000 }",
        "port = false\nhealth = { process = true }",
        "port = false\nvariables = { A = 1 }",
    ] {
        assert_eq!(problems(&format!("[services.web]\n{good}")), []);
    }
}

#[test]
fn one_domain_leads_to_one_service_of_an_environment() {
    let found = problem("[services.b]\ndomains = [\"a.org\"]\n[services.a]\ndomains = [\"a.org\"]");
    assert_eq!(found.line, 4);
    assert!(found.message.contains("service `b`"));
    // In different environments it may lead elsewhere.
    let text = "[services.a]\ndomains = [\"a.org\"]\n[services.b]\n\
                [environments.staging.services.a]\ndomains = []\n\
                [environments.staging.services.b]\ndomains = [\"a.org\"]";
    assert_eq!(problems(text), []);
    // A mistake that only an environment makes is found where it stands.
    let text = "[services.a]\ndomains = [\"a.org\"]\n[services.b]\n\
                [environments.staging.services.b]\ndomains = [\"a.org\"]";
    assert_eq!(problem(text).line, 5);
    let text = "[services.a]\nport = false\n[environments.staging.services.a]\ndomains = [\"a.org\"]";
    assert_eq!(problem(text).line, 4);
}

#[test]
fn an_environment_cannot_change_a_service_that_is_not_there() {
    let found = problem("[services.web]\n[environments.staging.services.wbe]\nreplicas = 1");
    assert_eq!((found.line, found.suggestion.as_deref()), (2, Some("web")));
    assert_eq!(problems("[environments.staging.services.web]\nreplicas = 1"), []);
    assert_eq!(
        problem("[environments.staging.services.api]\nreplicas = 1")
            .suggestion
            .as_deref(),
        Some("web")
    );
}

#[test]
fn every_example_of_the_reference_is_good() {
    for field in fields::SERVICE {
        let text = format!(
            "[services.db]\nimage = \"redis:7\"\n[services.web]\n{} = {}",
            field.name, field.example
        );
        assert_eq!(problems(&text), [], "{text}");
    }
    for field in fields::HEALTH.iter().filter(|field| field.name != "port") {
        let text = format!("[services.web.health]\n{} = {}", field.name, field.example);
        assert_eq!(problems(&text), [], "{text}");
    }
    for field in fields::TOP {
        assert_eq!(problems(&format!("{} = {}", field.name, field.example)), []);
    }
    for field in fields::ENVIRONMENT {
        assert_eq!(
            problems(&format!(
                "environments.staging.{} = {}",
                field.name, field.example
            )),
            []
        );
    }
    let markdown = reference_markdown();
    let (_, rest) = markdown.split_once("```toml\n").unwrap();
    assert_eq!(problems(rest.split_once("```").unwrap().0), []);
}

#[test]
fn every_alias_leads_to_its_field() {
    for field in fields::SERVICE {
        for alias in field.aliases {
            let text = format!("[services.web]\n{alias} = {}", field.example);
            let suggestion = problem(&text).suggestion.unwrap();
            assert!(
                fields::SERVICE
                    .iter()
                    .any(|known| known.name == suggestion && known.aliases.contains(alias)),
                "{alias} → {suggestion}"
            );
        }
    }
}

#[test]
fn the_published_files_are_up_to_date() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let read = |file: &str| std::fs::read_to_string(docs.join(file)).unwrap_or_default();
    let hint = "run `cargo run -p nonna-model --example manifest-docs`";
    assert!(read("manifest.md") == reference_markdown(), "{hint}");
    let published: serde_json::Value = serde_json::from_str(&read("nonna.schema.json")).unwrap_or_default();
    assert!(published == schema(), "{hint}");
}
