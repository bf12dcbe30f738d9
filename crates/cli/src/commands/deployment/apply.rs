//! `nonna deploy`

use nonna_api::DeployRequest;

use super::desired::{Purpose, desired};
use super::follow;
use crate::args::DeployArgs;
use crate::commands::Context;
use crate::fail::Result;

/// Deploys the services of a folder.
pub(crate) async fn deploy(context: &Context, args: DeployArgs) -> Result {
    let client = context.client()?;
    let (place, desired) = desired(context, &client, &args.desired, Purpose::Deploy).await?;
    let request = DeployRequest {
        desired,
        plan: args.plan,
        replace: args.replace,
    };
    let answer = client.deploy(&place, &request).await?;
    follow(context, &client, answer, args.follow).await
}
