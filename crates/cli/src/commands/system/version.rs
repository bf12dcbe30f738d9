//! `nonna version`

use nonna_api::VersionAnswer;
use nonna_engine::Error;
use serde::Serialize;

use crate::commands::Context;
use crate::fail::Result;
use crate::output::clean;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct Versions {
    version: &'static str,
    /// Absent where no server is known.
    server: Option<VersionAnswer>,
    /// Why the server did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// Shows the versions of this program and of the server. That the server does
/// not answer is no failure here.
pub(crate) async fn version(context: &Context) -> Result {
    let mut versions = Versions {
        version: VERSION,
        server: None,
        error: None,
    };
    if let Ok(client) = context.client() {
        match client.version().await {
            Ok(answer) => versions.server = Some(answer),
            Err(error) => versions.error = Some(error),
        }
    }
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&versions);
        return Ok(());
    }
    printer.line(&format!("nonna {VERSION}"));
    if let Some(server) = &versions.server {
        printer.line(&format!(
            "server {} ({})",
            clean(&server.version),
            clean(
                server
                    .runtime
                    .as_deref()
                    .unwrap_or("its container engine does not answer")
            )
        ));
    } else if let Some(error) = &versions.error {
        printer.note(&format!("server: {}", clean(&error.message)));
    }
    Ok(())
}
