//! Ruby, with Bundler.

mod gems;
mod jekyll;
mod start;

#[cfg(test)]
mod tests;

use nonna_engine::Result;

use self::gems::{Gems, RUBIES};
pub(super) use self::jekyll::Jekyll;
use self::start::{Framework, SCRIPTS};
use super::compiled::{self, OUT};
use super::javascript::JavaScript;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::version::Version;
use super::writer::{USER, Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};

/// Where the image has its gems. The cache stands where Ruby's image has them.
const GEMS: &str = "/opt/bundle";
const BUNDLE: Cache = Cache::locked("bundle", "/usr/local/bundle");
const ASSETS: Cache = Cache::locked("rails-assets", "/app/tmp/cache/assets");
/// Gems that call programs or libraries by name, and Debian's packages of them.
const PACKAGES: [(&str, &str); 4] = [
    ("ruby-vips", "libvips42"),
    ("image_processing", "libvips42"),
    ("mini_magick", "imagemagick"),
    ("rmagick", "imagemagick"),
];

/// A `Gemfile` or `config.ru`.
pub(super) struct Ruby;

impl Detector for Ruby {
    fn name(&self) -> &'static str {
        "ruby"
    }

    fn looks_for(&self) -> &'static str {
        "Gemfile or config.ru"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Ruby",
            managers: vec![[
                "Bundler".into(),
                "`Gemfile`".into(),
                "`bundle install`, which may not change `Gemfile.lock`".into(),
            ]],
            frameworks: vec![
                [
                    "Rails".into(),
                    "the gem `rails` and `config/application.rb`".into(),
                    "`rails assets:precompile` with a `SECRET_KEY_BASE` that is none; Puma, else `rails server`"
                        .into(),
                ],
                [
                    "Hanami".into(),
                    "the gem `hanami` and `config.ru`".into(),
                    "`hanami assets compile`; the server among the gems".into(),
                ],
                [
                    "Sinatra".into(),
                    "the gem `sinatra`".into(),
                    "`config.ru` by the server among the gems, else the file that requires Sinatra".into(),
                ],
                [
                    "Rack (Roda, Grape …)".into(),
                    "`config.ru`".into(),
                    "Puma, Falcon, Unicorn, Thin or Passenger, else `rackup`".into(),
                ],
            ],
            version: format!(
                "`.ruby-version`, `mise.toml`, `.tool-versions` (`ruby`), the Gemfile's `ruby`, the lock's `RUBY VERSION`, \
                 else {}. A version file that the Gemfile contradicts is an error.",
                RUBIES[0]
            ),
            start: vec![
                "`web` in the `Procfile`".into(),
                "Rails or `config.ru`: the server among the gems, on `$PORT`".into(),
                "a file at the top with `require \"sinatra\"`".into(),
                SCRIPTS.join(", "),
            ],
            images: "`ruby:VERSION` builds, with its compilers and headers; `ruby:VERSION-slim` runs, with the libraries \
                     that the gems are linked to."
                .into(),
            caches: "Gems, with what was compiled of them; for Rails, compiled assets.".into(),
            notes: vec![
                "Groups `development` and `test` are left out.".into(),
                "A `package.json` beside it: its packages are installed before the assets are compiled.".into(),
                "Migrations are the app's: a line `release: bundle exec rails db:migrate` in the Procfile.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        if let Some(found) = tree.first(&["config.ru", "config/application.rb"]) {
            return Ok(Some(Sign::new(Strength::App, found)));
        }
        if !tree.has("Gemfile") {
            return Ok(None);
        }
        let starts = tree.first(&SCRIPTS).is_some() || tree.has("bin/rails");
        let strength = if starts { Strength::App } else { Strength::Packages };
        Ok(Some(Sign::new(strength, "Gemfile")))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        if !tree.has("Gemfile") {
            return Err(incomplete(
                "This is Ruby, but there is no Gemfile.",
                "Run `bundle init` and `bundle add rack puma`, and commit Gemfile and Gemfile.lock.",
            ));
        }
        let gems = Gems::read(tree)?;
        let version = gems.version(tree)?;
        let framework = Framework::of(tree, &gems);
        let mut notes = Vec::new();
        let found = match compiled::web(Procfile::read(tree)?, &mut notes) {
            Some((start, rule)) => Some((start, rule)),
            None => match start::find(tree, &gems, framework)? {
                Some((start, rule, note)) => {
                    notes.extend(note);
                    Some((start, rule))
                }
                None => given_start(settings),
            },
        };
        let (start, rule) = found.ok_or_else(|| {
            incomplete(
                "This is Ruby (Gemfile), but nothing says how to start it.",
                format!(
                    "Add a line `web: COMMAND` to a Procfile, a config.ru, or one of {}.",
                    SCRIPTS.join(", ")
                ),
            )
        })?;
        self::notes(tree, &gems, framework, &mut notes);
        let written = dockerfile(tree, settings, &gems, &version, framework, (start, rule))?;
        let by = if gems.is_locked {
            "Gemfile, Gemfile.lock"
        } else {
            "Gemfile"
        };
        let mut plan = Plan::new(self.name(), by, written);
        plan.framework = framework.name().map(str::to_owned);
        plan.versions = vec![version];
        if framework != Framework::None {
            plan.versions
                .extend(JavaScript::read(tree, "")?.iter().flat_map(JavaScript::versions));
        }
        plan.notes = notes;
        Ok(plan)
    }
}

