//! `app.json`, as Heroku has it: variables with defaults and generators, how
//! many of each process type, and a command for the first deployment; and
//! health checks, as Dokku has them in it.
//! <https://devcenter.heroku.com/articles/app-json-schema>
//! <https://dokku.com/docs/deployment/zero-downtime-deploys/>

mod health;

use std::collections::{BTreeMap, BTreeSet};

use super::yaml::{self, Node, Value};
use crate::command_line;
use crate::manifest::limits::{MAX_REPLICAS, MAX_WORD};
use crate::manifest::{Problems, Report, nearest, shorten, value};
use crate::name::Name;
use crate::service::HealthCheck;

/// The file's name.
pub const APP_JSON: &str = "app.json";

/// The largest app.json, in bytes.
const MAX_FILE: usize = 256 * 1024;

/// What stands in an app.json and what becomes of it.
const KNOWN: &[(&str, Carried)] = &[
    ("env", Carried::Yes),
    ("formation", Carried::Yes),
    ("scripts", Carried::Yes),
    ("healthchecks", Carried::Yes),
    ("$schema", Carried::Yes),
    ("name", Carried::Yes),
    ("description", Carried::Yes),
    ("keywords", Carried::Yes),
    ("website", Carried::Yes),
    ("repository", Carried::Yes),
    ("logo", Carried::Yes),
    ("success_url", Carried::Yes),
    (
        "buildpacks",
        Carried::No("the language is detected, or a Dockerfile says how to build"),
    ),
    (
        "addons",
        Carried::No(
            "add each as a service of its own, such as `[services.db]` with `image = \"postgres:16\"` in nonna.toml",
        ),
    ),
    (
        "stack",
        Carried::No("the base image follows from the language, or from a Dockerfile"),
    ),
    (
        "environments",
        Carried::No("write what differs into `[environments.NAME]` of nonna.toml"),
    ),
    ("image", Carried::No("name an image with `image` in nonna.toml")),
    ("region", Carried::No("services run where Nonna runs")),
    ("generator", Carried::No("nothing is generated of it")),
];

#[derive(Clone, Copy, PartialEq)]
enum Carried {
    /// It is used, or is only for people.
    Yes,
    /// It is not, and this is what to do instead.
    No(&'static str),
}

/// What an app.json says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AppJson {
    /// Variables with values.
    pub(super) variables: BTreeMap<String, String>,
    /// Variables that must be set, as such or as secrets.
    pub(super) required: BTreeSet<String>,
    /// Secrets that are made up once.
    pub(super) generated: BTreeSet<String>,
    /// How many replicas of each process type.
    pub(super) formation: BTreeMap<Name, u32>,
    /// How replicas of each process type are found healthy.
    pub(super) health: BTreeMap<Name, HealthCheck>,
    /// What runs in the first deployment.
    pub(super) post_deploy: Option<Vec<String>>,
    /// What is not carried over.
    pub(super) notes: Vec<String>,
}

