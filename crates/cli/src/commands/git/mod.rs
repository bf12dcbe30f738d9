//! `nonna git …`

mod connect;
mod credential;
mod forge;
mod setup;

use nonna_api::git::BranchRequest;

use super::Context;
use crate::args::GitCommand;
use crate::fail::Result;
use crate::output::{Table, clean};
use crate::project::place_here;

/// Does what a command about git says.
pub(crate) async fn git(context: &Context, command: GitCommand) -> Result {
    match command {
        GitCommand::Setup(args) => setup::setup(context, &args).await,
        GitCommand::Credential { operation } => credential::credential(context, &operation),
        GitCommand::Connect(args) => connect::connect(context, args).await,
        GitCommand::List => forge::list(context).await,
        GitCommand::Disconnect(args) => forge::disconnect(context, &args).await,
        GitCommand::Deploy(args) => forge::deploy(context, &args).await,
        GitCommand::Deliveries(args) => forge::deliveries(context, &args).await,
        GitCommand::Show => show(context).await,
        GitCommand::Follow { branch, to } => follow(context, branch, Some(to.to_string())).await,
        GitCommand::Unfollow { branch } => follow(context, branch, None).await,
    }
}

async fn show(context: &Context) -> Result {
    let project = place_here(&context.global)?.project;
    let answer = context.client()?.git(&project).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    let mut table = Table::new(&["BRANCH", "ENVIRONMENT"]);
    for (branch, environment) in &answer.branches {
        table.row([clean(branch).into_owned(), environment.clone()]);
    }
    if answer.branches.is_empty() {
        printer.note(
            "No branch was named: `main` and `master` go to the manifest's environment, else to production.",
        );
    } else {
        printer.table(&table);
    }
    Ok(())
}

async fn follow(context: &Context, branch: String, environment: Option<String>) -> Result {
    let project = place_here(&context.global)?.project;
    let said = match &environment {
        Some(environment) => format!("{project}/{environment} follows {} now.", clean(&branch)),
        None => format!("Nothing was told to follow {} any more.", clean(&branch)),
    };
    let answer = context
        .client()?
        .follow_branch(&project, &BranchRequest { branch, environment })
        .await?;
    if context.printer.is_json() {
        context.printer.json(&answer);
    } else {
        context.printer.note(&said);
    }
    Ok(())
}
