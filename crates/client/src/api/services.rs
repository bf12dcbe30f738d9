//! Services: releases, roll-back, scale, pause, destroy, logs, sessions,
//! export.

use nonna_api::{
    DeploymentAnswer, DestroyRequest, ExecQuery, ExportAnswer, ExportQuery, LogLineAnswer, LogsQuery,
    ReleaseAnswer, RollbackRequest, ScaleRequest, paths,
};
use nonna_engine::Result;
use reqwest::Method;

use super::Place;
use crate::follow::{End, Follow};
use crate::http::Client;
use crate::session::Session;
use crate::transport;

impl Client {
    /// A service's releases, newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn releases(&self, place: &Place, service: &str) -> Result<Vec<ReleaseAnswer>> {
        self.all(paths::RELEASES, &place.fill_with(service)).await
    }

    /// Makes an earlier release current again; `None`: the one before.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`.
    pub async fn rollback(
        &self,
        place: &Place,
        service: &str,
        release: Option<&str>,
    ) -> Result<DeploymentAnswer> {
        let body = RollbackRequest {
            release: release.map(str::to_owned),
        };
        self.json_once(
            self.request(Method::POST, paths::ROLLBACK, &place.fill_with(service))
                .json(&body),
        )
        .await
    }

    /// Changes how many replicas run.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput`.
    pub async fn scale(&self, place: &Place, service: &str, replicas: u32) -> Result<DeploymentAnswer> {
        let request = self.request(Method::POST, paths::SCALE, &place.fill_with(service));
        self.json(request.json(&ScaleRequest { replicas })).await
    }

    /// Stops a service's replicas; its volumes and releases stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pause(&self, place: &Place, service: &str) -> Result<DeploymentAnswer> {
        self.json(self.request(Method::POST, paths::PAUSE, &place.fill_with(service)))
            .await
    }

    /// Starts the replicas of a paused service.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn resume(&self, place: &Place, service: &str) -> Result<DeploymentAnswer> {
        self.json(self.request(Method::POST, paths::RESUME, &place.fill_with(service)))
            .await
    }

    /// Destroys a service with its volumes. `confirm` is its name.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput` where the name is another.
    pub async fn destroy_service(
        &self,
        place: &Place,
        service: &str,
        confirm: &str,
    ) -> Result<DeploymentAnswer> {
        let request = self.request(Method::POST, paths::SERVICE_DESTROY, &place.fill_with(service));
        self.json_once(request.json(&confirmed(confirm))).await
    }

    /// Destroys an environment with all that is in it. `confirm` is its name.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput` where the name is another.
    pub async fn destroy_environment(&self, place: &Place, confirm: &str) -> Result<DeploymentAnswer> {
        let request = self.request(Method::POST, paths::ENVIRONMENT_DESTROY, &place.fill());
        self.json_once(request.json(&confirmed(confirm))).await
    }

    /// Log lines: of a service, or of the whole environment.
    #[must_use]
    pub fn logs(&self, place: &Place, service: Option<&str>, query: &LogsQuery) -> Follow<LogLineAnswer> {
        let end = if query.follow {
            End::Never
        } else {
            End::WithConnection
        };
        let (place, service, query) = (place.clone(), service.map(str::to_owned), query.clone());
        Follow::new(self.clone(), end, move |client, _: Option<&LogLineAnswer>| {
            match &service {
                Some(service) => client.request(Method::GET, paths::LOGS, &place.fill_with(service)),
                None => client.request(Method::GET, paths::ENVIRONMENT_LOGS, &place.fill()),
            }
            .query(&query)
        })
    }

    /// The environment's log lines as JSON lines, oldest first, handed over
    /// piece by piece.
    ///
    /// # Errors
    /// `InvalidInput` for a query that is wrong; whatever `take` returns; also
    /// where the lines break off.
    pub async fn export_logs(
        &self,
        place: &Place,
        query: &LogsQuery,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let request = self.request(Method::GET, paths::ENVIRONMENT_LOGS_EXPORT, &place.fill());
        let mut response = self.send(request.query(query)).await?;
        while let Some(bytes) = response
            .chunk()
            .await
            .map_err(|error| transport::failure(self.url(), error))?
        {
            take(&bytes)?;
        }
        Ok(())
    }

    /// Runs a command in a running replica.
    ///
    /// # Errors
    /// `NotFound` where no replica runs.
    pub async fn exec(&self, place: &Place, service: &str, query: &ExecQuery) -> Result<Session> {
        let request = self.request(Method::GET, paths::EXEC, &place.fill_with(service));
        Session::open(self, request, query).await
    }

    /// Runs a command in a fresh replica, which is removed afterwards.
    ///
    /// # Errors
    /// `NotFound` where nothing was deployed.
    pub async fn run(&self, place: &Place, service: &str, query: &ExecQuery) -> Result<Session> {
        let request = self.request(Method::GET, paths::RUN, &place.fill_with(service));
        Session::open(self, request, query).await
    }

    /// The environment as files that run without Nonna: `compose` or
    /// `kubernetes`.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput`.
    pub async fn export(&self, place: &Place, format: Option<&str>) -> Result<ExportAnswer> {
        let query = ExportQuery {
            format: format.map(str::to_owned),
        };
        self.json(
            self.request(Method::GET, paths::EXPORT, &place.fill())
                .query(&query),
        )
        .await
    }
}

fn confirmed(name: &str) -> DestroyRequest {
    DestroyRequest {
        confirm: name.to_owned(),
    }
}
