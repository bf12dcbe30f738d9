//! What the commands do: one file a verb, in the folder of its noun.

mod build;
mod deployment;
mod folder;
mod git;
mod logs;
mod registry;
mod service;
mod system;
mod variable;

use std::future::Future;

use nonna_api::EnvironmentAnswer;
use nonna_client::{Client, Options, Place};
use nonna_engine::{Code, Error};
use nonna_model::Name;
use secrecy::SecretString;

use crate::args::{
    BuildsCommand, CacheCommand, Command, EnvCommand, GlobalArgs, LogsArgs, LogsCommand, RegistryCommand,
    ReleaseCommand, SecretCommand,
};
use crate::config::Config;
use crate::fail::{Failure, Result};
use crate::output::Printer;

pub(crate) use variable::{read_stdin, read_value};

/// What every command is given.
pub(crate) struct Context {
    /// The flags that every command understands.
    pub(crate) global: GlobalArgs,
    /// Where all output goes.
    pub(crate) printer: Printer,
}

/// Does what a command says.
pub(crate) fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::Server(args) => system::server(context, args),
        Command::Init(args) => folder::init(context, &args),
        Command::Build(args) if args.explain => build::explain(context, &args),
        Command::Restore(args) => system::restore(context, &args),
        Command::Logs(LogsArgs {
            command: Some(LogsCommand::Proxy(args)),
            ..
        }) => logs::proxy(context, args),
        Command::Completions(args) => {
            system::completions(context, &args);
            Ok(())
        }
        other => block_on(client_command(context, other)),
    }
}

async fn client_command(context: &Context, command: Command) -> Result {
    match command {
        Command::Login(args) => system::login(context, args).await,
        Command::Plan(args) => deployment::plan(context, args).await,
        Command::Deploy(args) => deployment::deploy(context, args).await,
        Command::Git(command) => git::git(context, command).await,
        Command::Status => service::status(context).await,
        Command::Logs(LogsArgs {
            command: Some(LogsCommand::Export(args)),
            ..
        }) => service::logs_export(context, args).await,
        Command::Logs(args) => service::logs(context, args).await,
        Command::Open(args) => service::open(context, args).await,
        Command::Env(EnvCommand::Set(args)) => variable::set(context, args).await,
        Command::Env(EnvCommand::Get { name, scope }) => variable::get(context, &name, &scope).await,
        Command::Env(EnvCommand::List { scope }) => variable::list(context, &scope, false).await,
        Command::Env(EnvCommand::Unset(args)) => variable::unset(context, args, false).await,
        Command::Secret(SecretCommand::Set(args)) => variable::set_secret(context, args).await,
        Command::Secret(SecretCommand::Get { name, scope }) => {
            variable::get_secret(context, &name, &scope).await
        }
        Command::Secret(SecretCommand::List { scope }) => variable::list(context, &scope, true).await,
        Command::Secret(SecretCommand::Unset(args)) => variable::unset(context, args, true).await,
        Command::Domain => service::domain(context).await,
        Command::Scale(args) => service::scale(context, args).await,
        Command::Exec(args) => service::exec(context, args).await,
        Command::Run(args) => service::run(context, args).await,
        Command::Releases(args) => service::releases(context, args).await,
        Command::Release(ReleaseCommand::Sbom(args)) => registry::sbom(context, args).await,
        Command::Release(ReleaseCommand::Verify(args)) => registry::verify(context, args).await,
        Command::Release(ReleaseCommand::Push(args)) => registry::push(context, args).await,
        Command::Registry(RegistryCommand::Login(args)) => registry::login(context, args).await,
        Command::Registry(RegistryCommand::List) => registry::list(context).await,
        Command::Registry(RegistryCommand::Logout { registry }) => registry::logout(context, &registry).await,
        Command::Registry(RegistryCommand::Key) => registry::key(context).await,
        Command::Rollback(args) => service::rollback(context, args).await,
        Command::Build(args) => build::build(context, args).await,
        Command::Builds(args) => match args.command {
            None => build::builds(context).await,
            Some(BuildsCommand::Logs(args)) => build::log(context, args).await,
            Some(BuildsCommand::Plan(args)) => build::plan(context, args).await,
        },
        Command::Cache(args) => match args.command {
            None => build::cache(context).await,
            Some(CacheCommand::Clear(args)) => build::clear(context, args).await,
        },
        Command::Gc(args) => build::gc(context, args).await,
        Command::Pause(args) => service::pause(context, args).await,
        Command::Resume(args) => service::resume(context, args).await,
        Command::Destroy(args) => service::destroy(context, args).await,
        Command::Export(args) => service::export(context, args).await,
        Command::Backup(args) => system::backup(context, args).await,
        Command::Doctor => system::doctor(context).await,
        Command::Version => system::version(context).await,
        // These need no server and were done before.
        Command::Server(_) | Command::Init(_) | Command::Restore(_) | Command::Completions(_) => Ok(()),
    }
}

