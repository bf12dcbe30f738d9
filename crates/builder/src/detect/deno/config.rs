//! `deno.json` and `deno.jsonc`.

use std::collections::BTreeMap;

use nonna_engine::Result;
use nonna_model::context::printable;
use serde::Deserialize;

use super::super::tree::{Tree, unclear};

/// The names of the file, as Deno looks for it.
pub(super) const FILES: [&str; 2] = ["deno.json", "deno.jsonc"];

/// What Deno reads before it runs anything.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) tasks: BTreeMap<String, Task>,
    pub(super) imports: BTreeMap<String, serde_json::Value>,
    pub(super) workspace: Option<serde_json::Value>,
    /// What Deno Deploy is told.
    pub(super) deploy: Deploy,
    /// The file itself; empty: there is none.
    #[serde(skip)]
    pub(super) file: &'static str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deploy {
    pub(super) entrypoint: Option<String>,
}

/// A task: a line of Deno's own shell.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Task {
    Line(String),
    Full {
        command: Option<String>,
        #[serde(default)]
        dependencies: Vec<String>,
    },
}

impl Task {
    /// Its line, if that is all of it.
    pub(super) fn line(&self) -> Option<&str> {
        match self {
            Self::Line(line) => Some(line),
            Self::Full {
                command,
                dependencies,
            } => command.as_deref().filter(|_| dependencies.is_empty()),
        }
    }
}

impl Config {
    /// Reads it, if there is one.
    ///
    /// # Errors
    /// A file that is no JSON, with or without comments.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Self> {
        let Some(file) = tree.first(&FILES) else {
            return Ok(Self::default());
        };
        let text = tree.text(file)?.unwrap_or_default();
        let wrong = |why: &str| {
            unclear(
                file,
                &printable(why),
                "`deno task` says whether Deno can read it.",
            )
        };
        let value = jsonc_parser::parse_to_serde_value(&text, &jsonc_parser::ParseOptions::default())
            .map_err(|error| wrong(&error.to_string()))?;
        let mut config: Self = serde_json::from_value(value).map_err(|error| wrong(&error.to_string()))?;
        config.file = file;
        Ok(config)
    }

    /// Whether something is imported by this name.
    pub(super) fn imports(&self, name: &str) -> bool {
        self.imports.contains_key(name)
    }
}
