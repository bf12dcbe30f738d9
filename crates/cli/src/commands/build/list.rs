//! `nonna builds`

use crate::commands::Context;
use crate::fail::Result;
use crate::output::Table;
use crate::output::units::{ago, now};

/// Shows what is being built, and what waits for its turn.
pub(crate) async fn builds(context: &Context) -> Result {
    let answer = context.client()?.builds().await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    if answer.builds.is_empty() {
        printer.note("Nothing is being built.");
        return Ok(());
    }
    let now = now();
    let mut table = Table::new(&["STATE", "BUILD", "RELEASE", "SINCE", "DEPLOYMENT"]);
    for build in answer.builds {
        let state = match build.position {
            Some(position) => format!("{position} in the queue"),
            None => build.state,
        };
        table.row([
            state,
            format!("{}/{}/{}", build.project, build.environment, build.service),
            build.release,
            ago(build.since, now),
            build.deployment,
        ]);
    }
    printer.table(&table);
    Ok(())
}
