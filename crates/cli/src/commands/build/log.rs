//! `nonna builds logs`

use nonna_engine::{Code, Error};

use crate::args::BuildLogArgs;
use crate::commands::Context;
use crate::fail::Result;
use crate::output::clean;
use crate::output::units::{count, local_time};
use crate::project::place_here;

/// Shows what the build of a release said.
pub(crate) async fn log(context: &Context, args: BuildLogArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let release = match args.release {
        Some(release) => release.to_string(),
        None => client
            .releases(&place, &service)
            .await?
            .into_iter()
            .next()
            .map(|newest| newest.release)
            .ok_or_else(|| {
                Error::user(Code::NotFound, format!("{service} was never deployed."))
                    .hint("Deploy it: `nonna deploy`.")
            })?,
    };
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
