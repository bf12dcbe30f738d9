//! `nonna releases`

use crate::args::ReleasesArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::Table;
use crate::output::units::{ago, local_time, now};
use crate::project::place_here;

/// Shows a service's releases, newest first.
pub(crate) async fn releases(context: &Context, args: ReleasesArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let releases = client.releases(&place, &service).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&releases);
        return Ok(());
    }
    if releases.is_empty() {
        printer.note(&format!("{service} was never deployed."));
        return Ok(());
    }
    let now = now();
    let mut table = Table::new(&["RELEASE", "STATE", "MADE", "AGO", "WHY", "IMAGE"]);
    for release in releases {
        let state = if release.current {
            "current".to_owned()
        } else {
            release.state
        };
        table.row([
            release.release,
            state,
            local_time(release.created_at),
            ago(release.created_at, now),
            release.reason,
            release.image.map(short).unwrap_or_default(),
        ]);
    }
    printer.table(&table);
    Ok(())
}

/// An image's digest as far as people compare it.
fn short(image: String) -> String {
    const DIGITS: usize = 12;
    match image.split_once("sha256:") {
        Some((before, digest)) if digest.len() > DIGITS => {
            format!(
                "{before}sha256:{}",
                digest.chars().take(DIGITS).collect::<String>()
            )
        }
        _ => image,
    }
}
