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
use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use nonna_engine::Result;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::Engine;
use super::wire::{Connection, Owned, empty, request};

const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";

/// What is offered to a build, by the id it is mounted with.
pub(crate) type Secrets = BTreeMap<String, Bytes>;

/// An open session. The build that names its id can use it while this lives.
pub(super) struct Session {
    pub(super) id: String,
    _task: Owned,
}

impl Session {
    pub(super) async fn open(engine: &Engine, id: String, secrets: Secrets) -> Result<Self> {
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
            .add_service(SecretsServer::new(Offered(Arc::new(secrets))))
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
