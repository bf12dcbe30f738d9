//! The `Procfile`: process types and their commands.

use nonna_engine::Result;
use nonna_model::context::printable;

use super::start::Start;
use super::tree::{Tree, unclear};

/// What a `Procfile` says.
pub(super) struct Procfile {
    /// The command of the process that answers requests.
    pub(super) web: Option<Start>,
    /// The names of the others.
    pub(super) others: Vec<String>,
}

impl Procfile {
    /// Reads it, if there is one.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Option<Self>> {
        let Some(text) = tree.text("Procfile")? else {
            return Ok(None);
        };
        let mut found = Self {
            web: None,
            others: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = line
                .split_once(':')
                .map(|(name, command)| (name.trim(), command.trim()));
            match entry {
                Some((name, command)) if is_name(name) && !command.is_empty() => {
                    if name == "web" {
                        found.web = Some(Start::from_line(command));
                    } else {
                        found.others.push(name.to_owned());
                    }
                }
                _ => {
                    return Err(unclear(
                        "Procfile",
                        &format!("line {} is `{}`", number + 1, printable(line)),
                        "Every line is a name, a colon and a command: `web: gunicorn app:app`.",
                    ));
                }
            }
        }
        Ok(Some(found))
    }

    /// What is not carried out of it, for the explanation.
    pub(super) fn notes(&self) -> Vec<String> {
        if self.others.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "only `web` of the Procfile is started; also there: {}",
            self.others.join(", ")
        )]
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
