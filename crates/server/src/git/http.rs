//! Git's smart HTTP protocol, under `/git/PROJECT.git`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use data_encoding::BASE64;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use nonna_engine::{Code, Error};
use nonna_git::Repository;
use nonna_git::serve::{Call, PushTicket, Service, protocol};
use nonna_model::Name;
use secrecy::{ExposeSecret, SecretString};

use super::GitServer;
use super::push::Pushing;
use crate::auth::{self, Permission};
use crate::http::{App, Caller, Peer, status};

/// The repositories' paths.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/git/{repository}/info/refs", get(info_refs))
        .route("/git/{repository}/git-upload-pack", post(upload_pack))
        .route("/git/{repository}/git-receive-pack", post(receive_pack))
        .route("/git/{repository}/info/lfs/{*rest}", any(large_files))
}

/// A failure as git shows it: a plain text, which it prints after `remote:`.
struct Plain(Error);

impl From<Error> for Plain {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        let code = status(self.0.code);
        if code.is_server_error() {
            tracing::warn!(code = %self.0.code, error = %self.0, provider = ?self.0.provider, "a git request failed");
        }
        let mut text = self.0.message;
        if let Some(hint) = self.0.hint {
            text.push('\n');
            text.push_str(&hint);
        }
        text.push('\n');
        let mut response =
            (code, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
        if code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Nonna\", charset=\"UTF-8\""),
            );
        }
        response
    }
}

/// The token of a request: a password, whatever the user's name, or a bearer's.
fn token(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
    let (_, password) = both.split_once(':')?;
    Some(password.to_owned().into())
}

async fn who(
    app: &App,
    headers: &HeaderMap,
    peer: Option<Peer>,
    permission: Permission,
) -> Result<Caller, Plain> {
    let Some(token) = token(headers) else {
        return Err(Plain(
            Error::user(Code::Unauthenticated, "A token is needed, as the password.")
                .hint("`nonna login`, then `nonna git setup` in the folder: git is given the token then."),
        ));
    };
    let identity = auth::identify(app.store.as_ref(), token.expose_secret()).await?;
    if !identity.may(permission) {
        return Err(Plain(Error::user(
            Code::Forbidden,
            format!("The token `{}` may not do that.", identity.name),
        )));
    }
    Ok(Caller {
        name: identity.name,
        peer: peer.map(|peer| peer.0),
    })
}

/// The project of a path's part: `shop.git`, `shop`.
fn project(part: &str) -> Result<Name, Plain> {
    let name = part.strip_suffix(".git").unwrap_or(part);
    name.parse::<Name>().map_err(|error| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        let made = Error::user(
            Code::NotFound,
            format!("`{shown}` cannot be the name of a project: {}.", error.reason),
        );
        Plain(match error.suggestion {
            Some(better) => made.hint(format!(
                "The repository of a project `{better}` is /git/{better}.git."
            )),
            None => made.hint("The repository of a project `shop` is /git/shop.git."),
        })
    })
}

fn permission(service: Service) -> Permission {
    match service {
        Service::UploadPack => Permission::Read,
        Service::ReceivePack => Permission::Deploy,
    }
}

/// The repository that is meant: a push makes it, a fetch does not.
async fn repository(git: &GitServer, service: Service, project: &Name) -> Result<Repository, Plain> {
    match service {
        Service::ReceivePack => Ok(git.home.ensure_project(project).await?),
        Service::UploadPack => git.home.project(project).ok_or_else(|| {
            Plain(
                Error::user(
                    Code::NotFound,
                    format!("Nothing was pushed to the project {project} yet."),
                )
                .hint("`git push nonna main` makes its repository."),
            )
        }),
    }
}

fn version(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("git-protocol")
        .and_then(|value| value.to_str().ok())
        .and_then(protocol)
}

fn answer(service: Service, kind: &str, body: Body) -> Response {
    let kind = format!("application/x-{}-{kind}", service.name());
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache, no-store".to_owned()),
        ],
        body,
    )
        .into_response()
}

