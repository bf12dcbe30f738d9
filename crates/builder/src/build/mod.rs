//! From a request to an image.

mod bases;
mod dockerfile;
mod failure;
mod hidden;
mod output;
mod recipe;
mod tools;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bollard::query_parameters::ListImagesOptionsBuilder;
use bytes::Bytes;
use nonna_engine::event::Progress;
use nonna_engine::ports::builder::{BuildRequest, BuiltImage};
use nonna_engine::ports::registry::NoCredentials;
use nonna_engine::ports::storage::CacheOwner;
use nonna_engine::ports::{Builder, Credentials};
use nonna_engine::{Code, Error, Result};
use nonna_model::build::BuildPlan;
use nonna_model::context::digest_hex;
use nonna_model::labels;
use nonna_model::service::BuildSource;
use nonna_model::units::Bytes as Size;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use self::bases::Bases;
use self::hidden::Hidden;
use self::output::Output;
use self::recipe::Recipe;
use crate::context::ContextStore;
use crate::engine::{Engine, Kind, Offer, Query, Running, Secrets};
use crate::limits::{BuildLimits, ControlGroups, Driver, Held, Watch};
use crate::storage::{BuildKitStorage, Built};

/// The id under which builds are offered the extra certificate authorities:
/// `RUN --mount=type=secret,id=nonna-ca,target=/etc/ssl/certs/ca-certificates.crt …`.
pub const CA_SECRET: &str = "nonna-ca";

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The control group in which Docker Engine has its own, by default.
const ENGINE_CGROUP: &str = "docker";
/// What the names of all images begin with that are built here.
pub(crate) const OWN_TAGS: &str = "nonna/";
/// The largest secret that BuildKit accepts.
const MAX_SECRET: u64 = 500 * 1024;

/// How images are built.
#[derive(Clone)]
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
    /// What builds may use. The classic builder (Podman) is told; BuildKit's
    /// control group is given them ([`ControlGroups`]).
    pub limits: BuildLimits,
    /// The engine's own `--cgroup-parent`; `None`: `docker`.
    pub engine_cgroup: Option<String>,
    /// Who shares caches of dependencies.
    pub cache_sharing: CacheSharing,
    /// Who we are to the registries that base images and caches come from.
    pub credentials: Arc<dyn Credentials>,
}

/// Who shares caches of dependencies. Other organizations never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheSharing {
    /// The builds of a service.
    #[default]
    Service,
    /// The builds of all services of an organization.
    Organization,
}

impl Default for BuilderConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            installation: String::new(),
            extra_ca: None,
            limits: BuildLimits::default(),
            engine_cgroup: None,
            cache_sharing: CacheSharing::default(),
            credentials: Arc::new(NoCredentials),
        }
    }
}

impl std::fmt::Debug for BuilderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuilderConfig")
            .field("endpoint", &self.endpoint)
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

/// Builds images with the container engine's builder: BuildKit where there is
/// one, else the classic one.
#[derive(Debug, Clone)]
pub struct BuildKitBuilder {
    config: BuilderConfig,
    contexts: ContextStore,
    engine: Engine,
    storage: BuildKitStorage,
}

impl BuildKitBuilder {
    /// A builder of these contexts. The engine is first asked when something
    /// is built.
    ///
    /// # Errors
    /// `InvalidInput` for an endpoint that is none.
    pub fn new(config: BuilderConfig, contexts: ContextStore) -> Result<Self> {
        let engine = Engine::open(config.endpoint.as_deref())?;
        let storage = BuildKitStorage::new(engine.clone(), config.installation.clone(), contexts.clone());
        Ok(Self {
            config,
            contexts,
            engine,
            storage,
        })
    }

    /// What its builds leave on the machine.
    #[must_use]
    pub fn storage(&self) -> BuildKitStorage {
        self.storage.clone()
    }

    /// What its builds may use.
    #[must_use]
    pub fn limits(&self) -> &BuildLimits {
        &self.config.limits
    }

    /// Whether the limits of builds hold on this machine; sets them.
    pub async fn apply_limits(&self) -> Held {
        match self.groups().await {
            Ok(groups) => beside(move || Ok(groups.apply()))
                .await
                .unwrap_or_else(|error| Held::No(error.message)),
            Err(why) => Held::No(why),
        }
    }

    /// The control groups of builds, or why they cannot be reached.
    async fn groups(&self) -> Result<ControlGroups, String> {
        if !self.engine.is_local() {
            return Err("the container engine is not on this machine".to_owned());
        }
        if self.engine.kind().await.map_err(|error| error.message)? == Kind::Classic {
            return Err("the container engine has no BuildKit".to_owned());
        }
        if !rustix::process::geteuid().is_root() {
            return Err("Nonna does not run as root".to_owned());
        }
        let info = self.engine.info().await.map_err(|error| error.message)?;
        let driver = if info.cgroup_driver == "systemd" {
            Driver::Systemd
        } else {
            Driver::Cgroupfs
        };
        let parent = self.config.engine_cgroup.as_deref().unwrap_or(ENGINE_CGROUP);
        Ok(ControlGroups::new(
            Path::new(CGROUPS),
            parent,
            driver,
            self.config.limits.clone(),
        ))
    }

