//! `nonna git list`, `disconnect`, `deploy` and `deliveries`

use std::time::Duration;

use nonna_api::git::{ConnectionAnswer, DeliveryAnswer, DeliveryLogAnswer};
use nonna_client::Client;
use nonna_engine::{Code, Error};

use crate::args::{GitDeliveriesArgs, GitDeployArgs, GitDisconnectArgs};
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::units::local_time;
use crate::output::{Table, clean};
use crate::project::place_here;

/// How often it is asked how far a delivery is.
const EVERY: Duration = Duration::from_millis(500);

/// Lists the repositories that the project is deployed from.
pub(crate) async fn list(context: &Context) -> Result {
    let project = place_here(&context.global)?.project;
    let connections = context.client()?.connections(&project).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&connections);
        return Ok(());
    }
    if connections.is_empty() {
        printer.note(
            "The project is deployed from no forge. Connect a repository: `nonna git connect ADDRESS`.",
        );
        return Ok(());
    }
    let mut table = Table::new(&[
        "ID",
        "REPOSITORY",
        "BRANCH",
        "ENVIRONMENT",
        "DEPLOYED",
        "LAST MESSAGE",
    ]);
    for connection in connections {
        let last = connection.last.as_ref().map(outcome).unwrap_or_default();
        for (branch, followed) in &connection.branches {
            let mut environment = followed.environment.clone();
            if !followed.services.is_empty() {
                environment = format!("{environment} ({})", followed.services.join(", "));
            }
            table.row([
                connection.id.clone(),
                clean(&connection.repository).into_owned(),
                clean(branch).into_owned(),
                environment,
                short(followed.deployed.as_deref()),
                clean(&last).into_owned(),
            ]);
        }
    }
    printer.table(&table);
    Ok(())
}

fn short(commit: Option<&str>) -> String {
    commit
        .and_then(|commit| commit.get(..7))
        .unwrap_or("-")
        .to_owned()
}

/// What came of a delivery, in a word.
fn outcome(delivery: &DeliveryAnswer) -> String {
    delivery.result.clone().unwrap_or_else(|| delivery.state.clone())
}

/// The connection that is meant; without a word, the only one.
async fn find(client: &Client, project: &str, named: Option<&str>) -> Result<ConnectionAnswer> {
    let mut connections = client.connections(project).await?;
    let known: Vec<String> = connections
        .iter()
        .map(|c| clean(&c.repository).into_owned())
        .collect();
    if let Some(named) = named {
        connections.retain(|c| is_meant(c, named));
    }
    match (connections.len(), named) {
        (1, _) => connections
            .pop()
            .ok_or_else(|| Error::bug("a list of one is empty").into()),
        (0, _) if known.is_empty() => Err(Error::user(
            Code::NotFound,
            format!("The project {project} is deployed from no forge."),
        )
        .hint("Connect a repository: `nonna git connect ADDRESS`.")
        .into()),
        (0, Some(named)) => Err(Error::user(
            Code::NotFound,
            format!("The project {project} is not connected to {}.", clean(named)),
        )
        .hint(format!("It is connected to {}.", known.join(", ")))
        .into()),
        _ => Err(Failure::usage_hint(
            "Several repositories could be meant: say which one.",
            format!(
                "One of {}, or the id that `nonna git list` shows.",
                known.join(", ")
            ),
        )),
    }
}

fn is_meant(connection: &ConnectionAnswer, named: &str) -> bool {
    let bare = |text: &str| text.trim_end_matches('/').trim_end_matches(".git").to_owned();
    let (there, named) = (bare(&connection.repository), bare(named));
    connection.id == named
        || there == named
        || there
            .strip_suffix(&named)
            .is_some_and(|before| !named.is_empty() && before.ends_with(['/', ':']))
}

/// Disconnects a repository, or one branch of it.
pub(crate) async fn disconnect(context: &Context, args: &GitDisconnectArgs) -> Result {
    let project = place_here(&context.global)?.project;
    let client = context.client()?;
    let connection = find(&client, &project, Some(&args.repository)).await?;
    client
        .disconnect_forge(&project, &connection.id, args.branch.as_deref())
        .await?;
    let printer = &context.printer;
    let left = args.branch.is_some() && connection.branches.len() > 1;
    if printer.is_json() {
        printer.json(&serde_json::json!({
            "id": connection.id,
            "repository": connection.repository,
            "disconnected": !left,
        }));
        return Ok(());
    }
    let repository = clean(&connection.repository);
    match &args.branch {
        Some(branch) if left => printer.note(&format!(
            "{} of {repository} is not deployed any more.",
            clean(branch)
        )),
        _ => printer.note(&format!(
            "{project} is not deployed from {repository} any more. Remove the webhook and the deploy key at the forge. What serves goes on serving."
        )),
    }
    Ok(())
}

