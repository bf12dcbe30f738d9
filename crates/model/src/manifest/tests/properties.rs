//! What holds for any text and for any manifest.

use proptest::prelude::*;

use crate::manifest::{limits, parse};
use crate::name::Name;

/// Parts of manifests, whole and broken, that meet more code than noise does.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[services.web]\n".to_owned()),
        Just("[services.web.health]\n".to_owned()),
        Just("[environments.staging.services.web]\n".to_owned()),
        Just("[[services]]\n".to_owned()),
        Just("[services".to_owned()),
        "(replicas|port|cpu|memory|domains|health|command|volumes|image|source|variables|secrets) ?=? ?"
            .prop_map(String::from),
        "(\"[a-z/.$:\\\\]{0,8}\"|'[^']{0,4}'|-?[0-9]{1,12}|[0-9]+\\.[0-9]+|true|false|nan|inf|1979-05-27)\n?"
            .prop_map(String::from),
        "[\\[\\]{}=,\"'#\n\r\t.]{1,4}".prop_map(String::from),
        any::<String>(),
    ]
}

/// A good line of a service, with the field's name.
fn good_field() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        (1_u16..).prop_map(|port| ("port", port.to_string())),
        (0..=limits::MAX_REPLICAS).prop_map(|n| ("replicas", n.to_string())),
        (1..=limits::MAX_CPU * 1000).prop_map(|millis| ("cpu", format!("{:.3}", f64::from(millis) / 1000.0))),
        (7_u32..1_000_000).prop_map(|n| ("memory", format!("\"{n}MB\""))),
        (1_u32..100_000).prop_map(|n| ("pids", n.to_string())),
        (0_u32..3600).prop_map(|n| ("stop_timeout", format!("\"{n}s\""))),
        "[a-z]{1,10}(/[a-z]{1,10}){0,3}".prop_map(|path| ("source", format!("\"{path}\""))),
        "/[a-z0-9/]{0,1}[a-z0-9]{0,10}"
            .prop_map(|path| ("health", format!("\"{}\"", path.replace("//", "/")))),
        prop::sample::select(vec!["always", "on-failure", "never"])
            .prop_map(|word| ("restart", format!("\"{word}\""))),
        prop::sample::select(vec!["rolling", "recreate"])
            .prop_map(|word| ("strategy", format!("\"{word}\""))),
        prop::collection::vec("[a-zA-Z0-9/._-]{1,12}", 1..5)
            .prop_map(|words| ("command", format!("{words:?}"))),
        prop::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "[ -~]{0,20}", 0..4).prop_map(|map| {
            let pairs: Vec<String> = map
                .iter()
                .filter(|(key, _)| *key != "PORT")
                .map(|(key, value)| format!("{key} = {}", serde_json::Value::from(value.as_str())))
                .collect();
            ("variables", format!("{{ {} }}", pairs.join(", ")))
        }),
    ]
}

/// A line that is wrong whatever stands around it.
fn bad_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "ports_ = 1",
        "port = 0",
        "port = 65536",
        "port = \"80\"",
        "port = -1",
        "port = 1.5",
        "port = true",
        "replicas = 101",
        "replicas = {}",
        "cpu = 0",
        "cpu = -1",
        "cpu = nan",
        "cpu = inf",
        "memory = 512",
        "memory = \"lots\"",
        "memory = \"1MB\"",
        "pids = 0",
        "restart = \"sometimes\"",
        "strategy = 1",
        "protocol = \"gopher\"",
        "stop_timeout = \"61m\"",
        "source = \"/etc\"",
        "source = \"a/../..\"",
        "image = \"a b\"",
        "command = []",
        "command = \"a | b\"",
        "health = 1",
        "health = \"healthz\"",
        "health = { http = \"/\", tcp = true }",
        "domains = \"a.org\"",
        "domains = [\"a b\"]",
        "volumes = { data = \"/\" }",
        "variables = { PORT = 1 }",
        "variables = { A = \"\\u0000\" }",
        "secrets = [\"A=B\"]",
        "port = ",
        "= 1",
        "port 80",
        "restart = always",
    ])
}

/// Services with distinct fields, one line each.
fn services() -> impl Strategy<Value = Vec<(Name, Vec<String>)>> {
    let fields = prop::collection::vec(good_field(), 0..8).prop_map(|fields| {
        let mut lines: Vec<(&str, String)> = Vec::new();
        for (name, value) in fields {
            if !lines.iter().any(|(seen, _)| *seen == name) {
                lines.push((name, value));
            }
        }
        lines
            .into_iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect::<Vec<_>>()
    });
    prop::collection::btree_map(
        "[a-z][a-z0-9]{0,8}".prop_map(|name| name.parse::<Name>().unwrap()),
        fields,
        1..6,
    )
    .prop_map(|map| map.into_iter().collect())
}

fn lines(services: &[(Name, Vec<String>)]) -> Vec<String> {
    let mut out = Vec::new();
    for (name, fields) in services {
        out.push(format!("[services.{name}]"));
        out.extend(fields.iter().cloned());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(parts in prop::collection::vec(fragment(), 0..24)) {
        let text = parts.concat();
        match parse(&text, "nonna.toml") {
            Ok(manifest) => {
                for environment in manifest.environment_names() {
                    prop_assert!(!manifest.resolve(&environment).is_empty());
                }
            }
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                let count = text.matches('\n').count() + 1;
                for problem in &problems.0 {
                    prop_assert!((1..=count).contains(&problem.line));
                    prop_assert!(problem.column >= 1 && problem.length >= 1);
                }
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }

    #[test]
    fn a_good_manifest_is_read_and_resolved(services in services()) {
        let text = lines(&services).join("\n");
        let manifest = parse(&text, "nonna.toml").map_err(|p| TestCaseError::fail(p.to_string()))?;
        let names: Vec<Name> = services.iter().map(|(name, _)| name.clone()).collect();
        prop_assert_eq!(manifest.service_names(), names);
        let resolved = manifest.resolve(&"production".parse().unwrap());
        prop_assert_eq!(resolved.len(), services.len());
        for (declaration, (_, fields)) in resolved.iter().zip(&services) {
            let replicas = fields.iter().find_map(|line| line.strip_prefix("replicas = "));
            let declared = declaration.replicas.map(|n| n.to_string());
            prop_assert_eq!(declared.as_deref(), replicas);
        }
    }

    #[test]
    fn a_mistake_is_reported_at_its_line_and_nowhere_else(
        services in services(), bad in bad_field(), at in any::<prop::sample::Index>(),
    ) {
        let mut text = lines(&services);
        // A field that stands there already would be a second mistake.
        let field = bad.split(['=', ' ']).next().unwrap_or_default().to_owned();
        text.retain(|line| field.is_empty() || !line.starts_with(&field));
        if bad.starts_with("image") {
            text.retain(|line| !line.starts_with("source"));
        }
        let at = at.index(text.len()) + 1;
        text.insert(at, bad.to_owned());
        let text = text.join("\n");
        let problems = parse(&text, "nonna.toml").err().map(|problems| problems.0).unwrap_or_default();
        prop_assert!(!problems.is_empty(), "nothing was found in\n{}", text);
        for problem in problems {
            prop_assert_eq!(problem.line, at + 1, "{} in\n{}", problem, text);
        }
    }
}