    /// Whose caches a build uses.
    fn cache_owner(&self, request: &BuildRequest) -> CacheOwner {
        match self.config.cache_sharing {
            CacheSharing::Service => CacheOwner::Service(request.service.clone()),
            CacheSharing::Organization => CacheOwner::Organization(request.scope.organization.clone()),
        }
    }

    async fn watch(&self, recipe: &Recipe) -> Watch {
        let groups = self.groups().await.ok();
        let disk = match self.engine.is_local() {
            true => self
                .engine
                .info()
                .await
                .ok()
                .and_then(|info| info.docker_root_dir.clone()),
            false => None,
        };
        Watch::new(groups, &recipe.commands, disk.map(PathBuf::from))
    }

    async fn recipe(&self, request: &BuildRequest) -> Result<Recipe> {
        let contexts = self.contexts.clone();
        let request = request.clone();
        let extra_ca = self.config.extra_ca.is_some();
        let cache = self.cache_owner(&request).as_str().to_owned();
        beside(move || Recipe::of(&contexts, &request, extra_ca, cache)).await
    }

    /// The image that was built of exactly this before, and of what its base
    /// images are now.
    async fn built_before(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        key: &str,
    ) -> Result<Option<BuiltImage>> {
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
        if images.is_empty() {
            return Ok(None);
        }
        let now = bases::now(&self.engine, recipe.bases.iter().map(String::as_str)).await?;
        let same = images.into_iter().find(|image| {
            let then = recorded(&image.labels);
            bases::moved(&then, &now, &recipe.bases, false).is_none()
        });
        Ok(same.map(|image| BuiltImage {
            builder: image
                .labels
                .get(labels::IMAGE_BUILDER)
                .cloned()
                .unwrap_or_default(),
            size: u64::try_from(image.size).unwrap_or_default(),
            image: image.id,
        }))
    }

