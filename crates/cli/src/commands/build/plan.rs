//! `nonna builds plan`

use std::collections::BTreeMap;

use super::explain;
use super::log::wanted;
use crate::args::BuildPlanArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::{Paint, clean};
use crate::project::place_here;

/// Shows how a release was built, and why.
pub(crate) async fn plan(context: &Context, args: BuildPlanArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let release = wanted(&client, &place, &service, args.release).await?;
    let answer = client.build_plan(&place, &service, &release).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    printer.line(&format!(
        "{} {}: {}",
        printer.paint(Paint::Strong, &service),
        clean(&answer.release),
        clean(&explain::builder(&answer.plan))
    ));
    explain::show_plan(
        printer,
        &answer.plan,
        &BTreeMap::new(),
        &format!("[services.{service}.build]"),
    );
    Ok(())
}
