//! Jekyll: sites whose generator is a gem.

use nonna_engine::Result;

use super::super::tree::Tree;
use super::super::web_server;
use super::super::writer::Writer;
use super::super::{Detector, Plan, Reference, Settings, Sign, Strength};
use super::gems::Gems;
use super::{bundler, install_gems};
use crate::context::ExtraFile;

const CONFIG: [&str; 2] = ["_config.yml", "_config.yaml"];
/// What a site has that needs no Gemfile, because GitHub builds it.
const FOLDERS: [&str; 3] = ["_posts", "_layouts", "_includes"];
/// The Gemfile of such a site.
const GENERATED: &str = "Gemfile.generated";
const GEMFILE: &str = "source \"https://rubygems.org\"\ngem \"github-pages\", group: :jekyll_plugins\n";

/// A `_config.yml` of Jekyll's.
pub(in super::super) struct Jekyll;

impl Detector for Jekyll {
    fn name(&self) -> &'static str {
        "jekyll"
    }

    fn looks_for(&self) -> &'static str {
        "_config.yml with `jekyll` or `github-pages` in the Gemfile, or beside _posts/, _layouts/ or _includes/"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Jekyll",
            managers: vec![[
                "Bundler".into(),
                "`Gemfile`; without one, the gem `github-pages`".into(),
                "`bundle install`, which may not change `Gemfile.lock`".into(),
            ]],
            version: "as for [Ruby](#ruby).".into(),
            start: vec!["the pages, by nginx: `destination`, else `_site`".into()],
            images: "`ruby:VERSION` builds; nginx serves.".into(),
            caches: "Gems, with what was compiled of them.".into(),
            notes: vec!["`bundle exec jekyll build` builds, with `JEKYLL_ENV=production`.".into()],
            ..Reference::default()
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        let Some(config) = tree.first(&CONFIG) else {
            return Ok(None);
        };
        let is_site = if tree.has("Gemfile") {
            // A Gemfile that cannot be understood is Ruby's to report.
            Gems::read(tree).is_ok_and(|gems| gems.has_any(&["jekyll", "github-pages"]))
        } else {
            FOLDERS.iter().any(|folder| tree.has_folder(folder))
        };
        Ok((is_site && !tree.has("config.ru")).then(|| Sign::new(Strength::App, config)))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let mut gems = Gems::read(tree)?;
        let version = gems.version(tree)?;
        let file = tree.first(&CONFIG).unwrap_or(CONFIG[0]);
        let text = tree.text(file)?.unwrap_or_default();
        let has_gemfile = tree.has("Gemfile");
        let mut notes = Vec::new();
        super::notes(tree, &gems, super::Framework::None, &mut notes);
        if !has_gemfile {
            gems.generated = Some(GENERATED);
            notes = vec![
                "there is no Gemfile, so it is built with the gem `github-pages`, as GitHub does".to_owned(),
            ];
        }
        let mut writer = Writer::new(settings);
        let variables = [
            ("JEKYLL_ENV", "production"),
            ("LANG", "C.UTF-8"),
            // The plugins of GitHub Pages ask git for it, which is not there.
            ("PAGES_REPO_NWO", "site/site"),
        ];
        let common = bundler(&variables, &gems);
        let early = install_gems(&mut writer, tree, &gems, &version, &common);
        if !early {
            writer.copy_source();
        }
        writer.build(&[], "bundle exec jekyll build", &format!("there is {file}"));
        let folder = super::super::sites::field(&text, "destination").map_or_else(
            || "_site".to_owned(),
            |folder| folder.trim_start_matches("./").to_owned(),
        );
        let (written, page_server) = web_server::serve_site(writer, settings, &folder, "Jekyll");
        let found = match (has_gemfile, gems.is_locked) {
            (true, true) => format!("{file}, Gemfile, Gemfile.lock"),
            (true, false) => format!("{file}, Gemfile"),
            (false, _) => file.to_owned(),
        };
        let mut plan = Plan::new(self.name(), found, written);
        plan.framework = Some("Jekyll".to_owned());
        plan.versions = vec![version];
        plan.files = vec![page_server];
        if !has_gemfile {
            plan.files.push(ExtraFile {
                path: GENERATED.to_owned(),
                content: GEMFILE.into(),
            });
        }
        plan.notes = notes;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{golden, plan};

    #[test]
    fn the_gemfile_says_what_builds() {
        insta::assert_snapshot!(golden(&[
            ("_config.yml", "title: A site\ndestination: ./out\n"),
            (
                "Gemfile",
                "source 'https://rubygems.org'\ngem 'jekyll', '~> 4.3'\n"
            ),
            (
                "Gemfile.lock",
                "GEM\n  specs:\n    jekyll (4.3.4)\n\nPLATFORMS\n  ruby\n"
            ),
            ("index.md", ""),
        ]));
    }

    #[test]
    fn without_a_gemfile_it_is_built_as_github_does() {
        let plan = plan(&[("_config.yml", "title: x\n"), ("_posts/2026-01-01-a.md", "")]).unwrap();
        assert_eq!(plan.name, "jekyll");
        assert!(
            plan.dockerfile.contains("COPY Gemfile.generated ./Gemfile\n"),
            "{}",
            plan.dockerfile
        );
        assert!(plan.files.iter().any(|file| file.path == "Gemfile.generated"));
    }

    #[test]
    fn an_app_is_no_site() {
        let files = [
            ("_config.yml", ""),
            ("Gemfile", "gem 'sinatra'\n"),
            ("config.ru", ""),
        ];
        assert_eq!(plan(&files).unwrap().name, "ruby");
    }
}
