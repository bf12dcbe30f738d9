//! `nonna server`: runs it, installs it, lets somebody log in to it.

use std::fs;
use std::path::{Path, PathBuf};

use nonna_engine::{Code, Error};
use nonna_server::{Config, Sources, systemd};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{InstallArgs, LoginCodeArgs, ServerArgs, ServerCommand, ServerFlags};
use crate::commands::{Context, block_on};
use crate::fail::Result;

/// Does what `nonna server` was asked.
pub(crate) fn server(context: &Context, args: ServerArgs) -> Result {
    match args.command {
        None => {
            let config = load(args.config, args.flags)?;
            nonna_server::init_logging(&config)?;
            block_on(run(context, config))
        }
        Some(ServerCommand::Install(args)) => install(context, args),
        Some(ServerCommand::LoginCode(args)) => block_on(login_code(context, args)),
    }
}

fn environment() -> Vec<(String, String)> {
    // A variable that is no text is none of Nonna's.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn load(file: Option<PathBuf>, flags: ServerFlags) -> Result<Config> {
    Ok(Config::load(&Sources {
        file,
        environment: environment(),
        flags: flags.0,
    })?)
}

async fn run(context: &Context, config: Config) -> Result {
    let cannot = |error: std::io::Error| Error::bug("Signals cannot be listened to.").said(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let asked_to_end = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let say = |text: &str| context.printer.line(text);
    Ok(nonna_server::run(config, &environment(), say, asked_to_end).await?)
}

async fn login_code(context: &Context, args: LoginCodeArgs) -> Result {
    let config = load(args.config, args.flags)?;
    let code = nonna_server::request_login_code(&config.data).await?;
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "url": format!("http://{}", config.api), "code": code }));
    } else {
        context
            .printer
            .line(&format!("nonna login http://{} --code {code}", config.api));
    }
    Ok(())
}

fn install(context: &Context, args: InstallArgs) -> Result {
    let file = args.config.clone();
    let config = load(args.config, args.flags)?;
    let binary = std::env::current_exe()
        .map_err(|error| Error::bug("This program does not know where it is.").said(error.to_string()))?;
    let service = systemd::service_unit(&binary, file.as_deref(), &config);
    let socket = systemd::socket_unit(&config);
    if args.unit.as_os_str() == "-" {
        context.printer.raw(&service);
        context.printer.raw("\n");
        context.printer.raw(&socket);
        return Ok(());
    }
    let socket_file = args.unit.with_extension("socket");
    let units = [(args.unit.as_path(), &service), (socket_file.as_path(), &socket)];
    if !args.force
        && let Some((there, _)) = units.iter().find(|(path, text)| differs(path, text))
    {
        return Err(Error::user(
            Code::Conflict,
            format!("{} is there already and differs.", there.display()),
        )
        .hint("Look at it with `nonna server install --unit -`, or write over it with --force.")
        .into());
    }
    for (path, text) in units {
        fs::write(path, text).map_err(|error| {
            Error::user(
                Code::InvalidInput,
                format!("{} cannot be written: {error}.", path.display()),
            )
            .hint("Run this as root, or name another place with --unit.")
        })?;
        context.printer.note(&format!("wrote {}", path.display()));
    }
    fs::create_dir_all(&config.data).map_err(|error| {
        Error::user(
            Code::InvalidInput,
            format!("{} cannot be made: {error}.", config.data.display()),
        )
    })?;
    context
        .printer
        .line("Start it with: systemctl daemon-reload && systemctl enable --now nonna.socket nonna.service");
    Ok(())
}

fn differs(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).map_or_else(|_| path.exists(), |there| there != text)
}
