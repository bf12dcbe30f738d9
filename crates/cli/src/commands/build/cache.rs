//! `nonna cache` and `nonna cache clear`

use std::collections::BTreeMap;

use nonna_api::{CacheAnswer, CachesAnswer, ClearCachesRequest};

use crate::args::ClearArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::Table;
use crate::output::units::{ago, bytes, count, now};
use crate::project::place_here;

/// Shows what builds keep to be quicker next time.
pub(crate) async fn cache(context: &Context) -> Result {
    let answer = context.client()?.caches().await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    if answer.caches.is_empty() {
        printer.note("No build keeps anything yet.");
        return Ok(());
    }
    table(context, &answer);
    printer.note(&format!(
        "{} together. Layers that an image has are counted with it too; `nonna gc` removes what nobody needs.",
        bytes(answer.bytes)
    ));
    Ok(())
}

/// One row for each service and kind: single layers are of no interest.
fn table(context: &Context, answer: &CachesAnswer) {
    let mut rows: BTreeMap<(String, &str), (usize, u64, i64)> = BTreeMap::new();
    for cache in &answer.caches {
        let row = rows.entry((owner(cache), cache.kind.as_str())).or_default();
        row.0 += 1;
        row.1 += cache.bytes;
        row.2 = row.2.max(cache.used_at);
    }
    let now = now();
    let mut table = Table::new(&["WHOSE", "KIND", "NUMBER", "SIZE", "USED"]);
    for ((owner, kind), (number, size, used)) in rows {
        table.row([
            owner,
            kind.to_owned(),
            number.to_string(),
            bytes(size),
            format!("{} ago", ago(used, now)),
        ]);
    }
    context.printer.table(&table);
}

fn owner(cache: &CacheAnswer) -> String {
    if cache.shared {
        return "all services".to_owned();
    }
    match (&cache.project, &cache.environment, &cache.service) {
        (Some(project), Some(environment), Some(service)) => format!("{project}/{environment}/{service}"),
        _ => "(destroyed)".to_owned(),
    }
}

/// Removes caches.
pub(crate) async fn clear(context: &Context, args: ClearArgs) -> Result {
    let request = if args.all {
        ClearCachesRequest {
            all: true,
            ..ClearCachesRequest::default()
        }
    } else {
        let place = place_here(&context.global)?;
        ClearCachesRequest {
            project: Some(place.project),
            environment: args.service.as_ref().map(|_| place.environment),
            service: args.service.map(String::from),
            all: false,
        }
    };
    let answer = context.client()?.clear_caches(&request).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    if answer.caches.is_empty() {
        printer.note("There was nothing to remove.");
        return Ok(());
    }
    printer.line(&format!(
        "Removed {}, {}.",
        count(answer.caches.len(), "cache"),
        bytes(answer.bytes)
    ));
    Ok(())
}