    async fn secrets(&self, request: &BuildRequest) -> Result<Secrets> {
        let mut secrets = Secrets::new();
        for (name, value) in &request.secrets {
            if value.expose_secret().len() as u64 > MAX_SECRET {
                return Err(Error::user(
                    Code::InvalidInput,
                    format!("The secret {name} has more than {MAX_SECRET} bytes, which no build can mount."),
                ));
            }
            secrets.insert(
                name.clone(),
                Bytes::copy_from_slice(value.expose_secret().as_bytes()),
            );
        }
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

    fn query(&self, request: &BuildRequest, recipe: &Recipe, key: &str, bases: &Bases) -> Query {
        let labels = BTreeMap::from([
            // Plain data: it can always be written.
            (
                labels::IMAGE_BASES,
                serde_json::to_string(&all_bases(recipe, bases)).unwrap_or_default(),
            ),
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
            arguments: arguments(request),
            cache: request.cache.clone().filter(|_| !request.no_cache),
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            cpu_millis: self.config.limits.cpu_millis,
            memory: self.config.limits.memory,
            cgroup_parent: None,
            no_cache: request.no_cache,
            cache_namespace: self.cache_owner(request).as_str().to_owned(),
        }
    }

    /// Runs the build and passes on what it says. Answers whether a step was
    /// killed for want of memory.
    async fn run(
        &self,
        request: &BuildRequest,
        recipe: &Recipe,
        query: &Query,
        output: &mut Output<'_>,
        cancel: &CancellationToken,
    ) -> Result<bool> {
        let too_long = tokio::time::sleep(request.timeout);
        tokio::pin!(too_long);
        let start = async {
            let kind = self.engine.kind().await?;
            let secrets = match kind {
                Kind::BuildKit => self.secrets(request).await?,
                Kind::Classic if !request.secrets.is_empty() => return Err(no_secrets(request)),
                Kind::Classic => Secrets::new(),
            };
            let contexts = self.contexts.clone();
            let (digest, layout) = (request.source.context.clone(), recipe.layout.clone());
            let context = beside(move || contexts.stream_tar(&digest, layout)).await?;
            let offer = Offer {
                secrets,
                organization: request.scope.organization.clone(),
                credentials: Arc::clone(&self.config.credentials),
            };
            Running::start(&self.engine, kind, query, offer, context).await
        };
        // Dropped before it has begun: its connection closes, which stops it.
        let mut watch = self.watch(recipe).await;
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
                wrong = watch.until_wrong() => break wrong,
                said = running.next() => match said? {
                    Some(line) => {
                        if let Err(limit) = output.take(line) {
                            break limit;
                        }
                    }
                    None => return Ok(watch.was_killed()),
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
        if request.no_cache {
            self.storage
                .clear_dependencies(&self.cache_owner(request))
                .await?;
        } else if let Some(image) = self.built_before(request, &recipe, &key).await? {
            progress.message("nothing changed since it was built: the image is used again");
            return Ok(image);
        }
        for line in &recipe.explanation {
            progress.message(line.clone());
        }
        let bases = bases::now(&self.engine, recipe.bases.iter().map(String::as_str)).await?;
        let query = self.query(request, &recipe, &key, &bases);
        let hidden = Hidden::of(request.secrets.values());
        let mut output = Output::new(progress, request.output_limit, &hidden);
        let ended = self.run(request, &recipe, &query, &mut output, cancel).await;
        let left = Built::new(
            request.service.clone(),
            self.cache_owner(request),
            &recipe.commands,
            output.ran(),
        );
        self.storage.build_ended(left).await;
        let killed = ended?;
        if let Some(failed) = output.finish() {
            let error = failure::explain(&failed, &recipe.dockerfile);
            return Err(match self.config.limits.memory {
                Some(memory) if killed => error.hint(format!(
                    "A step was killed because builds may use {} of memory. If it needs more, raise the server's setting `build.memory`.",
                    Size(memory)
                )),
                _ => error,
            });
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

    async fn existing(&self, request: &BuildRequest) -> Result<Option<BuiltImage>> {
        if request.no_cache {
            return Ok(None);
        }
        let recipe = self.recipe(request).await?;
        self.built_before(request, &recipe, &recipe.key(request)).await
    }

    async fn moved_base(&self, image: &str, unknown: bool) -> Result<Option<String>> {
        let found = match self.engine.docker()?.inspect_image(image).await {
            Ok(found) => found,
            // Whoever starts it will say so.
            Err(_) => return Ok(None),
        };
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        let all = all_recorded(&labels);
        let references: Vec<String> = all.keys().cloned().collect();
        let now = bases::now(&self.engine, references.iter().map(String::as_str)).await?;
        Ok(bases::moved(&recorded(&labels), &now, &references, unknown))
    }

    async fn explain(&self, source: &BuildSource, port: Option<u16>) -> Result<BuildPlan> {
        let contexts = self.contexts.clone();
        let source = source.clone();
        beside(move || recipe::explain(&contexts, &source, port)).await
    }

    async fn has_context(&self, digest: &str) -> Result<bool> {
        let contexts = self.contexts.clone();
        let digest = digest.to_owned();
        beside(move || Ok(contexts.has(&digest))).await
    }
}

/// Every base image, with its id where the machine had it.
fn all_bases<'b>(recipe: &'b Recipe, there: &'b Bases) -> BTreeMap<&'b str, Option<&'b str>> {
    recipe
        .bases
        .iter()
        .map(|reference| (reference.as_str(), there.get(reference).map(String::as_str)))
        .collect()
}

/// What an image's labels say of its base images.
fn all_recorded(labels: &HashMap<String, String>) -> BTreeMap<String, Option<String>> {
    labels
        .get(labels::IMAGE_BASES)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Those of them that the machine had.
fn recorded(labels: &HashMap<String, String>) -> Bases {
    all_recorded(labels)
        .into_iter()
        .filter_map(|(reference, id)| Some((reference, id?)))
        .collect()
}

/// The name under which the image is found by people: one for each build.
fn tag(request: &BuildRequest, key: &str) -> String {
    let short = digest_hex(key).and_then(|hex| hex.get(..16)).unwrap_or("latest");
    format!("{OWN_TAGS}{}:{short}", request.service)
}

/// The build's arguments. With a cache, the image is to hold what it takes to
/// be one: the record of its steps.
fn arguments(request: &BuildRequest) -> BTreeMap<String, String> {
    let mut arguments = request.source.arguments.clone();
    if request.cache.is_some() {
        arguments.insert("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned());
    }
    arguments
}

fn no_secrets(request: &BuildRequest) -> Error {
    let names: Vec<&str> = request.secrets.keys().map(String::as_str).collect();
    Error::user(
        Code::InvalidInput,
        format!(
            "The build needs secrets ({}), and this container engine's builder mounts none.",
            names.join(", ")
        ),
    )
    .hint("Use Docker Engine, whose builder is BuildKit.")
}

fn took_too_long(request: &BuildRequest) -> Error {
    Error::user(
        Code::BuildLimit,
        format!("The build took longer than {} s and was stopped.", request.timeout.as_secs()),
    )
    .hint("See its last lines for a step that waits for something. If it needs the time, raise the build's timeout.")
}

/// Does what blocks on the disk beside the asynchronous work.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let _inside = runtime.enter();
        work()
    })
    .await
    .map_err(|error| Error::bug(format!("a worker of a build died: {error}")))?
}