/// What the user should know before the app is up.
fn notes(tree: &Tree<'_>, gems: &Gems, framework: Framework, notes: &mut Vec<String>) {
    if !gems.is_locked {
        notes.push("no Gemfile.lock: every build may get other gems; commit the file".to_owned());
    }
    if !gems.has_linux {
        notes.push(
            "Gemfile.lock is for no Linux machine: run `bundle lock --add-platform x86_64-linux aarch64-linux`"
                .to_owned(),
        );
    }
    if framework == Framework::Rails {
        notes.push(if tree.has("config/credentials.yml.enc") {
            "the app needs the secret RAILS_MASTER_KEY (config/master.key) when it runs".to_owned()
        } else {
            "the app needs the secret SECRET_KEY_BASE when it runs (`rails secret` makes one)".to_owned()
        });
        if gems.has("sqlite3") && !gems.has_any(&["pg", "mysql2", "trilogy"]) {
            notes.push("a SQLite file is gone with its replica unless it is on a volume".to_owned());
        }
    }
}

/// What Bundler is told while it installs and while the app runs.
fn bundler<'v>(variables: &[(&'v str, &'v str)], gems: &Gems) -> Vec<(&'v str, &'v str)> {
    let frozen: &[(&str, &str)] = if gems.is_locked {
        &[("BUNDLE_FROZEN", "1")]
    } else {
        &[]
    };
    variables
        .iter()
        .chain(&[("BUNDLE_WITHOUT", "development:test")])
        .chain(frozen)
        .copied()
        .collect()
}

/// The stage that has the gems, in [`GEMS`]. Whether the source is there
/// already, because the gems need it.
fn install_gems(
    writer: &mut Writer<'_>,
    tree: &Tree<'_>,
    gems: &Gems,
    version: &Version,
    common: &[(&str, &str)],
) -> bool {
    // What was compiled for one release is nothing to another.
    let gem_home = format!("{}/{}", BUNDLE.folder, version.version);
    writer
        .build_stage(&format!("ruby:{}", version.version), "build")
        .line("WORKDIR /app")
        .environment(common)
        .environment(&[
            ("GEM_HOME", &gem_home),
            ("BUNDLE_APP_CONFIG", GEMS),
            ("BUNDLE_SILENCE_ROOT_WARNING", "1"),
        ]);
    let early = gems.needs_source || writer.install_is_overruled();
    if early {
        writer.copy_source();
    } else {
        let mut files = gems.reads.clone();
        files.extend(
            ["Gemfile.lock", ".bundle/config"]
                .iter()
                .filter(|file| tree.has(file))
                .map(|file| (*file).to_owned()),
        );
        writer.copy_in_place(&files);
    }
    if let Some(file) = gems.generated {
        writer.line(&format!("COPY {file} ./Gemfile"));
    }
    writer.install(
        &[BUNDLE],
        "bundle install",
        if gems.is_locked {
            "Gemfile.lock names the gems"
        } else {
            "the Gemfile names the gems"
        },
    );
    // The cache has the gems of earlier locks too, which the image does not want.
    writer.run(
        &[BUNDLE],
        &format!(
            "mkdir -p {gem_home} && (bundle check >/dev/null || bundle install) && cp -a {gem_home}/. {GEMS} && GEM_HOME={GEMS} bundle clean --force >/dev/null && rm -rf {GEMS}/cache",
        ),
    );
    writer
        .environment(&[("GEM_HOME", GEMS), ("PATH", &format!("{GEMS}/bin:$PATH"))])
        .run(&[], &compiled::gather_libraries(GEMS));
    early
}

