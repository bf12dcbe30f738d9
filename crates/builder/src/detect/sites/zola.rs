//! Zola.

use nonna_engine::Result;

use super::super::compiled::DEBIAN;
use super::super::tree::Tree;
use super::super::web_server;
use super::super::writer::Writer;
use super::super::{Detector, Plan, Reference, Settings, Sign, Strength};
use super::{field, release};

/// Its images have no name for the newest one.
const NEWEST: &str = "0.21.0";

/// A `config.toml` or `zola.toml` of Zola's.
pub(in super::super) struct Zola;

fn settings_of(tree: &Tree<'_>) -> Result<Option<&'static str>> {
    if tree.has("zola.toml") {
        return Ok(Some("zola.toml"));
    }
    let text = tree.text("config.toml")?.unwrap_or_default();
    let is_zola = (tree.has_folder("content") || tree.has_folder("templates"))
        && text
            .lines()
            .any(|line| line.split('=').next().is_some_and(|key| key.trim() == "base_url"));
    Ok(is_zola.then_some("config.toml"))
}

impl Detector for Zola {
    fn name(&self) -> &'static str {
        "zola"
    }

    fn looks_for(&self) -> &'static str {
        "zola.toml, or config.toml with a `base_url` beside content/ or templates/"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Zola",
            version: format!(
                "`.zola-version`, `mise.toml`, `.tool-versions` (`zola`), `ZOLA_VERSION` in netlify.toml: all three numbers; else {NEWEST}."
            ),
            start: vec!["the pages, by nginx: `output_dir`, else `public`".into()],
            images: format!(
                "`ghcr.io/getzola/zola:vVERSION` lends its program to `{DEBIAN}`, which builds; nginx serves."
            ),
            notes: vec!["`zola build` builds. Links begin with the `base_url` of its settings.".into()],
            ..Reference::default()
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        Ok(settings_of(tree)?.map(|file| Sign::new(Strength::App, file)))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let file = settings_of(tree)?.unwrap_or("the folder");
        let text = tree.text(file)?.unwrap_or_default();
        let version = release(
            tree,
            "Zola",
            &[".zola-version"],
            &["zola"],
            "ZOLA_VERSION",
            NEWEST,
        )?;
        let mut writer = Writer::new(settings);
        // Zola's own image has no shell.
        writer
            .build_stage(DEBIAN, "build")
            .copy_from_image(
                &format!("ghcr.io/getzola/zola:v{}", version.version),
                "/bin/zola",
                "/usr/local/bin/zola",
            )
            .line("WORKDIR /app")
            .copy_source();
        if writer.install_is_overruled() {
            writer.install(&[], "", "");
        }
        writer.build(&[], "zola build", &format!("there is {file}"));
        let folder = field(&text, "output_dir").unwrap_or_else(|| "public".to_owned());
        let (written, config) = web_server::serve_site(writer, settings, &folder, "Zola");
        let mut plan = Plan::new(self.name(), file, written);
        plan.framework = Some("Zola".to_owned());
        plan.versions = vec![version];
        plan.files = vec![config];
        Ok(plan)
    }
}
