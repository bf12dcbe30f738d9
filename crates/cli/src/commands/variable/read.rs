//! `get` and `list`

use nonna_api::VariableAnswer;
use nonna_engine::{Code, Error};
use secrecy::ExposeSecret as _;

use super::scope;
use crate::args::ScopeArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::Table;
use crate::output::units::local_time;
use crate::project::place_here;

/// Shows a variable's value.
pub(crate) async fn get(context: &Context, name: &str, args: &ScopeArgs) -> Result {
    let scope = scope(args)?;
    let place = place_here(&context.global)?;
    let all = context.client()?.variables(&place, &scope).await?;
    let mut found: Vec<VariableAnswer> = all.into_iter().filter(|variable| variable.name == name).collect();
    // The nearest scope wins.
    found.sort_by_key(|variable| nearness(&variable.scope));
    let Some(variable) = found.pop() else {
        return Err(
            Error::user(Code::NotFound, format!("There is no variable {name} in {place}."))
                .hint("`nonna env list` lists them. What nonna.toml sets is not among them.")
                .into(),
        );
    };
    if context.printer.is_json() {
        context.printer.json(&variable);
        return Ok(());
    }
    match variable.value {
        Some(value) => context.printer.raw(&format!("{value}\n")),
        None => {
            return Err(Error::user(Code::InvalidInput, format!("{name} is a secret."))
                .hint(format!("`nonna secret get {name}` shows it."))
                .into());
        }
    }
    Ok(())
}

fn nearness(scope: &str) -> u8 {
    match scope {
        "service" => 3,
        "environment" => 2,
        "project" => 1,
        _ => 0,
    }
}

/// Shows a secret's value.
pub(crate) async fn get_secret(context: &Context, name: &str, args: &ScopeArgs) -> Result {
    let scope = scope(args)?;
    let place = place_here(&context.global)?;
    let value = context.client()?.secret(&place, &scope, name).await?;
    let value = value.expose_secret();
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "name": name, "value": value }));
    } else if context.printer.out_is_terminal() {
        context.printer.raw(&format!("{value}\n"));
    } else {
        // Exactly what was stored, so that a file comes back as it was.
        context.printer.raw(value);
    }
    Ok(())
}

/// Lists variables, or the names of secrets.
pub(crate) async fn list(context: &Context, args: &ScopeArgs, secrets: bool) -> Result {
    let scope = scope(args)?;
    let place = place_here(&context.global)?;
    let all = context.client()?.variables(&place, &scope).await?;
    let listed: Vec<VariableAnswer> = all
        .into_iter()
        .filter(|variable| variable.secret == secrets)
        .collect();
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&listed);
        return Ok(());
    }
    if listed.is_empty() {
        printer.note(if secrets {
            "There are no secrets."
        } else {
            "There are no variables but those of nonna.toml."
        });
        return Ok(());
    }
    let mut table = if secrets {
        Table::new(&["NAME", "SCOPE", "SET"])
    } else {
        Table::new(&["NAME", "VALUE", "SCOPE", "SET"])
    };
    for variable in listed {
        let mut scope = variable.scope;
        if let Some(service) = variable.service {
            scope = format!("{scope} {service}");
        }
        let mut cells = vec![variable.name];
        if !secrets {
            cells.push(variable.value.unwrap_or_default());
        }
        cells.extend([scope, local_time(variable.updated_at)]);
        table.row(cells);
    }
    printer.table(&table);
    Ok(())
}
