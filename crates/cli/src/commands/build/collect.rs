//! `nonna gc`

use crate::args::GcArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::Table;
use crate::output::units::{bytes, count};

/// How much of a name is shown.
const SHOWN: usize = 24;

/// Removes what builds left and nobody needs, or only shows it.
pub(crate) async fn gc(context: &Context, args: GcArgs) -> Result {
    let answer = context.client()?.gc(args.dry_run).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    for disk in &answer.disks {
        printer.note(&format!(
            "Disk of the {}: {} of {} free.",
            disk.name,
            bytes(disk.free),
            bytes(disk.total)
        ));
    }
    if answer.items.is_empty() {
        printer.note("There is nothing that nobody needs.");
        return Ok(());
    }
    let mut table = Table::new(&["KIND", "NAME", "SIZE", "WHY"]);
    for item in &answer.items {
        table.row([
            item.kind.replace('_', " "),
            item.name.chars().take(SHOWN).collect(),
            bytes(item.bytes),
            item.why.clone(),
        ]);
    }
    printer.table(&table);
    let what = count(answer.items.len(), "thing");
    let size = bytes(answer.bytes);
    printer.note(&if answer.dry_run {
        format!("{what}, {size}, would be removed. Nothing was.")
    } else {
        format!("{what}, {size}, removed.")
    });
    Ok(())
}
