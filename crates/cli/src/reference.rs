//! The reference of all commands in `docs/cli.md`, made of what clap knows:
//! `NONNA_UPDATE_DOCS=1 cargo test -p nonna-cli reference` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Cli;

const HEAD: &str = "\
# Commands

Every command and option of `nonna`. This page is made of the program itself: change the program, then run
`NONNA_UPDATE_DOCS=1 cargo test -p nonna-cli reference`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 called wrongly;
`nonna run` and `nonna exec` pass on the code of the command they ran.

Environment variables: `NONNA_SERVER`, `NONNA_PROJECT` and `NONNA_ENVIRONMENT` stand for the options of that name,
`NONNA_TOKEN` for the token that `nonna login` keeps, `NONNA_CLIENT_CONFIG` for the file it is kept in
(`~/.config/nonna/config.toml`), `NO_COLOR` for `--no-color`.
";

fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page = HEAD.to_owned();
    page.push_str("\n## Options of every command\n\n");
    options(&mut page, &command, true);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        section(&mut page, sub, "nonna", 2);
    }
    page
}

fn section(page: &mut String, command: &Command, before: &str, depth: usize) {
    let name = format!("{before} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n{} {name}\n\n{about}.\n", "#".repeat(depth));
    let subs: Vec<&Command> = command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .collect();
    let words = usage(command, &name);
    let _ = write!(page, "\n```\n{words}\n```\n");
    let has_own = command
        .get_arguments()
        .any(|arg| !arg.is_global_set() && !arg.is_hide_set() && !is_help(arg));
    if has_own {
        page.push('\n');
        options(page, command, false);
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(page, "\n```\n{after}\n```\n");
    }
    for sub in subs {
        section(page, sub, &name, depth + 1);
    }
}

fn usage(command: &Command, name: &str) -> String {
    let text = command.clone().render_usage().to_string();
    let rest = text.trim_start_matches("Usage: ").trim();
    // Whatever clap calls the program here, people call it by its whole name.
    let rest = rest.strip_prefix(name).unwrap_or(rest);
    format!("{name}{rest}")
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn options(page: &mut String, command: &Command, global: bool) {
    page.push_str("| option | |\n|---|---|\n");
    for arg in command.get_arguments() {
        if arg.is_global_set() != global || arg.is_hide_set() || is_help(arg) {
            continue;
        }
        let value = arg
            .get_value_names()
            .filter(|_| arg.get_action().takes_values())
            .and_then(|names| names.first())
            .map(ToString::to_string);
        let mut names = Vec::new();
        if let Some(short) = arg.get_short() {
            names.push(format!("-{short}"));
        }
        if let Some(long) = arg.get_long() {
            names.push(format!("--{long}"));
        }
        let shown = match (names.is_empty(), value) {
            (true, value) => value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()),
            (false, Some(value)) => format!("{} {value}", names.join(", ")),
            (false, None) => names.join(", "),
        };
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            let _ = write!(help, " [default: {}]", defaults.join(", "));
        }
        let _ = writeln!(page, "| `{}` | {} |", escape(&shown), escape(&help));
    }
}

/// A bar would end the table's cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_reference_of_commands_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = page();
    if std::env::var_os("NONNA_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == page,
        "docs/cli.md is not what the program says: run `NONNA_UPDATE_DOCS=1 cargo test -p nonna-cli reference`"
    );
}

#[test]
fn the_arguments_are_sound() {
    Cli::command().debug_assert();
}
