//! `nonna open` and `nonna domain`

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use nonna_api::{EnvironmentAnswer, ServiceAnswer};
use nonna_engine::{Code, Error};

use crate::args::OpenArgs;
use crate::commands::{Context, only_service};
use crate::fail::Result;
use crate::output::{Table, clean};
use crate::project::place_here;

/// What opens a URL, in the order of trying.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

/// Opens a service in the browser, or prints where it is.
pub(crate) async fn open(context: &Context, args: OpenArgs) -> Result {
    let place = place_here(&context.global)?;
    let environment = context.client()?.environment(&place).await?;
    let service = find(&environment, args.service.map(String::from))?;
    let Some(url) = service.urls.first() else {
        return Err(Error::user(
            Code::NotFound,
            format!(
                "The service {} is reached nowhere: it has no port, or was never deployed.",
                service.name
            ),
        )
        .into());
    };
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "service": service.name, "url": url }));
        return Ok(());
    }
    context.printer.line(&clean(url));
    // Without a terminal nobody looks at a browser.
    if context.printer.out_is_terminal() && url.starts_with("http") && !launch(url) {
        context
            .printer
            .note("No browser can be started here; open it yourself.");
    }
    Ok(())
}

/// Shows where the services are reached.
pub(crate) async fn domain(context: &Context) -> Result {
    let place = place_here(&context.global)?;
    let environment = context.client()?.environment(&place).await?;
    if context.printer.is_json() {
        let urls: BTreeMap<&str, &[String]> = environment
            .services
            .iter()
            .map(|service| (service.name.as_str(), service.urls.as_slice()))
            .collect();
        context.printer.json(&urls);
        return Ok(());
    }
    let mut table = Table::new(&["SERVICE", "URL"]);
    for service in &environment.services {
        for url in &service.urls {
            table.row([&service.name, url]);
        }
    }
    context.printer.table(&table);
    context.printer.note(
        "More of them: `domains = [\"example.org\"]` under the service in nonna.toml, then `nonna deploy`.",
    );
    Ok(())
}

fn find(environment: &EnvironmentAnswer, named: Option<String>) -> Result<&ServiceAnswer> {
    let name = match named {
        Some(name) => name,
        // Of several, the one that can be opened.
        None => match environment
            .services
            .iter()
            .filter(|s| !s.urls.is_empty())
            .collect::<Vec<_>>()[..]
        {
            [only] => only.name.clone(),
            _ => only_service(environment)?,
        },
    };
    environment
        .services
        .iter()
        .find(|service| service.name == name)
        .ok_or_else(|| {
            Error::user(
                Code::NotFound,
                format!(
                    "There is no service {name} in {}/{}.",
                    environment.project, environment.environment
                ),
            )
            .hint("`nonna status` lists them.")
            .into()
        })
}

fn launch(url: &str) -> bool {
    OPENERS.iter().any(|opener| {
        Command::new(opener)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    })
}
