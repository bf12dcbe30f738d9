//! BuildKit's session: a connection over which the daemon asks us, by gRPC,
//! for what a build needs beside its context. Here that is secrets, which are
//! mounted and are never part of an image, its history or its cache.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets as SecretsService, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::v1::auth_server::{Auth as AuthService, AuthServer};
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use nonna_engine::Result;
use nonna_engine::ports::Credentials;
use nonna_engine::ports::registry::Credential;
use nonna_model::OrganizationId;
use nonna_model::image::RegistryHost;
use secrecy::ExposeSecret;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::Engine;
use super::wire::{Connection, Owned, empty, request};

const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";

/// What is offered to a build, by the id it is mounted with.
pub(crate) type Secrets = BTreeMap<String, Bytes>;

/// All that is offered to a build.
pub(crate) struct Offer {
    pub(crate) secrets: Secrets,
    /// For whom it builds: whose credentials it may use.
    pub(crate) organization: OrganizationId,
    pub(crate) credentials: Arc<dyn Credentials>,
}

/// An open session. The build that names its id can use it while this lives.
pub(super) struct Session {
    pub(super) id: String,
    _task: Owned,
}

impl Session {
    pub(super) async fn open(engine: &Engine, id: String, offer: Offer) -> Result<Self> {
        let connection = Connection::open(engine).await?;
        let mut request = request(Method::POST, "/session", empty())?;
        let headers = request.headers_mut();
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "h2c"),
            ("x-docker-expose-session-grpc-method", GET_SECRET),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        // One header a method.
        headers.append(
            "x-docker-expose-session-grpc-method",
            http::HeaderValue::from_static(CREDENTIALS),
        );
        let value = http::HeaderValue::from_str(&id)
            .map_err(|error| nonna_engine::Error::bug(format!("a session's id is no header: {error}")))?;
        headers.insert("x-docker-expose-session-uuid", value);
        let (response, connection) = connection.send(engine, request).await?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(engine.said_no("open a build session", response.status().as_u16(), ""));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| engine.unavailable(&error))?;
        let routes = Routes::new(HealthServer::new(Alive))
            .add_service(SecretsServer::new(Offered(Arc::new(offer.secrets))))
            .add_service(AuthServer::new(Known {
                organization: offer.organization,
                credentials: offer.credentials,
            }))
            .prepare();
        let task = Owned::spawn(async move {
            let _connection = connection;
            let served = http2::Builder::new(TokioExecutor::new())
                .serve_connection(upgraded, TowerToHyperService::new(routes))
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a build session ended");
            }
        });
        Ok(Self { id, _task: task })
    }
}

struct Offered(Arc<Secrets>);

#[tonic::async_trait]
impl SecretsService for Offered {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.get(&id) {
            Some(data) => Ok(Response::new(GetSecretResponse { data: data.to_vec() })),
            // A mount that is not `required` is then left out.
            None => Err(Status::not_found("no such secret")),
        }
    }
}

/// Answers who we are to a registry that a base image or a cache comes from.
struct Known {
    organization: OrganizationId,
    credentials: Arc<dyn Credentials>,
}

#[tonic::async_trait]
impl AuthService for Known {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        // A registry that nobody can have stored anything for.
        let Ok(registry) = host.parse::<RegistryHost>() else {
            return Ok(Response::new(CredentialsResponse::default()));
        };
        let found = self.credentials.credential(&self.organization, &registry).await;
        let found = found.map_err(|error| {
            tracing::error!(%error, %registry, "a credential could not be opened for a build");
            Status::internal("the credential cannot be opened")
        })?;
        Ok(Response::new(match found {
            None => CredentialsResponse::default(),
            Some(Credential::Password { username, password }) => CredentialsResponse {
                username,
                secret: password.expose_secret().to_owned(),
            },
            // A secret without a name is taken for an identity token.
            Some(Credential::IdentityToken(token)) => CredentialsResponse {
                username: String::new(),
                secret: token.expose_secret().to_owned(),
            },
        }))
    }

    // The daemon asks a token server itself, with the credentials.

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("only `Credentials` is answered"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only `Credentials` is answered"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only `Credentials` is answered"))
    }
}

/// The daemon closes a session that does not say it is well.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only `Check` is answered"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only `Check` is answered"))
    }
}