/// Runs a client's work: one thread is enough for it.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::bug("No runtime can be started.").said(error.to_string()))?;
    let outcome = runtime.block_on(work);
    // A thread that waits for the terminal must not hold the end up.
    runtime.shutdown_background();
    outcome
}

impl Context {
    /// A context of flags and a printer.
    pub(crate) fn new(global: GlobalArgs, printer: Printer) -> Self {
        Self { global, printer }
    }

    /// The client of the server that the flags, else the environment, else
    /// the configuration name.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(self.server_options()?)?)
    }

    /// The PEM file of certificate authorities that is kept for the server.
    pub(crate) fn server_authorities(&self) -> Result<Option<std::path::PathBuf>> {
        let address = self.server_options()?.address().to_owned();
        let config = Config::load()?;
        Ok(config
            .servers
            .into_values()
            .find(|server| server.url == address)
            .and_then(|server| server.ca))
    }

    /// How the server is reached.
    pub(crate) fn server_options(&self) -> Result<Options> {
        let token = std::env::var("NONNA_TOKEN")
            .ok()
            .filter(|token| !token.is_empty())
            .map(SecretString::from);
        let wanted = self.global.server.as_deref();
        if let (Some(url), Some(token)) = (wanted.filter(|w| w.contains("://")), &token) {
            return Ok(Options::new(url).token(token.clone()));
        }
        let mut config = Config::load()?;
        let name = match wanted {
            Some(url) if url.contains("://") => {
                let same = |known: &str| known.trim_end_matches('/') == url.trim_end_matches('/');
                match config.servers.iter().find(|(_, server)| same(&server.url)) {
                    Some((name, _)) => name.clone(),
                    None => return Ok(Options::new(url)),
                }
            }
            Some(name) => name.to_owned(),
            None => match &config.current {
                Some(name) => name.clone(),
                None => return Err(no_server().into()),
            },
        };
        let Some(server) = config.servers.remove(&name) else {
            let known: Vec<&str> = config.servers.keys().map(String::as_str).collect();
            return Err(Failure::usage_hint(
                format!("No server is called `{name}` here."),
                if known.is_empty() {
                    "Log in to one: `nonna login URL --code CODE`.".to_owned()
                } else {
                    format!("There is: {}.", known.join(", "))
                },
            ));
        };
        let mut options = Options::new(server.url);
        if let Some(token) = token.or(server.token) {
            options = options.token(token);
        }
        if let Some(file) = server.ca {
            options = options.extra_authorities(read_authorities(&file)?);
        }
        Ok(options)
    }

    /// The service that is meant: the one that was named, else the only one.
    pub(crate) async fn service(
        &self,
        client: &Client,
        place: &Place,
        named: Option<&Name>,
    ) -> Result<String> {
        if let Some(name) = named {
            return Ok(name.to_string());
        }
        let environment = client.environment(place).await?;
        only_service(&environment)
    }
}

/// The only service of an environment.
pub(crate) fn only_service(environment: &EnvironmentAnswer) -> Result<String> {
    match environment.services.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(Error::user(
            Code::NotFound,
            format!(
                "There is no service in {}/{}.",
                environment.project, environment.environment
            ),
        )
        .hint("Deploy one: `nonna deploy`.")
        .into()),
        several => {
            let names: Vec<&str> = several.iter().map(|service| service.name.as_str()).collect();
            Err(Failure::usage_hint(
                "There are several services: say which one is meant.",
                format!("One of {}.", names.join(", ")),
            ))
        }
    }
}

/// Reads a PEM file of certificate authorities.
pub(crate) fn read_authorities(file: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::user(
            Code::InvalidInput,
            format!(
                "The file of certificate authorities {} cannot be read: {error}.",
                file.display()
            ),
        )
        .into()
    })
}

/// No server was ever named.
pub(crate) fn no_server() -> Error {
    Error::user(Code::NotFound, "No server is known here yet.").hint(
        "Start one with `nonna server` and run the `nonna login …` line that it prints;\n\
         or name one with --server URL and a token in NONNA_TOKEN.",
    )
}