async fn info_refs(
    State(app): State<Arc<App>>,
    Path(part): Path<String>,
    request: Request,
) -> Result<Response, Plain> {
    let asked = request
        .uri()
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("service=")))
        .and_then(Service::parse);
    let Some(service) = asked else {
        return Err(Plain(
            Error::user(
                Code::InvalidInput,
                "This server speaks git's smart protocol only.",
            )
            .hint("Use git 1.6.6 or later."),
        ));
    };
    let (parts, _) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    who(&app, &parts.headers, peer, permission(service)).await?;
    let git = app.git()?;
    let project = project(&part)?;
    let repository = repository(git, service, &project).await?;
    let call = Call {
        service,
        repository: &repository,
        protocol: version(&parts.headers),
    };
    let body = call.advertise(&git.home).await?;
    Ok(answer(service, "advertisement", Body::from(body)))
}

async fn upload_pack(
    State(app): State<Arc<App>>,
    Path(part): Path<String>,
    request: Request,
) -> Result<Response, Plain> {
    exchange(app, Service::UploadPack, &part, request).await
}

async fn receive_pack(
    State(app): State<Arc<App>>,
    Path(part): Path<String>,
    request: Request,
) -> Result<Response, Plain> {
    exchange(app, Service::ReceivePack, &part, request).await
}

async fn exchange(app: Arc<App>, service: Service, part: &str, request: Request) -> Result<Response, Plain> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let caller = who(&app, &parts.headers, peer, permission(service)).await?;
    let git = app.git()?;
    let expected = format!("application/x-{}-request", service.name());
    if parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(expected.as_bytes()) {
        return Err(Plain(Error::user(
            Code::InvalidInput,
            format!("The body must be of the type {expected}."),
        )));
    }
    let gzipped = match parts
        .headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => {
            return Err(Plain(Error::user(
                Code::InvalidInput,
                "A git request's body may be packed with gzip, and with nothing else.",
            )));
        }
    };
    let project = project(part)?;
    let repository = repository(git, service, &project).await?;
    let Ok(room) = Arc::clone(&git.room).try_acquire_owned() else {
        return Err(Plain(
            Error::provider(
                Code::ServerUnavailable,
                "The server is busy with other pushes and fetches.",
            )
            .hint("Try again in a moment.")
            .retry(),
        ));
    };
    let limit = app.config.build.context_limit;
    // Dropped with the answer's body: a client that goes away cancels.
    let pushing = match service {
        Service::UploadPack => None,
        Service::ReceivePack => Some(Pushing::begin(&app, project, caller)?),
    };
    let ticket = pushing.as_ref().map(|pushing| PushTicket {
        id: pushing.id().to_owned(),
        socket: git.home.socket(),
    });
    let call = Call {
        service,
        repository: &repository,
        protocol: version(&parts.headers),
    };
    let stream = call
        .serve(
            &git.home,
            body.into_data_stream(),
            gzipped,
            ticket.as_ref().map(|ticket| (ticket, limit)),
        )
        .await?;
    let stream = stream.map(move |piece| {
        let _held = (&pushing, &room);
        piece
    });
    Ok(answer(service, "result", Body::from_stream(stream)))
}

/// Git LFS asks beside the repository: it is told in its own words.
async fn large_files() -> Response {
    let body = serde_json::json!({
        "message": "Nonna keeps no Git LFS contents. Put large files into the repository itself, or fetch them in the build.",
        "documentation_url": "https://github.com/nonna-dev/nonna/blob/main/docs/git-push.md",
    });
    (
        StatusCode::NOT_IMPLEMENTED,
        [(header::CONTENT_TYPE, "application/vnd.git-lfs+json")],
        body.to_string(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_as_passwords_and_as_bearers() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            token(&headers).map(|token| token.expose_secret().to_owned())
        };
        // base64 of "anybody:secret:with:colons"
        let basic = format!("Basic {}", BASE64.encode(b"anybody:secret:with:colons"));
        assert_eq!(of(&basic).as_deref(), Some("secret:with:colons"));
        assert_eq!(of("bearer  t").as_deref(), Some("t"));
        assert_eq!(of("Basic %%%"), None);
        assert_eq!(of("Digest x"), None);
        assert_eq!(of("Basic"), None);
    }

    #[test]
    fn repositories_are_projects_and_nothing_else() {
        assert_eq!(project("shop.git").ok().unwrap().as_str(), "shop");
        assert_eq!(project("shop").ok().unwrap().as_str(), "shop");
        for bad in [
            "..",
            "../etc.git",
            "Shop.git",
            ".git",
            "a/b.git",
            "-x.git",
            "a%2fb",
        ] {
            assert!(project(bad).is_err(), "{bad}");
        }
    }
}
