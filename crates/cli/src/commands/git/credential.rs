//! `nonna git credential`: git's credential helper (gitcredentials(7)).

use std::collections::BTreeMap;
use std::io::Read as _;

use secrecy::ExposeSecret as _;

use crate::commands::Context;
use crate::fail::{Failure, Result};

/// The most that git says.
const MOST: u64 = 64 * 1024;
/// Who is named beside the token: anybody will do.
const USER: &str = "nonna";

/// Answers git with the token, if git asks for the server that it is of.
pub(crate) fn credential(context: &Context, operation: &str) -> Result {
    if operation != "get" {
        // The token is kept by `nonna login`: git has nothing to add.
        return Ok(());
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MOST)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("What git says cannot be read: {error}.")))?;
    let options = context.server_options()?;
    if !is_for(&text, options.address()) {
        return Ok(());
    }
    if let Some(token) = options.secret() {
        context
            .printer
            .raw(&format!("username={USER}\npassword={}\n", token.expose_secret()));
    }
    Ok(())
}

/// Whether git asks for this server: another one must not see the token.
fn is_for(asked: &str, server: &str) -> bool {
    let asked: BTreeMap<&str, &str> = asked.lines().filter_map(|line| line.split_once('=')).collect();
    let Some((protocol, rest)) = server.split_once("://") else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let has = |name: &str, value: &str| {
        asked
            .get(name)
            .is_some_and(|given| given.eq_ignore_ascii_case(value))
    };
    !host.is_empty() && has("protocol", protocol) && has("host", host)
}

#[cfg(test)]
mod tests {
    use super::is_for;

    #[test]
    fn the_token_is_for_its_own_server_only() {
        let server = "https://nonna.example.org:8400/";
        assert!(is_for("protocol=https\nhost=nonna.example.org:8400\n", server));
        for other in [
            "protocol=http\nhost=nonna.example.org:8400\n",
            "protocol=https\nhost=nonna.example.org\n",
            "protocol=https\nhost=evil.example.org:8400\n",
            "protocol=https\n",
            "",
        ] {
            assert!(!is_for(other, server), "{other}");
        }
    }
}