fn dockerfile(
    tree: &Tree<'_>,
    settings: &Settings,
    gems: &Gems,
    version: &Version,
    framework: Framework,
    (start, rule): (Start, String),
) -> Result<Written> {
    let port = settings.port();
    let javascript = JavaScript::read(tree, "")?.filter(|_| framework != Framework::None);
    let mut writer = Writer::new(settings);
    if let Some(javascript) = &javascript {
        javascript.stage(&mut writer);
    }
    let common = bundler(framework.variables(), gems);
    let early = install_gems(&mut writer, tree, gems, version, &common);
    if let Some(javascript) = &javascript {
        javascript.install(&mut writer);
    }
    if !early {
        writer.copy_source();
    }
    assets(&mut writer, tree, gems, framework, javascript.is_some());
    // What is only there to build, and the folders that apps write to.
    writer.run(
        &[],
        "rm -rf node_modules tmp/cache/assets .git && mkdir -p tmp/pids log",
    );
    writer
        .final_stage(&format!("ruby:{}-slim", version.version))
        .add_user("/app");
    let mut packages: Vec<&str> = PACKAGES
        .iter()
        .filter(|(gem, _)| gems.has(gem))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    if !packages.is_empty() {
        writer.line(&format!(
            "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends {} && rm -rf /var/lib/apt/lists/*",
            packages.join(" ")
        ));
    }
    writer
        .environment(&common)
        .line(&format!(
            "ENV GEM_HOME={GEMS} BUNDLE_APP_CONFIG={GEMS} PATH={GEMS}/bin:$PATH LD_LIBRARY_PATH=/usr/local/lib/app MALLOC_ARENA_MAX=2 PORT={port}"
        ))
        .copy_from("build", &format!("{OUT}/lib"), "/usr/local/lib/app", None)
        .copy_from("build", GEMS, GEMS, None)
        .copy_from("build", "/app", "/app", Some(USER))
        .line("WORKDIR /app");
    Ok(writer.finish(USER, start, rule))
}

/// Compiles what browsers get.
fn assets(writer: &mut Writer<'_>, tree: &Tree<'_>, gems: &Gems, framework: Framework, has_javascript: bool) {
    let is_rails = framework == Framework::Rails;
    let pipeline = gems.has_any(&[
        "sprockets-rails",
        "sprockets",
        "propshaft",
        "vite_rails",
        "shakapacker",
        "webpacker",
    ]);
    let has_assets =
        tree.has_folder("app/assets") || tree.has_folder("app/javascript") || tree.has_folder("app/frontend");
    if is_rails && gems.has("sprockets") {
        // Its cache goes by dates, which are all the same in a build context.
        writer.run(
            &[],
            "find . -path ./node_modules -prune -o -type f -exec touch {} +",
        );
    }
    if is_rails && pipeline && has_assets {
        // The app must load, and nothing that it encrypts now is kept.
        writer.build(
            &[ASSETS],
            "SECRET_KEY_BASE_DUMMY=1 SECRET_KEY_BASE=dummy bundle exec rails assets:precompile",
            "Rails has assets",
        );
    } else if framework == Framework::Hanami && has_javascript && gems.has("hanami-assets") {
        writer.build(&[], "bundle exec hanami assets compile", "Hanami has assets");
    } else {
        writer.build(&[], "", "");
    }
    if is_rails && gems.has("bootsnap") {
        writer.run(&[], "bundle exec bootsnap precompile --gemfile app/ lib/");
    }
}
