//! The status page: server-rendered, without a line of script.

mod session;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::http::App;

pub(crate) use session::Sessions;

/// The pages' paths.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(status::show))
        .route("/session", post(session::begin))
        .route("/session/end", post(session::end))
}
