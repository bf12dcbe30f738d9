//! `nonna login`

use std::io::Read as _;

use nonna_client::{Client, Options};
use nonna_engine::{Code, Error};
use secrecy::SecretString;

use crate::args::LoginArgs;
use crate::commands::{Context, read_authorities};
use crate::config::{Config, Server};
use crate::fail::{Failure, Result};
use crate::output::clean;

/// The longest code or token that is read.
const LONGEST: u64 = 4096;

/// Logs in to a server and remembers it.
pub(crate) async fn login(context: &Context, args: LoginArgs) -> Result {
    let mut options = Options::new(&args.url);
    let ca = match &args.ca {
        Some(file) => {
            options = options.extra_authorities(read_authorities(file)?);
            let whole = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            Some(whole)
        }
        None => None,
    };
    let mut config = Config::load()?;
    let client = Client::new(options.clone())?;
    let token = if args.token {
        let token = match std::env::var("NONNA_TOKEN") {
            Ok(token) if !token.is_empty() => token,
            _ => read_line()?,
        };
        let token = SecretString::from(token);
        // Only a token that is good is kept.
        Client::new(options.token(token.clone()))?.projects().await?;
        token
    } else {
        let code = match args.code.as_deref() {
            Some("-") | None => read_line()?,
            Some(code) => code.to_owned(),
        };
        client.login(code.trim(), &machine()).await?
    };
    let url = client.url().to_owned();
    config.servers.insert(
        args.name.to_string(),
        Server {
            url: url.clone(),
            token: Some(token),
            ca,
        },
    );
    config.current = Some(args.name.to_string());
    let file = config.save()?;
    if context.printer.is_json() {
        context
            .printer
            .json(&serde_json::json!({ "server": url, "name": args.name, "config": file }));
    } else {
        context.printer.note(&format!(
            "Logged in to {}. The token is in {}.",
            clean(&url),
            clean(&file.display().to_string())
        ));
    }
    Ok(())
}

fn read_line() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::from(Error::user(
                Code::InvalidInput,
                format!("Standard input cannot be read: {error}."),
            ))
        })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::usage("Standard input is empty."));
    }
    Ok(text.to_owned())
}

/// What the token is called in the server's list: this machine's name.
fn machine() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "nonna".to_owned() } else { name }
}
