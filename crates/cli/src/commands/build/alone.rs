//! `nonna build`

use nonna_api::BuildEvent;
use nonna_client::Item;
use nonna_engine::{Code, Error};

use crate::args::{BuildArgs, DesiredArgs};
use crate::commands::Context;
use crate::commands::deployment::{Purpose, desired};
use crate::fail::Result;
use crate::output::units::bytes;
use crate::output::{Table, clean};

/// Builds the services of a folder on the server and deploys nothing.
pub(crate) async fn build(context: &Context, args: BuildArgs) -> Result {
    let client = context.client()?;
    let wanted = DesiredArgs {
        path: args.path,
        image: None,
        services: args.services,
        force: false,
        no_cache: args.no_cache,
        prune: false,
        pull: args.pull,
    };
    let (place, request) = desired(context, &client, &wanted, Purpose::Plan).await?;
    let printer = &context.printer;
    let mut table = Table::new(&["SERVICE", "IMAGE", "SIZE", "BUILT BY", ""]);
    let mut events = client.build(&place, &request);
    while let Some(item) = events.next().await? {
        let event = match item {
            Item::Value(event) => event,
            Item::Lost(error) => {
                printer.note(&format!(
                    "{} Connecting again: the build begins anew.",
                    clean(&error.message)
                ));
                continue;
            }
            Item::Back => continue,
        };
        if printer.is_json() {
            printer.json_line(&event);
        }
        match event {
            BuildEvent::Waiting {
                service,
                position,
                running,
            } => printer.note(&format!(
                "[build {}] waits for its turn: place {position} in the queue, {running} under way",
                clean(&service)
            )),
            BuildEvent::Output { service, line } => {
                printer.note(&format!("[build {}] {}", clean(&service), clean(&line)));
            }
            BuildEvent::Built {
                services,
                image,
                size,
                builder,
                unchanged,
                ..
            } => {
                table.row([
                    services.join(", "),
                    image,
                    bytes(size),
                    builder,
                    if unchanged { "unchanged" } else { "" }.to_owned(),
                ]);
            }
            BuildEvent::Finished => {
                if !printer.is_json() {
                    printer.table(&table);
                }
                return Ok(());
            }
        }
    }
    Err(Error::provider(
        Code::ServerUnavailable,
        "The server ended the answer before the build was over.",
    )
    .hint("It may have been stopped: try again.")
    .into())
}