/// Deploys a branch as it is on the forge now.
pub(crate) async fn deploy(context: &Context, args: &GitDeployArgs) -> Result {
    let project = place_here(&context.global)?.project;
    let client = context.client()?;
    let connection = find(&client, &project, args.repository.as_deref()).await?;
    let begun = client
        .deploy_forge(&project, &connection.id, args.branch.as_deref())
        .await?;
    let printer = &context.printer;
    if args.detach {
        if printer.is_json() {
            printer.json(&begun);
        } else {
            printer.note(&format!(
                "It goes on without you: `nonna git deliveries -n {}` shows how far it is.",
                begun.number
            ));
        }
        return Ok(());
    }
    printer.note(&format!("Deploying from {}", clean(&connection.repository)));
    let ended = loop {
        let now = client.delivery(&project, &connection.id, begun.number).await?;
        if !matches!(now.delivery.state.as_str(), "waiting" | "running") {
            break now;
        }
        tokio::time::sleep(EVERY).await;
    };
    if printer.is_json() {
        printer.json(&ended);
    } else {
        say(context, &ended);
    }
    failed(&ended)
}

/// Prints what was said of a delivery; of one that never had its turn, what
/// became of it.
fn say(context: &Context, one: &DeliveryLogAnswer) {
    let printer = &context.printer;
    for line in one.log.lines() {
        printer.line(&clean(line));
    }
    if !one.log.is_empty() {
        return;
    }
    if one.delivery.message.is_empty() {
        printer.line(&outcome(&one.delivery));
    } else {
        printer.line(&clean(&one.delivery.message));
    }
}

/// A delivery that failed is a failure of the command that waited for it.
fn failed(ended: &DeliveryLogAnswer) -> Result {
    if ended.delivery.result.as_deref() != Some("failed") {
        return Ok(());
    }
    Err(Failure::Told)
}

/// Shows what a repository's webhook said.
pub(crate) async fn deliveries(context: &Context, args: &GitDeliveriesArgs) -> Result {
    let project = place_here(&context.global)?.project;
    let client = context.client()?;
    let connection = find(&client, &project, args.repository.as_deref()).await?;
    let printer = &context.printer;
    if let Some(number) = args.number {
        let one = client.delivery(&project, &connection.id, number).await?;
        if printer.is_json() {
            printer.json(&one);
            return Ok(());
        }
        say(context, &one);
        return Ok(());
    }
    let found = client.deliveries(&project, &connection.id).await?;
    if printer.is_json() {
        printer.json(&found);
        return Ok(());
    }
    if found.is_empty() {
        printer.note("Its webhook said nothing yet. The forge's own page of the webhook shows what it sends and is answered.");
        return Ok(());
    }
    let mut table = Table::new(&["NUMBER", "RECEIVED", "BRANCH", "COMMIT", "OUTCOME", "WORDS"]);
    for one in found {
        table.row([
            one.number.to_string(),
            local_time(one.received_at),
            clean(one.branch.as_deref().unwrap_or("-")).into_owned(),
            short(one.commit.as_deref()),
            outcome(&one),
            clean(&one.message).into_owned(),
        ]);
    }
    printer.table(&table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(repository: &str) -> ConnectionAnswer {
        serde_json::from_value(serde_json::json!({
            "id": "con-aaaaaaaaaaaaaaaa", "project": "shop", "repository": repository, "forge": "github",
            "api": "", "branches": {}, "webhook_path": "", "webhook_url": null, "public_key": null,
            "has_token": false, "host_keys": [], "created_by": "x", "created_at": 1, "last": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_repository_is_meant_by_its_address_its_name_or_its_id() {
        for repository in ["git@github.com:acme/shop.git", "https://github.com/acme/shop"] {
            let one = connection(repository);
            for named in [
                repository,
                "acme/shop",
                "shop",
                "shop.git",
                "con-aaaaaaaaaaaaaaaa",
            ] {
                assert!(is_meant(&one, named), "{named}");
            }
            for other in ["op", "", ".git", "acme/other", "me/shop"] {
                assert!(!is_meant(&one, other), "{other}");
            }
        }
    }
}
