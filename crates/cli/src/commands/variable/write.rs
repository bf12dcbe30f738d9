//! `set` and `unset`

use std::collections::BTreeMap;

use nonna_api::VariablesRequest;

use super::{scope, value};
use crate::args::{ChangeArgs, ScopeArgs, SetArgs, SetSecretArgs, UnsetArgs};
use crate::commands::{Context, deployment};
use crate::fail::Result;
use crate::project::place_here;

/// Sets variables.
pub(crate) async fn set(context: &Context, args: SetArgs) -> Result {
    let set = value::pairs(&args.variables)?;
    change(context, &args.scope, args.change, set, Vec::new(), false).await
}

/// Sets secrets.
pub(crate) async fn set_secret(context: &Context, args: SetSecretArgs) -> Result {
    let set = value::secrets(&context.printer, &args)?;
    change(context, &args.scope, args.change, set, Vec::new(), true).await
}

/// Removes variables or secrets.
pub(crate) async fn unset(context: &Context, args: UnsetArgs, secret: bool) -> Result {
    for name in &args.names {
        value::check_name(name)?;
    }
    change(
        context,
        &args.scope,
        args.change,
        BTreeMap::new(),
        args.names,
        secret,
    )
    .await
}

async fn change(
    context: &Context,
    scope_args: &ScopeArgs,
    args: ChangeArgs,
    set: BTreeMap<String, String>,
    unset: Vec<String>,
    secret: bool,
) -> Result {
    let scope = scope(scope_args)?;
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let request = VariablesRequest {
        set,
        unset,
        secret,
        stage: args.stage,
    };
    let answer = client.change_variables(&place, &scope, &request).await?;
    let otherwise = if args.stage {
        "Stored; the next deploy uses it."
    } else {
        "Stored; no service that runs sees a difference."
    };
    deployment::take(context, &client, answer.deployment, args.follow, otherwise).await
}
