//! `nonna doctor`

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nonna_api::{DoctorAnswer, Finding};
use nonna_client::Client;
use nonna_engine::{Code, Error};

use super::version::VERSION;
use crate::commands::Context;
use crate::config::{self, Config};
use crate::fail::{Failure, Result};
use crate::output::{Paint, clean};

/// How far clocks may be apart before certificates and tokens suffer, in
/// milliseconds.
const SKEW: i64 = 30_000;

/// Finds what is wrong, here and on the server's machine.
pub(crate) async fn doctor(context: &Context) -> Result {
    let mut findings = vec![config_file(), config_folder()];
    match context.client() {
        Ok(client) => server(&client, &mut findings).await,
        Err(Failure::Error(error)) => findings.push(failed("server", &error)),
        Err(failure) => return Err(failure),
    }
    let bad = findings.iter().any(|finding| finding.state == "failed");
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&DoctorAnswer { findings });
    } else {
        for finding in &findings {
            show(context, finding);
        }
    }
    if bad { Err(Failure::Told) } else { Ok(()) }
}

fn show(context: &Context, finding: &Finding) {
    let printer = &context.printer;
    let (mark, paint) = match finding.state.as_str() {
        "ok" => ("ok", Paint::Good),
        "warning" => ("warning", Paint::Notice),
        _ => ("failed", Paint::Bad),
    };
    printer.line(&format!(
        "{} {}: {}",
        printer.paint(paint, &format!("{mark:7}")),
        clean(&finding.check),
        clean(&finding.message)
    ));
    for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
        printer.line(&format!("        {}", printer.paint(Paint::Dim, line)));
    }
}

fn finding(check: &str, state: &str, message: impl Into<String>, hint: Option<&str>) -> Finding {
    Finding {
        check: check.to_owned(),
        state: state.to_owned(),
        message: message.into(),
        hint: hint.map(str::to_owned),
    }
}

fn failed(check: &str, error: &Error) -> Finding {
    finding(check, "failed", error.message.clone(), error.hint.as_deref())
}

fn config_file() -> Finding {
    const CHECK: &str = "configuration";
    if let Err(error) = Config::load() {
        return failed(CHECK, &error);
    }
    match (Config::is_open_to_others(), config::path()) {
        (Some(true), Ok(path)) => finding(
            CHECK,
            "warning",
            format!("{} holds tokens, and other users can read it.", path.display()),
            Some(&format!("chmod 600 {}", path.display())),
        ),
        (Some(false), Ok(path)) => finding(CHECK, "ok", format!("{} is private.", path.display()), None),
        (_, Ok(path)) => finding(CHECK, "ok", format!("There is no {} yet.", path.display()), None),
        (_, Err(error)) => failed(CHECK, &error),
    }
}

/// Whether a login could be kept.
fn config_folder() -> Finding {
    const CHECK: &str = "configuration's folder";
    let path = match config::path() {
        Ok(path) => path,
        Err(error) => return failed(CHECK, &error),
    };
    // The nearest folder that is there decides.
    let Some(folder) = path.ancestors().skip(1).find(|folder| folder.is_dir()) else {
        return finding(
            CHECK,
            "failed",
            format!("{} has no folder.", path.display()),
            None,
        );
    };
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        Ok(()) => finding(CHECK, "ok", format!("{} can be written.", folder.display()), None),
        Err(_) => {
            let mode = fs::metadata(folder)
                .map(|meta| meta.permissions().mode() & 0o777)
                .unwrap_or_default();
            finding(
                CHECK,
                "failed",
                format!("{} cannot be written (mode {mode:o}).", folder.display()),
                Some("Make it writable, or name another file in NONNA_CLIENT_CONFIG."),
            )
        }
    }
}

async fn server(client: &Client, findings: &mut Vec<Finding>) {
    match client.version().await {
        Ok(answer) => {
            findings.push(finding(
                "server",
                "ok",
                format!("{} answers, version {}.", client.url(), answer.version),
                None,
            ));
            if answer.version != VERSION {
                findings.push(finding(
                    "versions",
                    "warning",
                    format!("This program is {VERSION}, the server {}.", answer.version),
                    Some("Install the same version on both."),
                ));
            }
        }
        Err(error) => {
            findings.push(failed("server", &error));
            return;
        }
    }
    match client.clock_skew().await {
        Ok(Some(skew)) if skew.abs() > SKEW => findings.push(finding(
            "clocks",
            "warning",
            format!(
                "The clocks of this machine and the server are {} s apart.",
                skew.abs() / 1000
            ),
            Some("Set them by NTP: `timedatectl set-ntp true`."),
        )),
        Ok(Some(_)) => findings.push(finding(
            "clocks",
            "ok",
            "This machine's and the server's agree.",
            None,
        )),
        Ok(None) | Err(_) => {}
    }
    match client.projects().await {
        Ok(projects) => findings.push(finding(
            "token",
            "ok",
            format!(
                "The server takes it; {} there.",
                crate::output::units::count(projects.len(), "project")
            ),
            None,
        )),
        Err(error) => {
            findings.push(failed("token", &error));
            if matches!(error.code, Code::Unauthenticated | Code::Forbidden) {
                return;
            }
        }
    }
    match client.doctor().await {
        Ok(answer) => findings.extend(answer.findings),
        Err(error) => findings.push(failed("server's machine", &error)),
    }
}
