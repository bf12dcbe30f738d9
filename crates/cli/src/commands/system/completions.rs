//! `nonna completions`

use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs};
use crate::commands::Context;

/// Prints completions for a shell.
pub(crate) fn completions(context: &Context, args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nonna", &mut script);
    context.printer.raw(&String::from_utf8_lossy(&script));
}
