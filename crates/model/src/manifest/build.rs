//! Reading a table `build`: what is said in place of what would be detected.

use toml::de::DeValue;

use super::At;
use super::fields::BUILD;
use super::limits::{MAX_SECRETS, MAX_WORD};
use super::problem::Report;
use super::reader::{Entry, entries, nearest};
use super::value::{self, InvalidValue};
use crate::service::{BuildOverrides, LANGUAGES};

/// What else people call the languages.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("nodejs", "node"),
    ("javascript", "node"),
    ("js", "node"),
    ("typescript", "node"),
    ("bun", "node"),
    ("python3", "python"),
    ("py", "python"),
    ("golang", "go"),
    ("rb", "ruby"),
    ("rails", "ruby"),
    ("kotlin", "java"),
    ("jvm", "java"),
    ("csharp", "dotnet"),
    ("c#", "dotnet"),
    (".net", "dotnet"),
    ("phoenix", "elixir"),
    ("html", "static"),
    ("site", "static"),
    ("laravel", "php"),
];

/// What a manifest says of how a folder is built; `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields {
    language: Option<At<String>>,
    install: Option<At<String>>,
    command: Option<At<String>>,
    start: Option<At<String>>,
    output: Option<At<String>>,
    /// Said of any build, also of one by a Dockerfile.
    secrets: Option<At<Vec<At<String>>>>,
}

impl Fields {
    fn all(&self) -> [&Option<At<String>>; 5] {
        [
            &self.language,
            &self.install,
            &self.command,
            &self.start,
            &self.output,
        ]
    }

    /// The secrets that the build may mount.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.secrets
            .iter()
            .flat_map(|secrets| &secrets.value)
            .map(|secret| secret.value.clone())
            .collect()
    }

    /// Only what holds where a Dockerfile is the plan.
    #[must_use]
    pub(super) fn of_dockerfiles(&self) -> Self {
        Self {
            secrets: self.secrets.clone(),
            ..Self::default()
        }
    }

    /// Where anything is said.
    pub(super) fn place(&self) -> Option<&std::ops::Range<usize>> {
        let secrets = self.secrets.as_ref().map(|secrets| &secrets.at);
        self.any().map(|said| &said.at).or(secrets)
    }

    /// Something that is said in place of what would be detected.
    pub(super) fn any(&self) -> Option<&At<String>> {
        self.all().into_iter().flatten().next()
    }

    /// Lays what is said nearer over this, field by field.
    #[must_use]
    pub(super) fn overridden_by(&self, over: &Self) -> Self {
        let pick =
            |base: &Option<At<String>>, over: &Option<At<String>>| over.as_ref().or(base.as_ref()).cloned();
        Self {
            language: pick(&self.language, &over.language),
            install: pick(&self.install, &over.install),
            command: pick(&self.command, &over.command),
            start: pick(&self.start, &over.start),
            output: pick(&self.output, &over.output),
            secrets: over.secrets.as_ref().or(self.secrets.as_ref()).cloned(),
        }
    }

    /// The same without the places.
    pub(super) fn plain(&self) -> BuildOverrides {
        let plain = |field: &Option<At<String>>| field.as_ref().map(|field| field.value.clone());
        BuildOverrides {
            language: plain(&self.language),
            install: plain(&self.install),
            command: plain(&self.command),
            start: plain(&self.start),
            output: plain(&self.output),
        }
    }
}

/// Reads the table; what is wrong is noted and left out.
pub(super) fn read(entry: &Entry<'_, '_>, report: &mut Report<'_>) -> Fields {
    let mut fields = Fields::default();
    if let DeValue::String(_) = entry.get() {
        report.suggest(
            &entry.key,
            "`build` is a table that says how to build; the folder that is built is a service's `source`",
            Some("source"),
        );
        return fields;
    }
    let Some(table) = report.table(entry, "a table such as { command = \"npm run build\" }") else {
        return fields;
    };
    for field in entries(table) {
        let line = "a line for the shell, as a string";
        match field.name {
            "language" => fields.language = report.checked(&field, "a language, as a string", language),
            "install" => fields.install = report.checked(&field, line, command),
            "command" => fields.command = report.checked(&field, line, command),
            "start" => fields.start = report.checked(&field, line, start),
            "output" => {
                fields.output = report.checked(&field, "a path, as a string", value::check_inner_path);
            }
            "secrets" => {
                fields.secrets = report.list(&field, MAX_SECRETS, |text| {
                    value::check_variable_name(text).map(|()| text.to_owned())
                });
            }
            _ => report.unknown(&field, BUILD, "of `build`"),
        }
    }
    fields
}

fn language(text: &str) -> Result<String, InvalidValue> {
    if LANGUAGES.contains(&text) {
        return Ok(text.to_owned());
    }
    let plain = text.trim().to_ascii_lowercase();
    let known = |name: &&str| LANGUAGES.contains(name);
    let meant = OTHER_NAMES
        .iter()
        .find(|(other, _)| *other == plain)
        .map(|(_, name)| *name)
        .filter(known);
    Err(InvalidValue {
        message: format!(
            "this is no language that Nonna detects; there are {}",
            LANGUAGES.join(", ")
        ),
        suggestion: meant
            .map(str::to_owned)
            .or_else(|| nearest(&plain, LANGUAGES.iter())),
    })
}

fn start(text: &str) -> Result<String, InvalidValue> {
    if text.trim().is_empty() {
        return Err(InvalidValue {
            message: "what starts the app must not be empty".to_owned(),
            suggestion: None,
        });
    }
    command(text)
}

/// A line for the shell of a build; empty: nothing is run.
fn command(text: &str) -> Result<String, InvalidValue> {
    let refuse = |message: String| {
        Err(InvalidValue {
            message,
            suggestion: None,
        })
    };
    if text.len() > MAX_WORD {
        return refuse(format!("a command may have {MAX_WORD} bytes at most"));
    }
    if text.trim_end().contains(['\n', '\r']) {
        return refuse("this is one line for the shell: join several commands with `&&`".to_owned());
    }
    if text.trim_end().chars().any(char::is_control) {
        return refuse("a command has no control characters".to_owned());
    }
    Ok(text.trim().to_owned())
}
