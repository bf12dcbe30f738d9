//! What runs, on one page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use nonna_api::ServiceAnswer;
use nonna_model::observed::Observed;

use crate::http::{App, service_answer};

const STYLE: &str = "
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #8884}
.running{color:#137333}.degraded,.unknown{color:#b06000}.down{color:#c5221f}.paused,.never_deployed{color:#777}
@media(prefers-color-scheme:dark){.running{color:#81c995}.degraded,.unknown{color:#fdd663}.down{color:#f28b82}}
input,button{font:inherit;padding:.3rem .6rem}
@media(max-width:40rem){th:nth-child(4),td:nth-child(4){display:none}}
";

/// Only our own style, forms to ourselves, nothing else.
fn policy() -> HeaderValue {
    HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
}

fn page(content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "Nonna" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Nonna " small { (env!("CARGO_PKG_VERSION")) } }
                (content)
            }
        }
    };
    let mut response = page.into_string().into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, policy());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page that only says something.
pub(super) fn message(words: &str) -> Response {
    page(&html! {
        p { (words) }
        p { a href="/" { "Back" } }
    })
}

/// The page: all of it with a session, that the server is up without.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if !app.sessions.has(&headers) {
        return page(&html! {
            p { "The server is up." }
            form method="post" action="/session" {
                label { "Token " input type="password" name="token" autocomplete="off" required; }
                " "
                button { "Show what runs" }
            }
        });
    }
    match tables(&app).await {
        Ok(content) => page(&content),
        Err(error) => message(&format!("What runs cannot be shown: {error}")),
    }
}

async fn tables(app: &App) -> nonna_engine::Result<Markup> {
    let snapshots = app.store.snapshots().await?;
    let observed = app.runtime.observe_all().await.ok();
    Ok(html! {
        @if observed.is_none() {
            p.down { "The container engine does not answer: what runs is not known." }
        }
        @if snapshots.is_empty() {
            p { "Nothing is deployed yet." }
        }
        @for snapshot in &snapshots {
            h2 { (snapshot.scope.project_name) " / " (snapshot.scope.environment_name) }
            table {
                thead { tr { th { "Service" } th { "State" } th { "Release" } th { "Replicas" } th { "Reached at" } } }
                tbody {
                    @for service in &snapshot.services {
                        @let seen = seen(observed.as_deref(), snapshot);
                        (row(&service_answer(app, service, seen.as_ref(), &[])))
                    }
                }
            }
        }
        form method="post" action="/session/end" { p { button { "Log out" } } }
    })
}

fn seen(
    observed: Option<&[Observed]>,
    snapshot: &nonna_store::records::EnvironmentSnapshot,
) -> Option<Observed> {
    let id = &snapshot.scope.environment;
    let found = observed?.iter().find(|o| o.environment == *id);
    Some(found.cloned().unwrap_or_else(|| Observed::nothing(id.clone())))
}

fn row(service: &ServiceAnswer) -> Markup {
    let running = service.running.iter().filter(|r| r.state == "running").count();
    html! {
        tr {
            td { (service.name) }
            td class=(service.state) { (service.state.replace('_', " ")) }
            td { (service.release.as_deref().unwrap_or("–")) }
            td { (running) " of " (service.replicas) }
            td {
                @for url in &service.urls {
                    a href=(url) rel="noreferrer" { (url) }
                    " "
                }
            }
        }
    }
}
