//! Loki's query API over the logs of all that runs here.

use std::sync::Arc;

use async_trait::async_trait;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http::request::Parts;
use http::{HeaderMap, header};
use nonna_engine::{Code, Error};
use nonna_logs::Scope;
use nonna_logs::loki::{self, Authorize};

use super::App;
use super::failure::Refusal;
use super::registry::bearer;
use crate::auth::{self, Permission};

/// The API's callers: with a token as `Bearer`, or as the password of any user,
/// which is what Grafana and logcli ask for.
struct Callers(Arc<App>);

/// The password of `Authorization: Basic …`.
fn password(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, both) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = BASE64.decode(both.trim().as_bytes()).ok()?;
    let (_, password) = std::str::from_utf8(&both).ok()?.split_once(':')?;
    Some(password.to_owned())
}

impl Callers {
    async fn check(&self, headers: &HeaderMap) -> Result<Scope, Refusal> {
        let token = bearer(headers).map(str::to_owned).or_else(|| password(headers));
        let token = token.ok_or_else(|| {
            Error::user(Code::Unauthenticated, "A token is needed.")
                .hint("Send it as `Authorization: Bearer …`, or as the password of any user.")
        })?;
        let identity = auth::identify(self.0.store.as_ref(), &token).await?;
        if !identity.may(Permission::Read) {
            return Err(Error::user(
                Code::Forbidden,
                format!("The token `{}` may not read logs.", identity.name),
            )
            .into());
        }
        // Every token may read every environment, until there are roles.
        Ok(Scope::Everything)
    }
}

#[async_trait]
impl Authorize for Callers {
    async fn scope(&self, request: &Parts) -> Result<Scope, Response> {
        self.check(&request.headers)
            .await
            .map_err(IntoResponse::into_response)
    }
}

/// The API, where there are logs.
pub(super) fn router(app: &Arc<App>) -> axum::Router<Arc<App>> {
    match &app.logs {
        Some(logs) => {
            let callers = Arc::new(Callers(Arc::clone(app)));
            axum::Router::new().merge(loki::router(Arc::clone(logs.proxy()), callers).with_state(()))
        }
        None => axum::Router::new(),
    }
}
