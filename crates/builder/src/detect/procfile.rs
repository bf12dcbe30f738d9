//! The `Procfile`: process types and their commands. It is read by the model,
//! which makes services of them; here it only tells what an image starts by
//! itself.

use nonna_engine::Result;
use nonna_model::folder::{self, PROCFILE};

use super::start::Start;
use super::tree::{Tree, unclear};

/// What a `Procfile` says.
pub(super) struct Procfile {
    /// The command of the image: of the process that answers requests, else of
    /// the first that there is, so that code without such a process is built
    /// all the same.
    pub(super) web: Option<Start>,
    /// The names of the others.
    others: Vec<String>,
}

impl Procfile {
    /// Reads it, if there is one.
    pub(super) fn read(tree: &Tree<'_>) -> Result<Option<Self>> {
        let Some(text) = tree.text(PROCFILE)? else {
            return Ok(None);
        };
        let read = folder::Procfile::parse(&text, PROCFILE).map_err(|problems| {
            let first = problems.0.first();
            let error = unclear(
                PROCFILE,
                &first.map_or_else(String::new, |p| format!("line {} is `{}`", p.line, p.offending)),
                "Every line is a name, a colon and a command: `web: gunicorn app:app`.",
            );
            problems
                .0
                .iter()
                .fold(error, |error, problem| error.detail(problem.to_string()))
        })?;
        let command = read.web().or_else(|| read.processes.first());
        Ok(Some(Self {
            web: command.map(|process| Start::from_line(&process.command)),
            others: read
                .processes
                .iter()
                .filter(|process| !process.is_web())
                .map(|process| process.name.clone())
                .collect(),
        }))
    }

    /// What its reader should know, for the explanation.
    pub(super) fn notes(&self) -> Vec<String> {
        if self.others.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "of a Procfile in the project's own folder every process type is a service of this image; of one in a \
             service's folder `web` alone is started, and not {}",
            self.others.join(", ")
        )]
    }
}
