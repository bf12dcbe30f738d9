//! Builds: the queue, logs, caches, and removing what nobody needs.

use std::time::Duration;

use nonna_api::{
    BuildEvent, BuildLogAnswer, BuildPlanAnswer, BuildsAnswer, CachesAnswer, ClearCachesRequest,
    DesiredRequest, GcAnswer, GcRequest, paths,
};
use nonna_engine::Result;
use reqwest::Method;

use super::Place;
use crate::follow::{End, Follow};
use crate::http::Client;

/// How long removing may take.
const REMOVAL: Duration = Duration::from_secs(15 * 60);

impl Client {
    /// What is being built, and what waits for its turn.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn builds(&self) -> Result<BuildsAnswer> {
        self.json(self.request(Method::GET, paths::BUILDS, &[])).await
    }

    /// Builds what a deploy of this would build. The build ends when this is
    /// dropped; where the connection breaks it begins again, with what the
    /// builder has kept.
    #[must_use]
    pub fn build(&self, place: &Place, request: &DesiredRequest) -> Follow<BuildEvent> {
        let names = place.fill().map(str::to_owned);
        let request = request.clone();
        Follow::new(
            self.clone(),
            End::After(|event: &BuildEvent| matches!(event, BuildEvent::Finished)),
            move |client, _| {
                let [project, environment] = &names;
                client
                    .request(Method::POST, paths::ENVIRONMENT_BUILDS, &[project, environment])
                    .json(&request)
            },
        )
    }

    /// What the build of a release said.
    ///
    /// # Errors
    /// `NotFound` where there is no such release, or no log of it is kept.
    pub async fn build_log(&self, place: &Place, service: &str, release: &str) -> Result<BuildLogAnswer> {
        let [project, environment, service] = place.fill_with(service);
        let names = [project, environment, service, release];
        self.json(self.request(Method::GET, paths::BUILD_LOG, &names))
            .await
    }

    /// How the image of a release is built, and why.
    ///
    /// # Errors
    /// `NotFound` where there is no such release, it was not built, or its
    /// source is not kept any more.
    pub async fn build_plan(&self, place: &Place, service: &str, release: &str) -> Result<BuildPlanAnswer> {
        let [project, environment, service] = place.fill_with(service);
        let names = [project, environment, service, release];
        self.json(self.request(Method::GET, paths::BUILD_PLAN, &names))
            .await
    }

    /// What builds keep to be quicker next time.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn caches(&self) -> Result<CachesAnswer> {
        self.json(self.request(Method::GET, paths::CACHES, &[])).await
    }

    /// Removes such caches; answers those that went.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput`.
    pub async fn clear_caches(&self, request: &ClearCachesRequest) -> Result<CachesAnswer> {
        let asked = self.request(Method::POST, paths::CACHES_CLEAR, &[]);
        self.json_once(asked.timeout(REMOVAL).json(request)).await
    }

    /// Removes what builds left and nobody needs, or only tells what would go.
    ///
    /// # Errors
    /// See the error's code.
    pub async fn gc(&self, dry_run: bool) -> Result<GcAnswer> {
        let asked = self.request(Method::POST, paths::GC, &[]);
        self.json_once(asked.timeout(REMOVAL).json(&GcRequest { dry_run }))
            .await
    }
}
