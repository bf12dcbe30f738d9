//! `nonna builds logs`

use nonna_client::{Client, Place};
use nonna_engine::{Code, Error};
use nonna_model::ReleaseNumber;

use crate::args::BuildLogArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::clean;
use crate::output::units::{count, local_time};
use crate::project::place_here;

/// The release that is named, else the newest.
pub(super) async fn wanted(
    client: &Client,
    place: &Place,
    service: &str,
    named: Option<ReleaseNumber>,
) -> Result<String> {
    if let Some(release) = named {
        return Ok(release.to_string());
    }
    let newest = client.releases(place, service).await?.into_iter().next();
    Ok(newest.map(|newest| newest.release).ok_or_else(|| {
        Error::user(Code::NotFound, format!("{service} was never deployed."))
            .hint("Deploy it: `nonna deploy`.")
    })?)
}

/// Shows what the build of a release said.
pub(crate) async fn log(context: &Context, args: BuildLogArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let release = wanted(&client, &place, &service, args.release).await?;
    let answer = client.build_log(&place, &service, &release).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&answer);
        return Ok(());
    }
    if answer.release != release {
        printer.note(&format!(
            "{} took the image that was built for {}: its build said",
            clean(&release),
            clean(&answer.release)
        ));
    }
    let left_out = usize::try_from(answer.left_out).unwrap_or(usize::MAX);
    for (at, line) in (0_u64..).zip(&answer.lines) {
        if left_out > 0 && at == answer.left_out_after {
            printer.note(&format!("… {} left out …", count(left_out, "line")));
        }
        let text = clean(&line.line);
        if args.timestamps {
            printer.line(&format!("{}  {text}", local_time(line.at)));
        } else {
            printer.line(&text);
        }
    }
    if answer.state == "building" {
        printer.note("The build is not over.");
    }
    Ok(())
}
