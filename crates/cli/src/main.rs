//! The `nonna` command.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod config;
mod fail;
mod output;
mod project;
#[cfg(test)]
mod reference;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::commands::Context;
use crate::output::Printer;

fn main() -> ExitCode {
    // Git runs this very program as the hook of what is pushed to the server.
    if let Some(code) = nonna_server::run_git_hook() {
        return ExitCode::from(code);
    }
    if let Some(code) = nonna_server::run_output_holder() {
        return ExitCode::from(code);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; all else is bad usage.
            let code = if error.use_stderr() { fail::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let printer = Printer::new(&cli.global);
    let context = Context::new(cli.global, printer);
    match commands::run(&context, cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.printer.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
