//! From a request to an image.

mod dockerfile;
mod failure;
mod output;
mod recipe;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use async_trait::async_trait;
use bollard::query_parameters::ListImagesOptionsBuilder;
use bytes::Bytes;
use nonna_engine::event::Progress;
use nonna_engine::ports::Builder;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_engine::{Code, Error, Result};
use nonna_model::context::digest_hex;
use nonna_model::labels;
use tokio_util::sync::CancellationToken;

use self::output::Output;
use self::recipe::Recipe;
use crate::context::ContextStore;
use crate::engine::{Engine, Kind, Query, Running, Secrets};

/// The id under which builds are offered the extra certificate authorities:
/// `RUN --mount=type=secret,id=nonna-ca,target=/etc/ssl/certs/ca-certificates.crt …`.
pub const CA_SECRET: &str = "nonna-ca";

/// The largest secret that BuildKit accepts.
const MAX_SECRET: u64 = 500 * 1024;

/// How images are built.
#[derive(Debug, Clone, Default)]
pub struct BuilderConfig {
    /// The container engine: a socket's path, `unix://…`, `tcp://…` or
    /// `http://…`. `None`: the environment variable `DOCKER_HOST`, else
    /// Docker's socket, else Podman's.
    pub endpoint: Option<String>,
    /// The installation's id: a label of every image that is built.
    pub installation: String,
    /// Certificate authorities that builds trust beside the usual ones, such
    /// as those of a company's inspecting proxy: a file of PEM certificates
    /// that replaces the image's own list while a step runs. It is mounted as
    /// the build secret [`CA_SECRET`] and is never part of an image.
    pub extra_ca: Option<PathBuf>,
    /// Processor time of a build's steps, in thousandths of a core. Only the
    /// classic builder (Podman) knows it; BuildKit takes `cgroup_parent`.
    pub cpu_millis: Option<u32>,
    /// Memory of a build's steps, in bytes. As `cpu_millis`.
    pub memory: Option<u64>,
    /// The control group in which build steps run, which the administrator
    /// has given its limits. Engines before Docker 23 ignore it.
    pub cgroup_parent: Option<String>,
}

/// Builds images with the container engine's builder: BuildKit where there is
/// one, else the classic one.
#[derive(Debug, Clone)]
pub struct BuildKitBuilder {
    config: BuilderConfig,
    contexts: ContextStore,
    engine: Engine,
}

impl BuildKitBuilder {
    /// A builder of these contexts. The engine is first asked when something
    /// is built.
    ///
    /// # Errors
    /// `InvalidInput` for an endpoint that is none.
    pub fn new(config: BuilderConfig, contexts: ContextStore) -> Result<Self> {
        let engine = Engine::open(config.endpoint.as_deref())?;
        Ok(Self {
            config,
            contexts,
            engine,
        })
    }

    async fn recipe(&self, request: &BuildRequest) -> Result<Recipe> {
        let contexts = self.contexts.clone();
        let request = request.clone();
        let extra_ca = self.config.extra_ca.is_some();
        beside(move || Recipe::of(&contexts, &request, extra_ca)).await
    }

    /// The image that was built of exactly this before.
    async fn existing(&self, request: &BuildRequest, key: &str) -> Result<Option<BuiltImage>> {
        let wanted = vec![
            format!("{}={key}", labels::IMAGE_BUILD),
            format!("{}={}", labels::IMAGE_SERVICE, request.service),
            format!("{}={}", labels::IMAGE_INSTALLATION, self.config.installation),
        ];
        let options = ListImagesOptionsBuilder::default()
            .filters(&HashMap::from([("label".to_owned(), wanted)]))
            .build();
        let images = self
            .engine
            .docker()?
            .list_images(Some(options))
            .await
            .map_err(|error| self.engine.refused("list images", &error))?;
        Ok(images.into_iter().next().map(|image| BuiltImage {
            builder: image
                .labels
                .get(labels::IMAGE_BUILDER)
                .cloned()
                .unwrap_or_default(),
            size: u64::try_from(image.size).unwrap_or_default(),
            image: image.id,
        }))
    }

