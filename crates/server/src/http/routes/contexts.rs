//! Build contexts: announced by their files, completed by the contents that
//! are missing.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use futures_util::StreamExt;
use http::StatusCode;
use nonna_api::{ContextAnswer, paths};
use nonna_engine::{Code, Error};
use nonna_model::context::{ContextManifest, digest_hex};

use super::super::App;
use super::super::failure::Answer;
use super::super::input::{Last, parse_json, read_body};
use super::super::registry::{Registry, post, put};
use crate::auth::Permission;

/// The largest list of files: 100,000 of them with long paths.
const MANIFEST_LIMIT: usize = 32 * 1024 * 1024;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            post(paths::CONTEXTS, Permission::Deploy, "Announces a build context.")
                .takes_kind("application/json")
                .answers::<ContextAnswer>(),
            announce,
        )
        .add(
            put(
                paths::CONTEXT_BLOBS,
                Permission::Deploy,
                "Sends missing contents of a build context.",
            )
            .takes_kind("application/octet-stream"),
            receive,
        )
}

async fn announce(State(app): State<Arc<App>>, body: Body) -> Answer<Json<ContextAnswer>> {
    let bytes = read_body(body, MANIFEST_LIMIT).await?;
    let manifest: ContextManifest = parse_json(&bytes)?;
    drop(bytes);
    Ok(Json(app.contexts.announce(manifest).await?))
}

async fn receive(State(app): State<Arc<App>>, Last(digest): Last, request: Request) -> Answer<StatusCode> {
    if digest_hex(&digest).is_none() {
        return Err(Error::user(
            Code::InvalidInput,
            "The path names no digest: expected `sha256:` and 64 hexadecimal digits.",
        )
        .into());
    }
    let stream = request
        .into_body()
        .into_data_stream()
        .map(|chunk| chunk.map_err(std::io::Error::other));
    app.contexts.receive(&digest, stream.boxed()).await?;
    Ok(StatusCode::NO_CONTENT)
}
