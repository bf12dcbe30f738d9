//! How a request is going to be built: by which Dockerfile, the user's or a
//! generated one, and with which layout of the context.

use data_encoding::HEXLOWER;
use nonna_engine::ports::builder::BuildRequest;
use nonna_engine::{Code, Error, Result};
use nonna_model::context::{ContextManifest, EntryKind, printable};
use sha2::{Digest, Sha256};

use super::dockerfile::Dockerfile;
use crate::context::{ContextStore, ExtraFile, TarOptions};
use crate::detect::{self, Overrides, SOURCE_FOLDER, Settings, Tree};
use crate::storage::commands;

/// The largest Dockerfile that is read.
const MAX_DOCKERFILE: u64 = 1024 * 1024;
/// What a Dockerfile is called.
const DOCKERFILE: &str = "Dockerfile";
/// Part of every key: raised when the same source would be built otherwise.
const GENERATION: &str = "1";

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
        let given = request.source.dockerfile.as_deref();
        let path = given.map_or(DOCKERFILE, |path| path.strip_prefix("./").unwrap_or(path));
        if let Some(text) = contexts.read_file(&manifest, path, MAX_DOCKERFILE)? {
            return Ok(Self {
                builder: DOCKERFILE.to_owned(),
                dockerfile: Dockerfile::new(path, &String::from_utf8_lossy(&text), false),
                layout: TarOptions::default(),
                explanation: vec![format!("building with {}", printable(path))],
                commands: commands(&String::from_utf8_lossy(&text)),
            });
        }
        if given.is_some() {
            return Err(no_dockerfile(path, &manifest));
        }
        let read = |path: &str| contexts.read_file(&manifest, path, detect::MAX_FILE);
        let tree = Tree::new(&manifest, &read);
        let settings = Settings {
            port: request.port,
            extra_ca,
            cache,
            overrides: Overrides::default(),
        };
        let plan = detect::detect(&tree, &settings)?;
        let mut extra = plan.files.clone();
        extra.push(ExtraFile {
            path: DOCKERFILE.to_owned(),
            content: plan.dockerfile.clone().into(),
        });
        Ok(Self {
            builder: plan.name.to_owned(),
            dockerfile: Dockerfile::new(DOCKERFILE, &plan.dockerfile, true),
            layout: TarOptions {
                prefix: format!("{SOURCE_FOLDER}/"),
                extra,
                without_hidden: plan.without_hidden,
            },
            explanation: plan.explanation(),
            commands: commands(&plan.dockerfile),
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

fn no_dockerfile(path: &str, manifest: &ContextManifest) -> Error {
    let error = Error::user(
        Code::NothingToBuild,
        format!(
            "There is no Dockerfile at `{}` in the build context.",
            printable(path)
        ),
    );
    let mut others: Vec<&str> = manifest
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .map(|entry| entry.path.as_str())
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            name.contains("dockerfile") && !name.ends_with(".dockerignore")
        })
        .collect();
    others.truncate(3);
    if others.is_empty() {
        error.hint("Mend the path (it is relative to the folder that is built), and see that `.dockerignore` does not leave it out.")
    } else {
        error.hint(format!("Did you mean `{}`?", others.join("` or `")))
    }
}
