//! How a request is going to be built: by which Dockerfile, the user's or a
//! generated one, and with which layout of the context.

use data_encoding::HEXLOWER;
use nonna_engine::Result;
use nonna_engine::ports::builder::BuildRequest;
use nonna_model::build::{BuildPlan, DOCKERFILE};
use nonna_model::context::printable;
use nonna_model::service::BuildSource;
use sha2::{Digest, Sha256};

use super::dockerfile::Dockerfile;
use crate::context::{ContextStore, ExtraFile, TarOptions};
use crate::detect::{self, Asked, How, Overrides, SOURCE_FOLDER, Settings, Tree};
use crate::storage::commands;

/// Part of every key: raised when the same source would be built otherwise.
const GENERATION: &str = "1";

/// How source would be built, in words. Blocks on the disk.
pub(super) fn explain(contexts: &ContextStore, source: &BuildSource, port: Option<u16>) -> Result<BuildPlan> {
    let manifest = contexts.manifest(&source.context)?;
    let read = |path: &str| contexts.read_file(&manifest, path, detect::MAX_FILE);
    let tree = Tree::new(&manifest, &read);
    detect::explain(&tree, source, port)
}

/// How to build.
pub(super) struct Recipe {
    /// What builds it: `Dockerfile`, `python` …
    pub(super) builder: String,
    /// The Dockerfile.
    pub(super) dockerfile: Dockerfile,
    /// How the context is laid out for it.
    pub(super) layout: TarOptions,
    /// Why it is built so, a line each.
    pub(super) explanation: Vec<String>,
    /// The commands of its steps.
    pub(super) commands: Vec<String>,
    /// The images that it begins from.
    pub(super) bases: Vec<String>,
}

impl Recipe {
    /// Decides. Blocks on the disk.
    pub(super) fn of(
        contexts: &ContextStore,
        request: &BuildRequest,
        extra_ca: bool,
        cache: String,
    ) -> Result<Self> {
        let manifest = contexts.manifest(&request.source.context)?;
        let read = |path: &str| contexts.read_file(&manifest, path, detect::MAX_FILE);
        let tree = Tree::new(&manifest, &read);
        let settings = Settings {
            port: request.port,
            extra_ca,
            cache,
            overrides: Overrides::from(&*request.source.overrides),
            secrets: request.source.secrets.clone(),
        };
        let plan = match detect::decide(&tree, Asked::from(&request.source), &settings)? {
            How::Detected(plan) => plan,
            How::Dockerfile { path, text, .. } => {
                return Ok(Self {
                    builder: DOCKERFILE.to_owned(),
                    dockerfile: Dockerfile::new(&path, &text, false),
                    layout: TarOptions::default(),
                    explanation: vec![format!("building with {}", printable(&path))],
                    commands: commands(&text),
                    bases: detect::base_images_of(&text),
                });
            }
        };
        let mut extra = plan.files.clone();
        extra.push(ExtraFile {
            path: DOCKERFILE.to_owned(),
            content: plan.dockerfile.clone().into(),
        });
        Ok(Self {
            builder: plan.name.to_owned(),
            dockerfile: Dockerfile::new(DOCKERFILE, &plan.dockerfile, true)
                .using(plan.versions.iter().map(ToString::to_string)),
            layout: TarOptions {
                prefix: format!("{SOURCE_FOLDER}/"),
                extra,
                without_hidden: plan.without_hidden,
            },
            explanation: plan.explanation(),
            commands: commands(&plan.dockerfile),
            bases: plan.base_images,
        })
    }

    /// A digest over all that decides what the image holds.
    pub(super) fn key(&self, request: &BuildRequest) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &[u8]| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        add(GENERATION.as_bytes());
        // Plain data: it can be serialised, and always in the same way.
        add(&serde_json::to_vec(&request.source.inputs()).unwrap_or_default());
        if self.dockerfile.generated {
            for file in &self.layout.extra {
                add(file.path.as_bytes());
                add(&file.content);
            }
        }
        format!("sha256:{}", HEXLOWER.encode(&hash.finalize()))
    }
}
