//! Variables and secrets.

mod read;
mod value;
mod write;

use nonna_api::VariableScope;

use crate::args::{ScopeArg, ScopeArgs};
use crate::fail::{Failure, Result};

pub(crate) use read::{get, get_secret, list};
pub(crate) use value::{read_stdin, read_value};
pub(crate) use write::{set, set_secret, unset};

/// The scope that the flags name.
fn scope(args: &ScopeArgs) -> Result<VariableScope> {
    match (args.scope, &args.service) {
        (Some(ScopeArg::Service), None) => Err(Failure::usage_hint(
            "Of which service?",
            "Name it with `--service NAME`.",
        )),
        (Some(scope), Some(_)) if scope != ScopeArg::Service => Err(Failure::usage(format!(
            "--scope {} and --service contradict each other.",
            scope.as_str()
        ))),
        (scope, service) => Ok(VariableScope {
            scope: if service.is_some() {
                Some(ScopeArg::Service.as_str().to_owned())
            } else {
                scope.map(|scope| scope.as_str().to_owned())
            },
            service: service.as_ref().map(ToString::to_string),
        }),
    }
}
