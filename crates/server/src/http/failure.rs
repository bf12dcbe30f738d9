//! Failures as answers: JSON, with the status that belongs to the code.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use nonna_api::Failure;
use nonna_engine::{Code, Error};

/// What a handler fails with.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: Error,
    retry_after: Option<u64>,
}

pub(crate) type Answer<T> = Result<T, Refusal>;

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            status: status(error.code),
            error,
            retry_after: None,
        }
    }
}

impl Refusal {
    /// With another status than the code's own.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Says after how many seconds to try again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// The status of each code.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidInput | Code::InvalidContext => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Conflict | Code::PlanChanged | Code::Cancelled => StatusCode::CONFLICT,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::LimitExceeded
        | Code::NothingToBuild
        | Code::BuildFailed
        | Code::BuildLimit
        | Code::ImageNotFound
        | Code::SignatureInvalid
        | Code::MissingSecret
        | Code::ReplicaExited
        | Code::ReplicaOutOfMemory
        | Code::ReplicaUnhealthy
        | Code::WrongPort
        | Code::ListensOnLoopback => StatusCode::UNPROCESSABLE_ENTITY,
        Code::RegistryAuth | Code::RegistryUnavailable | Code::RuntimeRefused | Code::CertificateFailed => {
            StatusCode::BAD_GATEWAY
        }
        Code::RuntimeUnavailable | Code::StoreUnavailable | Code::ServerUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = %self.error.code, error = %self.error, provider = ?self.error.provider, "request failed");
        }
        let status = self.status;
        let mut response = (status, axum::Json(Failure { error: self.error })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
