//! `nonna logs export`

use crate::args::LogsExportArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::project::place_here;

use super::logs::asked;

/// Prints log lines as JSON, oldest first.
pub(crate) async fn logs_export(context: &Context, args: LogsExportArgs) -> Result {
    let mut query = asked(args.since.as_deref(), args.until.as_deref(), &args.wanted)?;
    if query.stream.is_none() && !query.access {
        query.stream = Some("all".to_owned());
    }
    let place = place_here(&context.global)?;
    context
        .client()?
        .export_logs(&place, &query, |piece| {
            context.printer.pass_out(piece);
            Ok(())
        })
        .await?;
    Ok(())
}
