//! `nonna registry login`, `list`, `logout` and `key`

use nonna_api::RegistryLoginRequest;

use crate::args::RegistryLoginArgs;
use crate::commands::{Context, read_stdin, read_value};
use crate::fail::{Failure, Result};
use crate::output::Table;
use crate::output::units::local_time;

/// Stores credentials for a registry.
pub(crate) async fn login(context: &Context, args: RegistryLoginArgs) -> Result {
    let client = context.client()?;
    let what = if args.identity_token {
        format!("Identity token for {}", args.registry)
    } else {
        format!("Password for {}", args.registry)
    };
    let secret = if args.password_stdin {
        read_stdin()?
    } else {
        read_value(&context.printer, &what)?
    };
    if secret.is_empty() {
        return Err(Failure::usage_hint(
            "The password is empty.",
            "It is read from standard input where nobody can be asked: `… | nonna registry login …`.",
        ));
    }
    let (password, identity_token) = if args.identity_token {
        (None, Some(secret))
    } else {
        (Some(secret), None)
    };
    let stored = client
        .registry_login(&RegistryLoginRequest {
            registry: args.registry,
            username: args.username,
            password,
            identity_token,
        })
        .await?;
    if context.printer.is_json() {
        context.printer.json(&stored);
    } else {
        let who = stored
            .username
            .map_or_else(|| "by an identity token".to_owned(), |name| format!("as {name}"));
        context
            .printer
            .note(&format!("Logged in to {} {who}.", stored.registry));
    }
    Ok(())
}

/// Lists the registries that credentials are stored for.
pub(crate) async fn list(context: &Context) -> Result {
    let stored = context.client()?.registries().await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&stored);
        return Ok(());
    }
    if stored.is_empty() {
        printer.note("No credentials are stored. Store some: `nonna registry login HOST --username NAME`.");
        return Ok(());
    }
    let mut table = Table::new(&["REGISTRY", "USER", "STORED", "BY"]);
    for one in stored {
        table.row([
            one.registry,
            one.username.unwrap_or_else(|| "(identity token)".to_owned()),
            local_time(one.stored_at),
            one.stored_by,
        ]);
    }
    printer.table(&table);
    Ok(())
}

/// Forgets a registry's credentials.
pub(crate) async fn logout(context: &Context, registry: &str) -> Result {
    context.client()?.registry_logout(registry).await?;
    context
        .printer
        .note(&format!("The credentials for {registry} are forgotten."));
    Ok(())
}

/// Prints the public key that images are signed with.
pub(crate) async fn key(context: &Context) -> Result {
    let key = context.client()?.signing_key().await?;
    if context.printer.is_json() {
        context.printer.json(&key);
    } else {
        context.printer.raw(&key.public_key);
    }
    Ok(())
}