impl AppJson {
    /// Reads the text.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(super) fn parse(text: &str) -> Result<Self, Problems> {
        let mut report = Report::new(APP_JSON, text);
        let mut out = Self::default();
        if text.len() > MAX_FILE {
            report.add(
                &(0..0),
                format!(
                    "an app.json may have {MAX_FILE} bytes at most, this one has {}",
                    text.len()
                ),
            );
            return report.finish().map(|()| out);
        }
        // JSON's own parser has the better words for what is no JSON.
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let line = report.line_range(error.line().saturating_sub(1));
            let at = (line.start + error.column().saturating_sub(1)).min(line.end);
            let said = error.to_string();
            let why = said.split(" at line ").next().unwrap_or(&said);
            report.add(&(at..at + 1), format!("this is not JSON: {why}"));
            return report.finish().map(|()| out);
        }
        if let Some(root) = yaml::read(text, &mut report) {
            out.read(&root, &mut report);
        }
        report.finish().map(|()| out)
    }

    fn read(&mut self, root: &Node, report: &mut Report<'_>) {
        let Value::Map(entries) = &root.value else {
            report.add(&root.at, format!("an app.json is a table, not {}", root.kind()));
            return;
        };
        for (key, node) in entries {
            match key.name.as_str() {
                "env" => self.env(node, report),
                "formation" => self.formation(node, report),
                "scripts" => self.scripts(node, report),
                "healthchecks" => self.healthchecks(node, report),
                name => match KNOWN.iter().find(|(known, _)| *known == name) {
                    Some((_, Carried::No(instead))) => {
                        let line = report.line_of(key.at.start) + 1;
                        self.notes.push(format!(
                            "{APP_JSON}:{line}: `{name}` is not carried over: {instead}"
                        ));
                    }
                    Some(_) => {}
                    None => {
                        let near = nearest(name, KNOWN.iter().map(|(known, _)| *known));
                        report.suggest(
                            &key.at,
                            format!("`{}` is nothing that an app.json has", shorten(name)),
                            near,
                        );
                    }
                },
            }
        }
    }

    fn env(&mut self, node: &Node, report: &mut Report<'_>) {
        let Value::Map(entries) = &node.value else {
            // An old form: a list of names, whose values are to be given.
            report.add(
                &node.at,
                format!("`env` is a table of variables, not {}", node.kind()),
            );
            return;
        };
        for (key, node) in entries {
            let name = key.name.as_str();
            if name == "PORT" {
                let line = report.line_of(key.at.start) + 1;
                self.notes.push(format!(
                    "{APP_JSON}:{line}: `PORT` is not carried over: Nonna gives every service its own"
                ));
                continue;
            }
            if let Err(why) = value::check_variable_name(name) {
                report.suggest(
                    &key.at,
                    format!("`{}`: {}", shorten(name), why.message),
                    why.suggestion,
                );
                continue;
            }
            self.variable(name, &key.at, node, report);
        }
    }

    fn variable(&mut self, name: &str, at: &std::ops::Range<usize>, node: &Node, report: &mut Report<'_>) {
        match &node.value {
            Value::Scalar { text, .. } => {
                self.variables.insert(name.to_owned(), text.clone());
            }
            Value::Map(entries) => {
                let mut known = None;
                let mut required = true;
                let mut generated = false;
                for (field, node) in entries {
                    match field.name.as_str() {
                        "value" => match node.text() {
                            Some(text) => known = Some(text.to_owned()),
                            None => report.add(
                                &node.at,
                                format!("the `value` of `{name}` is a text, not {}", node.kind()),
                            ),
                        },
                        "required" => match node.text() {
                            Some("true") => required = true,
                            Some("false") => required = false,
                            _ => report.add(
                                &node.at,
                                format!("`required` of `{name}` is true or false, not {}", node.kind()),
                            ),
                        },
                        "generator" => match node.text() {
                            Some("secret") => generated = true,
                            _ => report.suggest(
                                &node.at,
                                format!("the only `generator` there is for `{name}` is \"secret\""),
                                Some("secret"),
                            ),
                        },
                        "description" => {}
                        other => {
                            let near =
                                nearest(other, ["value", "required", "generator", "description"].iter());
                            report.suggest(
                                &field.at,
                                format!("`{}` is nothing that a variable of app.json has", shorten(other)),
                                near,
                            );
                        }
                    }
                }
                match known {
                    _ if generated => {
                        self.generated.insert(name.to_owned());
                    }
                    Some(text) => {
                        self.variables.insert(name.to_owned(), text);
                    }
                    None if required => {
                        self.required.insert(name.to_owned());
                    }
                    None => {}
                }
            }
            _ => report.add(
                at,
                format!("the variable `{name}` is a text or a table, not {}", node.kind()),
            ),
        }
        if let Some(text) = self.variables.get(name)
            && let Err(why) = value::check_variable_value(text)
        {
            report.add(at, format!("`{name}`: {}", why.message));
        }
    }

    fn formation(&mut self, node: &Node, report: &mut Report<'_>) {
        if !matches!(node.value, Value::Map(_)) {
            report.add(
                &node.at,
                format!("`formation` is a table of process types, not {}", node.kind()),
            );
        }
        for (key, node) in node.entries() {
            let Some(service) = Name::slug(&key.name) else {
                report.add(&key.at, format!("`{}` is no process type", shorten(&key.name)));
                continue;
            };
            for (field, node) in node.entries() {
                let line = report.line_of(field.at.start) + 1;
                match field.name.as_str() {
                    "quantity" => match node.text().and_then(|text| text.parse::<u32>().ok()) {
                        Some(quantity) if quantity <= MAX_REPLICAS => {
                            self.formation.insert(service.clone(), quantity);
                        }
                        _ => report.add(
                            &node.at,
                            format!("`quantity` is a whole number from 0 to {MAX_REPLICAS}"),
                        ),
                    },
                    "size" => self.notes.push(format!(
                        "{APP_JSON}:{line}: the `size` of `{service}` is not carried over: set `memory` and `cpu` of \
                         `[services.{service}]` in nonna.toml"
                    )),
                    other => report.suggest(
                        &field.at,
                        format!("`{}` is nothing that a formation has", shorten(other)),
                        nearest(other, ["quantity", "size"].iter()),
                    ),
                }
            }
        }
    }

    fn scripts(&mut self, node: &Node, report: &mut Report<'_>) {
        for (key, node) in node.entries() {
            let line = report.line_of(key.at.start) + 1;
            match key.name.as_str() {
                "postdeploy" => {
                    // As a line, or as a table with the line in `command`.
                    let command = node.get("command").unwrap_or(node);
                    match command.text().map(str::trim) {
                        Some(text) if !text.is_empty() && text.len() <= MAX_WORD => {
                            self.post_deploy = Some(command_line::words(text));
                        }
                        _ => report.add(
                            &node.at,
                            format!("`postdeploy` is a command of at most {MAX_WORD} bytes"),
                        ),
                    }
                }
                name @ ("pr-predestroy" | "test" | "test-setup") => self.notes.push(format!(
                    "{APP_JSON}:{line}: the script `{name}` is not carried over: run it yourself, with `nonna run`"
                )),
                other => report.suggest(
                    &key.at,
                    format!("`{}` is no script of an app.json", shorten(other)),
                    nearest(other, ["postdeploy", "pr-predestroy"].iter()),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_heroku_reads_is_read() {
        let app = AppJson::parse(
            r#"{
  "name": "shop", "keywords": ["a"],
  "env": {
    "LEVEL": "info",
    "RETRIES": {"description": "how often", "value": "3"},
    "SECRET_KEY": {"generator": "secret"},
    "API_TOKEN": {"description": "from the portal"},
    "MAYBE": {"required": false}
  },
  "formation": {"web": {"quantity": 2, "size": "standard-1x"}, "mail_worker": {"quantity": 0}},
  "addons": ["heroku-postgresql"],
  "scripts": {"postdeploy": "bin/seed --all"}
}"#,
        )
        .unwrap();
        assert_eq!(app.variables["RETRIES"], "3");
        assert_eq!(app.variables["LEVEL"], "info");
        assert!(app.generated.contains("SECRET_KEY") && app.required.contains("API_TOKEN"));
        assert_eq!((app.required.len(), app.variables.len()), (1, 2));
        assert_eq!(app.formation[&"mail-worker".parse().unwrap()], 0);
        assert_eq!(app.post_deploy.unwrap(), ["bin/seed", "--all"]);
        assert_eq!(app.notes.len(), 2, "{:?}", app.notes);
        assert!(
            app.notes
                .iter()
                .any(|note| note.starts_with("app.json:11: `addons`"))
        );
    }

    #[test]
    fn mistakes_have_a_line_and_a_suggestion() {
        let problem = |text: &str| AppJson::parse(text).unwrap_err().0.remove(0);
        let typo = problem("{\n  \"fromation\": {}\n}");
        assert_eq!((typo.line, typo.suggestion.as_deref()), (2, Some("formation")));
        let broken = problem("{\n  \"env\": {,}\n}");
        assert_eq!(broken.line, 2);
        assert!(
            broken.message.starts_with("this is not JSON"),
            "{}",
            broken.message
        );
        let many = problem("{\"formation\": {\"web\": {\"quantity\": -1}}}");
        assert!(many.message.contains("0 to 100"), "{}", many.message);
        assert!(problem("[]").message.contains("a table"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}\\[\\]\",:a-z0-9 \n\\\\]{0,60}") {
            let _ = AppJson::parse(&text).map_err(|problems| problems.to_string());
        }
    }
}
