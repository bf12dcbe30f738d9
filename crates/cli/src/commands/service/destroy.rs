//! `nonna destroy`

use nonna_api::{EnvironmentAnswer, ServiceAnswer};
use nonna_engine::{Code, Error};

use crate::args::DestroyArgs;
use crate::commands::{Context, deployment};
use crate::fail::{Failure, Result};
use crate::output::units::count;
use crate::output::{Paint, clean};
use crate::project::place_here;
use crate::terminal;

/// Destroys a service, or the environment with all of them.
pub(crate) async fn destroy(context: &Context, args: DestroyArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let environment = client.environment(&place).await?;
    let doomed: Vec<&ServiceAnswer> = match &args.service {
        None => environment.services.iter().collect(),
        Some(name) => {
            let found = environment
                .services
                .iter()
                .find(|service| service.name == name.as_str());
            vec![found.ok_or_else(|| {
                Failure::from(
                    Error::user(Code::NotFound, format!("There is no service {name} in {place}."))
                        .hint("`nonna status` lists them."),
                )
            })?]
        }
    };
    let name = args
        .service
        .as_ref()
        .map_or(place.environment.as_str(), |name| name.as_str());
    tell(context, &environment, args.service.is_none(), &doomed);
    confirm(context, &args, name)?;
    let answer = match &args.service {
        Some(service) => client.destroy_service(&place, service.as_str(), name).await?,
        None => client.destroy_environment(&place, name).await?,
    };
    deployment::follow(context, &client, answer, args.follow).await
}

/// Says what will be lost.
fn tell(context: &Context, environment: &EnvironmentAnswer, whole: bool, doomed: &[&ServiceAnswer]) {
    let printer = &context.printer;
    let place = format!("{}/{}", environment.project, environment.environment);
    if whole {
        printer.note(&format!(
            "This destroys {} with its variables, its secrets and {}:",
            printer.paint_err(Paint::Strong, &place),
            count(doomed.len(), "service")
        ));
    } else {
        printer.note(&format!(
            "In {}, this destroys:",
            printer.paint_err(Paint::Strong, &place)
        ));
    }
    for service in doomed {
        printer.note(&format!(
            "  {} service {} ({}, {})",
            printer.paint_err(Paint::Bad, "-"),
            clean(&service.name),
            clean(service.release.as_deref().unwrap_or("never deployed")),
            count(service.running.len(), "replica"),
        ));
        for volume in &service.volumes {
            printer.note(&format!(
                "  {} volume {}/{} and everything in it",
                printer.paint_err(Paint::Bad, "-"),
                clean(&service.name),
                clean(volume)
            ));
        }
        for url in &service.urls {
            printer.note(&format!(
                "  {} route {}",
                printer.paint_err(Paint::Bad, "-"),
                clean(url)
            ));
        }
    }
    printer.note("It cannot be undone.");
}

fn confirm(context: &Context, args: &DestroyArgs, name: &str) -> Result {
    if let Some(typed) = &args.confirm {
        return if typed == name {
            Ok(())
        } else {
            Err(Failure::usage(format!(
                "--confirm names `{typed}`, but `{name}` would be destroyed. Nothing was done."
            )))
        };
    }
    if args.yes {
        return Ok(());
    }
    if !context.printer.can_ask() {
        return Err(Failure::usage_hint(
            "To destroy something needs a confirmation, and there is no terminal to ask on. Nothing was done.",
            format!("Add `--confirm {name}`."),
        ));
    }
    context.printer.ask(&format!(
        "Type {} to destroy it: ",
        context.printer.paint_err(Paint::Strong, name)
    ));
    let typed = terminal::ask()
        .map_err(|error| Error::bug("The terminal cannot be read.").said(error.to_string()))?;
    if typed == name {
        Ok(())
    } else {
        context.printer.note("That is not its name. Nothing was done.");
        Err(Failure::Told)
    }
}
