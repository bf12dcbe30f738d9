//! Failures below HTTP, told so that people can mend them.

use std::error::Error as StdError;
use std::io;

use nonna_engine::{Code, Error};

/// Everything that an error says, outermost first.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut parts: Vec<String> = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        next = source.source();
    }
    parts.join(": ")
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// Whether nobody listens at the address.
pub(crate) fn is_refused(error: &reqwest::Error) -> bool {
    error.is_connect() && io_kind(error) == Some(io::ErrorKind::ConnectionRefused)
}

/// A failure of the transport as the house's error.
pub(crate) fn failure(url: &str, error: reqwest::Error) -> Error {
    // The address is in the message already, and a query may hold what a user
    // typed.
    let error = error.without_url();
    let said = chain(&error);
    let found = if error.is_timeout() {
        Error::provider(Code::Timeout, format!("{url} did not answer in time."))
            .hint("Is the machine up, and is a firewall in between? `nonna doctor` looks.")
            .retry()
    } else if is_refused(&error) {
        Error::provider(
            Code::ServerUnavailable,
            format!("Nothing listens at {url}: the connection was refused."),
        )
        .hint("Start the server with `nonna server` on its machine; `nonna doctor` looks for what is wrong.")
        .retry()
    } else if said.contains("certificate") {
        // rustls tells of certificates by text only.
        Error::provider(
            Code::CertificateFailed,
            format!("The certificate of {url} is not trusted."),
        )
        .hint("Log in again with `--ca FILE`, the certificate authority that signed it.")
    } else if said.contains("dns error") || said.contains("failed to lookup") {
        Error::provider(
            Code::ServerUnavailable,
            format!("The host of {url} cannot be found."),
        )
        .hint("Check the address and the DNS of this machine.")
        .retry()
    } else if error.is_connect() {
        Error::provider(Code::ServerUnavailable, format!("{url} cannot be reached."))
            .hint("`nonna doctor` looks for what is wrong.")
            .retry()
    } else {
        Error::provider(
            Code::ServerUnavailable,
            format!("The connection to {url} broke off."),
        )
        .hint("The server may have been stopped; try again.")
        .retry()
    };
    found.said(said)
}
