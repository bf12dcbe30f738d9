//! Hugo.

use nonna_engine::Result;

use super::super::javascript::JavaScript;
use super::super::tree::Tree;
use super::super::web_server;
use super::super::writer::Writer;
use super::super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength};
use super::{field, release};

/// Settings that are Hugo's by their name.
const OWN: [&str; 8] = [
    "hugo.toml",
    "hugo.yaml",
    "hugo.yml",
    "hugo.json",
    "config/_default/hugo.toml",
    "config/_default/hugo.yaml",
    "config/_default/config.toml",
    "config/_default/config.yaml",
];
/// Settings of older sites, which others use too.
const OLD: [&str; 4] = ["config.toml", "config.yaml", "config.yml", "config.json"];
/// What a site has beside them.
const FOLDERS: [&str; 4] = ["content", "layouts", "archetypes", "themes"];
const CACHE: Cache = Cache::locked("hugo", "/root/.cache/hugo");

/// A `hugo.toml`.
pub(in super::super) struct Hugo;

/// The site's settings.
fn settings_of(tree: &Tree<'_>) -> Result<Option<&'static str>> {
    if let Some(file) = tree.first(&OWN) {
        return Ok(Some(file));
    }
    let Some(file) = tree.first(&OLD) else {
        return Ok(None);
    };
    let text = tree.text(file)?.unwrap_or_default();
    let is_hugo = FOLDERS.iter().any(|folder| tree.has_folder(folder))
        && text.lines().any(|line| {
            let line = line.trim_start_matches([' ', '{', '"']);
            line.get(..7)
                .is_some_and(|start| start.eq_ignore_ascii_case("baseurl"))
        });
    Ok(is_hugo.then_some(file))
}

impl Detector for Hugo {
    fn name(&self) -> &'static str {
        "hugo"
    }

    fn looks_for(&self) -> &'static str {
        "hugo.toml (.yaml, .json), or config.toml with a `baseURL` beside content/, layouts/, archetypes/ or themes/"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Hugo",
            version: "`.hugo-version`, `mise.toml`, `.tool-versions` (`hugo`, `gohugo`), `HUGO_VERSION` in netlify.toml: all three numbers; else the newest.".into(),
            start: vec!["the pages, by nginx: `publishDir`, else `public`".into()],
            images: "`ghcr.io/gohugoio/hugo:vVERSION` (the extended edition, with Go, Node.js and Dart Sass) builds; nginx serves.".into(),
            caches: "Hugo's modules and resources; the package manager's.".into(),
            notes: vec![
                "`hugo --gc --minify` builds; the packages of a `package.json` are installed before.".into(),
                "A theme that is a submodule of git has to be among the files that are sent.".into(),
                "There is no `.git` in a build: dates come from the pages' own fields.".into(),
            ],
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
            "Hugo",
            &[".hugo-version"],
            &["hugo", "gohugo"],
            "HUGO_VERSION",
            "latest",
        )?;
        let image = match version.version.as_str() {
            "latest" => "ghcr.io/gohugoio/hugo:latest".to_owned(),
            version => format!("ghcr.io/gohugoio/hugo:v{version}"),
        };
        let mut notes = Vec::new();
        if let Some(theme) = field(&text, "theme")
            && !tree.has_folder(&format!("themes/{theme}"))
            && !theme.contains('.')
        {
            notes.push(format!(
                "the theme `{theme}` is not in themes/: if it is a submodule, run `git submodule update --init`"
            ));
        }
        let javascript = JavaScript::read(tree, "")?;
        let mut writer = Writer::new(settings);
        writer
            .build_stage(&image, "build")
            // The image's own user may not write here.
            .line("USER root")
            .line("WORKDIR /app")
            .environment(&[("HUGO_CACHEDIR", CACHE.folder), ("HUGO_ENABLEGITINFO", "false")]);
        let early = writer.install_is_overruled();
        if let Some(javascript) = &javascript {
            // This image has Node.js.
            javascript.install_packages(&mut writer);
        } else if early {
            writer.copy_source().install(&[CACHE], "", "");
        }
        if !(early && javascript.is_none()) {
            writer.copy_source();
        }
        writer.build(&[CACHE], "hugo --gc --minify", &format!("there is {file}"));
        let folder = field(&text, "publishDir").unwrap_or_else(|| "public".to_owned());
        let (written, config) = web_server::serve_site(writer, settings, &folder, "Hugo");
        let mut plan = Plan::new(self.name(), file, written);
        plan.framework = Some("Hugo".to_owned());
        plan.versions = vec![version];
        plan.files = vec![config];
        plan.notes = notes;
        Ok(plan)
    }
}
