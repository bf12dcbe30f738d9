//! Secrets whose values the folder has, or that are to be made up: sealed on
//! the server before the deployment that needs them, and never sent with it.

use std::collections::{BTreeMap, BTreeSet};

use nonna_api::{VariableScope, VariablesRequest};
use nonna_client::{Client, Place};
use nonna_engine::{Code, Error};
use nonna_model::folder::{Declared, SecretFrom};

use super::desired::Purpose;
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::project::Project;

/// The largest secret that is read from a file, in bytes.
const MAX_SECRET: u64 = 32 * 1024;

/// Sets those that are not set yet. Returns those that are, or for a plan
/// would be, set before the deployment.
pub(super) async fn provide(
    context: &Context,
    client: &Client,
    place: &Place,
    project: &Project,
    declared: &Declared,
    purpose: Purpose,
) -> Result<Vec<String>> {
    if declared.secrets.is_empty() {
        return Ok(Vec::new());
    }
    let scope = VariableScope::default();
    let set: BTreeSet<String> = match client.variables(place, &scope).await {
        Ok(all) => all.into_iter().filter(|v| v.secret).map(|v| v.name).collect(),
        // The first deployment makes the environment.
        Err(error) if error.code == Code::NotFound => BTreeSet::new(),
        Err(error) => return Err(error.into()),
    };
    let mut values = BTreeMap::new();
    let mut names = Vec::new();
    for secret in &declared.secrets {
        if set.contains(&secret.name) {
            if let SecretFrom::File { path } = &secret.from {
                context.printer.note(&format!(
                    "The secret {} is set already: {path} is not read. `nonna secret set {}` changes it.",
                    secret.name, secret.name
                ));
            }
            continue;
        }
        names.push(secret.name.clone());
        // The server makes these up itself.
        if secret.from != SecretFrom::Generated {
            values.insert(secret.name.clone(), value(project, &secret.name, &secret.from)?);
        }
    }
    if purpose == Purpose::Plan || values.is_empty() {
        return Ok(names);
    }
    context.printer.note(&format!(
        "Sealing secrets that are not set yet: {}",
        values.keys().cloned().collect::<Vec<_>>().join(", ")
    ));
    let request = VariablesRequest {
        set: values,
        secret: true,
        stage: true,
        ..VariablesRequest::default()
    };
    client.change_variables(place, &scope, &request).await?;
    Ok(names)
}

fn value(project: &Project, name: &str, from: &SecretFrom) -> Result<String> {
    match from {
        SecretFrom::Generated => Err(Error::bug("the server makes secrets up, not its client").into()),
        SecretFrom::Variable { name: variable } => std::env::var(variable).map_err(|_| {
            Failure::usage_hint(
                format!(
                    "The secret {name} is to be the environment variable {variable}, which is not set here."
                ),
                format!("Set {variable}, or set the secret itself: `nonna secret set {name}`."),
            )
        }),
        SecretFrom::File { path } => {
            let file = project.folder.join(path);
            let wrong = |why: String| {
                Failure::usage_hint(
                    format!(
                        "The secret {name} is to be the file {}, which {why}.",
                        file.display()
                    ),
                    format!("Mend it, or set the secret itself: `nonna secret set {name}`."),
                )
            };
            let found = std::fs::metadata(&file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
            if !found.is_file() || found.len() > MAX_SECRET {
                return Err(wrong(format!("is no file of at most {MAX_SECRET} bytes")));
            }
            std::fs::read_to_string(&file).map_err(|e| wrong(format!("cannot be read as a text: {e}")))
        }
    }
}
