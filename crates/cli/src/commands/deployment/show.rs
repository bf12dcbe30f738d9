//! `nonna plan`

use nonna_api::PlanAnswer;
use nonna_model::plan::{Action, Change, ResourceKind};

use super::desired::{Purpose, desired};
use super::words;
use crate::args::PlanArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::{Paint, clean};

/// Shows what a deploy would do.
pub(crate) async fn plan(context: &Context, args: PlanArgs) -> Result {
    let client = context.client()?;
    let (place, desired) = desired(context, &client, &args.desired, Purpose::Plan).await?;
    let answer = client.plan(&place, &desired).await?;
    if context.printer.is_json() {
        context.printer.json(&answer);
        return Ok(());
    }
    let mut running = words::releases(&answer.plan);
    if answer.plan.is_empty() && running.is_none() {
        running = words::current(&client, &place).await.0;
    }
    show(context, &answer, running);
    Ok(())
}

fn show(context: &Context, answer: &PlanAnswer, running: Option<String>) {
    let printer = &context.printer;
    let plan = &answer.plan;
    let place = format!("{}/{}", plan.scope.project_name, plan.scope.environment_name);
    if plan.is_empty() {
        printer.line(&match running {
            Some(releases) => format!("Nothing to do: {place} runs {} already.", clean(&releases)),
            None => format!("Nothing to do: {place} is as it should be."),
        });
        return;
    }
    printer.line(&format!("Plan for {}", printer.paint(Paint::Strong, &place)));
    printer.line("");
    let changes: Vec<&Change> = plan.changes.iter().filter(|c| c.action != Action::Keep).collect();
    for change in &changes {
        show_change(context, change);
    }
    let number = |action| changes.iter().filter(|change| change.action == action).count();
    printer.line("");
    printer.line(&format!(
        "{} to create, {} to change, {} to replace, {} to destroy.",
        number(Action::Create),
        number(Action::Change),
        number(Action::Replace),
        number(Action::Destroy)
    ));
    printer.line(&format!("Plan {}", clean(&answer.digest)));
    printer.note("`nonna deploy --plan DIGEST` does exactly this.");
}

fn show_change(context: &Context, change: &Change) {
    let printer = &context.printer;
    let (mark, paint, verb) = match change.action {
        Action::Create => ("  +", Paint::Good, "create"),
        Action::Change => ("  ~", Paint::Notice, "change"),
        Action::Replace => ("-/+", Paint::Notice, "replace"),
        Action::Destroy => ("  -", Paint::Bad, "destroy"),
        Action::Keep => ("   ", Paint::Dim, "keep"),
        Action::Run => ("  >", Paint::Notice, "run"),
    };
    printer.line(&format!(
        "{} {} {}",
        printer.paint(paint, &format!("{mark} {verb:7}")),
        kind(change.resource),
        printer.paint(Paint::Strong, &change.name),
    ));
    for reason in &change.reasons {
        printer.line(&format!("              {}", printer.paint(Paint::Dim, reason)));
    }
}

fn kind(resource: ResourceKind) -> &'static str {
    match resource {
        ResourceKind::Environment => "environment",
        ResourceKind::Network => "network",
        ResourceKind::Service => "service",
        ResourceKind::Volume => "volume",
        ResourceKind::Route => "route",
        ResourceKind::Job => "the",
    }
}
