//! `nonna release sbom`, `verify` and `push`

use crate::args::{ReleaseArgs, SbomArgs};
use crate::commands::Context;
use crate::fail::Result;
use crate::project::place_here;

/// Prints what a release's image is made of.
pub(crate) async fn sbom(context: &Context, args: SbomArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.of.service.as_ref()).await?;
    let release = args.of.release.map(|release| release.to_string());
    let document = client
        .sbom(&place, &service, release.as_deref(), Some(args.format.as_str()))
        .await?;
    context.printer.json(&document);
    Ok(())
}

/// Checks the signature of a release's image.
pub(crate) async fn verify(context: &Context, args: ReleaseArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let release = args.release.map(|release| release.to_string());
    let verified = client.verify(&place, &service, release.as_deref()).await?;
    if context.printer.is_json() {
        context.printer.json(&verified);
    } else {
        context.printer.line(&format!(
            "{} of {service} is signed: {} by {}",
            verified.release, verified.reference, verified.key
        ));
    }
    Ok(())
}

/// Pushes and signs a release's image.
pub(crate) async fn push(context: &Context, args: ReleaseArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let release = args.release.map(|release| release.to_string());
    let pushed = client.push_release(&place, &service, release.as_deref()).await?;
    if context.printer.is_json() {
        context.printer.json(&pushed);
    } else {
        context
            .printer
            .line(&format!("{} is at {}", pushed.release, pushed.reference));
    }
    Ok(())
}