    async fn secrets(&self) -> Result<Secrets> {
        let mut secrets = Secrets::new();
        let Some(path) = self.config.extra_ca.clone() else {
            return Ok(secrets);
        };
        let read = beside(move || {
            let wrong = |why: String| {
                Error::user(
                    Code::InvalidInput,
                    format!(
                        "The extra certificate authorities for builds at {} {why}.",
                        path.display()
                    ),
                )
                .hint("Mend the server's setting: it names a file of PEM certificates.")
            };
            let content = std::fs::read(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
            if content.len() as u64 > MAX_SECRET {
                return Err(wrong(format!("are more than {MAX_SECRET} bytes")));
            }
            Ok(content)
        });
        secrets.insert(CA_SECRET.to_owned(), Bytes::from(read.await?));
        Ok(secrets)
    }

    fn query(&self, request: &BuildRequest, recipe: &Recipe, key: &str) -> Query {
        let labels = BTreeMap::from([
            (labels::IMAGE_INSTALLATION, self.config.installation.clone()),
            (labels::IMAGE_ENVIRONMENT, request.scope.environment.to_string()),
            (labels::IMAGE_SERVICE, request.service.to_string()),
            (labels::IMAGE_BUILD, key.to_owned()),
            (labels::IMAGE_BUILDER, recipe.builder.clone()),
        ]);
        Query {
            dockerfile: recipe.dockerfile.path.clone(),
            tag: tag(request, key),
            target: request.source.target.clone(),
            arguments: request.source.arguments.clone(),
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            cpu_millis: self.config.cpu_millis,
            memory: self.config.memory,
            cgroup_parent: self.config.cgroup_parent.clone(),
        }
    }

    /// Runs the build and passes on what it says.
    async fn run(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        query: &Query,
        output: &mut Output<'_>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let too_long = tokio::time::sleep(request.timeout);
        tokio::pin!(too_long);
        let start = async {
            let kind = self.engine.kind().await?;
            let secrets = match kind {
                Kind::BuildKit => self.secrets().await?,
                Kind::Classic => Secrets::new(),
            };
            let contexts = self.contexts.clone();
            let (digest, layout) = (request.source.context.clone(), recipe.layout.clone());
            let context = beside(move || contexts.stream_tar(&digest, layout)).await?;
            Running::start(&self.engine, kind, query, secrets, context).await
        };
        // Dropped before it has begun: its connection closes, which stops it.
        let mut running = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::cancelled()),
            () = &mut too_long => return Err(took_too_long(request)),
            running = start => running?,
        };
        let stopped = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break Error::cancelled(),
                () = &mut too_long => break took_too_long(request),
                said = running.next() => match said? {
                    Some(line) => {
                        if let Err(limit) = output.take(line) {
                            break limit;
                        }
                    }
                    None => return Ok(()),
                },
            }
        };
        running.cancel().await;
        Err(output.with_last_lines(stopped))
    }
}

#[async_trait]
impl Builder for BuildKitBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        let recipe = self.recipe(request).await?;
        let key = recipe.key(request);
        if let Some(image) = self.existing(request, &key).await? {
            progress.message("nothing changed since it was built: the image is used again");
            return Ok(image);
        }
        for line in &recipe.explanation {
            progress.message(line.clone());
        }
        let query = self.query(request, &recipe, &key);
        let mut output = Output::new(progress, request.output_limit);
        self.run(request, &recipe, &query, &mut output, cancel).await?;
        if let Some(failed) = output.finish() {
            return Err(failure::explain(&failed, &recipe.dockerfile));
        }
        let built = self
            .engine
            .docker()?
            .inspect_image(&query.tag)
            .await
            .map_err(|error| self.engine.refused("show the image that was built", &error))?;
        let image = built.id.ok_or_else(|| {
            self.engine
                .said_no("show the image that was built", 200, "it has no id")
        })?;
        Ok(BuiltImage {
            image,
            size: built
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or_default(),
            builder: recipe.builder,
        })
    }

    async fn has_context(&self, digest: &str) -> Result<bool> {
        let contexts = self.contexts.clone();
        let digest = digest.to_owned();
        beside(move || Ok(contexts.has(&digest))).await
    }
}

/// The name under which the image is found by people: one for each build.
fn tag(request: &BuildRequest, key: &str) -> String {
    let short = digest_hex(key).and_then(|hex| hex.get(..16)).unwrap_or("latest");
    format!("nonna/{}:{short}", request.service)
}

fn took_too_long(request: &BuildRequest) -> Error {
    Error::user(
        Code::BuildLimit,
        format!("The build took longer than {} s and was stopped.", request.timeout.as_secs()),
    )
    .hint("See its last lines for a step that waits for something. If it needs the time, raise the build's timeout.")
}

/// Does what blocks on the disk beside the asynchronous work.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let _inside = runtime.enter();
        work()
    })
    .await
    .map_err(|error| Error::bug(format!("a worker of a build died: {error}")))?
}
