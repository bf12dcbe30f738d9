//! The server itself: version, login, projects, doctor, backup.

use std::time::Duration;

use nonna_api::{DoctorAnswer, LoginAnswer, LoginRequest, Page, ProjectAnswer, VersionAnswer, paths};
use nonna_engine::{Code, Error, Result};
use reqwest::{Method, Response, header};
use secrecy::SecretString;
use serde::Serialize;

use crate::http::Client;
use crate::transport;

/// How long the server may look at its machine.
const DOCTOR: Duration = Duration::from_secs(60);
/// How long the fetch of an image may take.
const PULL: Duration = Duration::from_secs(15 * 60);
/// How many pages of a list are read; beyond is no list for people.
const MOST_PAGES: usize = 1000;

#[derive(Serialize)]
struct After<'a> {
    after: &'a str,
}

#[derive(Serialize)]
struct Reference<'a> {
    reference: &'a str,
}

impl Client {
    /// The server's version. Needs no token.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn version(&self) -> Result<VersionAnswer> {
        self.json(self.request(Method::GET, paths::VERSION, &[])).await
    }

    /// By how many milliseconds the server's clock is ahead of this machine's
    /// (to the second: HTTP tells no more), where it says.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn clock_skew(&self) -> Result<Option<i64>> {
        let before = jiff::Timestamp::now().as_millisecond();
        let response = self.send(self.request(Method::GET, paths::VERSION, &[])).await?;
        let after = jiff::Timestamp::now().as_millisecond();
        Ok(date(&response).map(|server| {
            // The header's second has begun at any moment of it.
            let middle = server + 500;
            let here = before.midpoint(after);
            if (middle - here).abs() <= 1000 {
                0
            } else {
                middle - here
            }
        }))
    }

    /// Exchanges a one-time code for a token; `name` says what it is for.
    ///
    /// # Errors
    /// The code is wrong, used or too old.
    pub async fn login(&self, code: &str, name: &str) -> Result<SecretString> {
        let request = LoginRequest {
            code: code.to_owned(),
            name: name.to_owned(),
        };
        let answer: LoginAnswer = self
            .json_once(self.request(Method::POST, paths::LOGIN, &[]).json(&request))
            .await?;
        Ok(answer.token.into())
    }

    /// All projects.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn projects(&self) -> Result<Vec<ProjectAnswer>> {
        self.all(paths::PROJECTS, &[]).await
    }

    /// What the server finds on its machine.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn doctor(&self) -> Result<DoctorAnswer> {
        self.json(self.request(Method::GET, paths::DOCTOR, &[]).timeout(DOCTOR))
            .await
    }

    /// Has the server fetch the image of a tag anew.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn pull(&self, reference: &str) -> Result<()> {
        let request = self
            .request(Method::POST, paths::PULL, &[])
            .query(&Reference { reference })
            .timeout(PULL);
        self.send(request).await.map(|_| ())
    }

    /// A backup of Nonna's own state, handed over piece by piece.
    ///
    /// # Errors
    /// See the error's code; whatever `take` returns.
    pub async fn backup(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut response = self.send(self.request(Method::GET, paths::BACKUP, &[])).await?;
        while let Some(bytes) = response
            .chunk()
            .await
            .map_err(|error| transport::failure(self.url(), error))?
        {
            take(&bytes)?;
        }
        Ok(())
    }

    /// Every page of a list.
    pub(crate) async fn all<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        with: &[&str],
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut request = self.request(Method::GET, path, with);
            if let Some(after) = &after {
                request = request.query(&After { after });
            }
            let page: Page<T> = self.json(request).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(items),
            }
        }
        Err(Error::bug("The server's list has no end.").said(Code::Bug.to_string()))
    }
}

fn date(response: &Response) -> Option<i64> {
    let text = response.headers().get(header::DATE)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(time.timestamp().as_millisecond())
}
