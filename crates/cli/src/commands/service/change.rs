//! `nonna scale`, `rollback`, `pause` and `resume`

use crate::args::{PauseArgs, RollbackArgs, ScaleArgs};
use crate::commands::{Context, deployment};
use crate::fail::Result;
use crate::project::place_here;

/// Changes how many replicas run.
pub(crate) async fn scale(context: &Context, args: ScaleArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let answer = client
        .scale(&place, args.to.service.as_str(), args.to.replicas)
        .await?;
    deployment::follow(context, &client, answer, args.follow).await
}

/// Makes an earlier release current again.
pub(crate) async fn rollback(context: &Context, args: RollbackArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let release = args.release.map(|release| release.to_string());
    let answer = client.rollback(&place, &service, release.as_deref()).await?;
    deployment::follow(context, &client, answer, args.follow).await
}

/// Stops a service's replicas and keeps the rest.
pub(crate) async fn pause(context: &Context, args: PauseArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let answer = client.pause(&place, &service).await?;
    deployment::follow(context, &client, answer, args.follow).await
}

/// Starts the replicas of a paused service.
pub(crate) async fn resume(context: &Context, args: PauseArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let answer = client.resume(&place, &service).await?;
    deployment::follow(context, &client, answer, args.follow).await
}
