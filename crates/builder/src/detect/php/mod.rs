//! PHP, with Composer, served by Apache.

mod composer;
mod extensions;
mod server;
#[cfg(test)]
mod tests;

use nonna_engine::Result;
use nonna_model::context::printable;

use self::composer::Composer;
use super::compiled::is_plain;
use super::javascript::JavaScript;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::{Tree, unclear};
use super::version::{self, Version, asked, is_numbers};
use super::writer::{USER, Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};

/// Releases of PHP; the first one is what apps get that do not ask for one.
const PHPS: [&str; 5] = ["8.4", "8.3", "8.5", "8.2", "8.1"];
/// What Composer itself is taken from.
const COMPOSER: &str = "composer:2";
/// What knows how each extension is compiled and which libraries it needs.
const INSTALLER: &str = "mlocati/php-extension-installer:2";
const DOWNLOADS: Cache = Cache::shared("composer", "/root/.cache/composer");
/// Where pages are looked for: the first that has an `index.php`.
const ROOTS: [&str; 8] = ["public", "web", "webroot", "pub", "www", "htdocs", "docroot", ""];

/// A `composer.json`, or an `index.php`.
pub(super) struct Php;

/// What an app is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framework {
    Laravel,
    Symfony,
    WordPress,
    Drupal,
    None,
}

impl Framework {
    fn of(tree: &Tree<'_>, composer: &Composer) -> Self {
        if composer.has("laravel/framework") && tree.has("artisan") {
            Self::Laravel
        } else if composer.has("symfony/framework-bundle") && tree.has("bin/console") {
            Self::Symfony
        } else if composer.has("drupal/core") || composer.has("drupal/core-recommended") {
            Self::Drupal
        } else if tree.has("wp-load.php") || tree.has("wp-settings.php") || composer.has("roots/wordpress") {
            Self::WordPress
        } else {
            Self::None
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Laravel => Some("Laravel"),
            Self::Symfony => Some("Symfony"),
            Self::WordPress => Some("WordPress"),
            Self::Drupal => Some("Drupal"),
            Self::None => None,
        }
    }

    /// What tells it that this is no developer's machine, and that its log is
    /// the container's.
    fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Laravel => &[("APP_ENV", "production"), ("LOG_CHANNEL", "stderr")],
            Self::Symfony => &[("APP_ENV", "prod"), ("APP_DEBUG", "0")],
            _ => &[],
        }
    }

    /// The folders that it writes to and seldom has in its repository.
    fn writes(self) -> &'static [&'static str] {
        match self {
            Self::Laravel => &[
                "storage/app/public",
                "storage/framework/cache/data",
                "storage/framework/sessions",
                "storage/framework/views",
                "storage/logs",
                "bootstrap/cache",
            ],
            Self::Symfony => &["var/cache", "var/log"],
            _ => &[],
        }
    }
}

impl Detector for Php {
    fn name(&self) -> &'static str {
        "php"
    }

    fn looks_for(&self) -> &'static str {
        "composer.json, or index.php at the top or in public/, web/, webroot/, pub/, www/, htdocs/ or docroot/"
    }

    fn reference(&self) -> Reference {
        let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
        Reference {
            title: "PHP",
            managers: vec![row(
                "Composer",
                "`composer.json`",
                "`composer install --no-dev`, which takes what `composer.lock` names",
            )],
            frameworks: vec![
                row(
                    "Laravel",
                    "`laravel/framework` and `artisan`",
                    "the packages' scripts, `npm run build`; Apache with `public/`. Has pdo_mysql, pdo_pgsql, pcntl and (without Predis) redis",
                ),
                row(
                    "Symfony",
                    "`symfony/framework-bundle` and `bin/console`",
                    "the packages' scripts, `asset-map:compile` with AssetMapper, `npm run build`; Apache with `public/`",
                ),
                row(
                    "WordPress",
                    "`wp-load.php`, or `roots/wordpress`",
                    "Apache; has exif, gd, intl, mysqli and zip",
                ),
                row("Drupal", "`drupal/core`", "Apache with `web/`; has gd, pdo_mysql and pdo_pgsql"),
                row(
                    "any other (Slim, CakePHP, CodeIgniter, plain pages …)",
                    "`index.php`",
                    "Apache with the folder that has it",
                ),
            ],
            version: format!(
                "`.php-version`, `mise.toml`, `.tool-versions` (`php`); then the first of {} that `require.php` of \
                 composer.json and of every locked package allows.",
                PHPS.join(", ")
            ),
            start: vec![
                "`web` in the `Procfile`; `heroku-php-apache2 FOLDER` and `heroku-php-nginx FOLDER` name the folder of pages".into(),
                format!(
                    "Apache, with the first folder that has an `index.php`: {}, the top",
                    ROOTS.iter().filter(|root| !root.is_empty()).map(|root| format!("`{root}/`")).collect::<Vec<_>>().join(", ")
                ),
            ],
            images: format!(
                "`php:VERSION-apache` builds and runs, without its compilers; `{COMPOSER}` and, for extensions, `{INSTALLER}` lend a program."
            ),
            caches: "Composer's downloads.".into(),
            notes: vec![
                "Extensions are those that `ext-…` of composer.json and of the locked packages names, beside what the image has.".into(),
                "`.htaccess` counts. In a folder of pages, or with a composer.json, `index.php` answers for every address that is no file.".into(),
                format!("`WEB_CONCURRENCY` is how many requests are answered at the same time ({} if it is not set).", server::CONCURRENCY),
                "A `package.json` with a `build` script beside it is built too.".into(),
                "Migrations are the app's: a line `release: php artisan migrate --force` in the Procfile.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        let index = ROOTS
            .iter()
            .map(|root| tree.place(root).at("index.php"))
            .find(|path| tree.has(path));
        let manifest = tree.has("composer.json");
        Ok(match (manifest, index) {
            (true, Some(index)) => Some(Sign::new(Strength::App, format!("composer.json and {index}"))),
            (true, None) => Some(Sign::new(Strength::Packages, "composer.json")),
            (false, Some(index)) => Some(Sign::new(Strength::App, index)),
            (false, None) => None,
        })
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let composer = Composer::read(tree)?;
        let framework = Framework::of(tree, &composer);
        let version = choose(tree, &composer)?;
        let mut notes = Vec::new();
        let serving = serving(tree, settings, &mut notes)?;
        let (extensions, unknown) = extensions::added(framework, &composer);
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.iter().map(|name| printable(name)).collect();
            notes.push(format!("no extension of PHP can be called {}", names.join(", ")));
        }
        if composer.exists && !composer.is_locked && composer.has_work {
            notes.push("no composer.lock: every build may get other packages; commit the file".to_owned());
        }
        match framework {
            Framework::Laravel => {
                notes.push("the app needs the secret APP_KEY when it runs (`php artisan key:generate --show` makes one)".to_owned());
            }
            Framework::Symfony => {
                notes.push(
                    "the app needs the secret APP_SECRET when it runs, where its settings use it".to_owned(),
                );
            }
            _ => {}
        }
        if !extensions.is_empty() {
            notes.push(format!("extensions beside PHP's own: {}", extensions.join(", ")));
        }
        let javascript = JavaScript::read(tree, "")?.filter(|one| one.has_script("build"));
        let mut versions = vec![version.clone()];
        versions.extend(javascript.iter().flat_map(JavaScript::versions));
        let by = if !composer.exists {
            serving.index()
        } else if composer.is_locked {
            "composer.json, composer.lock".to_owned()
        } else {
            "composer.json".to_owned()
        };
        let controller = !serving.root.as_deref().unwrap_or_default().is_empty() || composer.exists;
        let files = serving
            .root
            .as_deref()
            .map(|root| server::files(root, controller))
            .unwrap_or_default();
        let recipe = Recipe {
            tree,
            settings,
            composer: &composer,
            framework,
            image: format!("php:{}-apache", version.version),
            extensions: &extensions,
            javascript: javascript.as_ref(),
        };
        let mut plan = Plan::new(self.name(), by, recipe.write(serving));
        plan.framework = framework.name().map(str::to_owned);
        plan.versions = versions;
        plan.files = files;
        plan.notes = notes;
        Ok(plan)
    }
}

/// What answers requests.
struct Serving {
    /// The folder of pages, for Apache; `None`: the app serves itself.
    root: Option<String>,
    /// A program of Heroku's buildpack, by which the Procfile starts it.
    program: Option<String>,
    start: Start,
    rule: String,
}

impl Serving {
    fn apache(root: &str, rule: impl Into<String>) -> Self {
        Self {
            root: Some(root.to_owned()),
            program: None,
            start: server::start(),
            rule: rule.into(),
        }
    }

    /// The page that was found.
    fn index(&self) -> String {
        match self.root.as_deref() {
            None | Some("") => "index.php".to_owned(),
            Some(root) => format!("{root}/index.php"),
        }
    }
}

/// The Procfile's word first, then the pages.
fn serving(tree: &Tree<'_>, settings: &Settings, notes: &mut Vec<String>) -> Result<Serving> {
    const RULE: &str = "`web` in the Procfile";
    if let Some(procfile) = Procfile::read(tree)? {
        notes.extend(procfile.notes());
        if let Some(web) = procfile.web {
            return Ok(match buildpack_root(&web.to_string()) {
                Some(root) => Serving {
                    program: web.to_string().split_whitespace().next().map(str::to_owned),
                    ..Serving::apache(&root, format!("{RULE}, which names the folder of pages"))
                },
                None => Serving {
                    root: None,
                    program: None,
                    start: web,
                    rule: RULE.to_owned(),
                },
            });
        }
    }
    let found = ROOTS
        .iter()
        .find(|root| tree.has(&tree.place(root).at("index.php")));
    if let Some(root) = found {
        let index = tree.place(root).at("index.php");
        return Ok(Serving::apache(root, format!("there is {index}")));
    }
    given_start(settings)
        .map(|(start, rule)| Serving {
            root: None,
            program: None,
            start,
            rule,
        })
        .ok_or_else(|| {
            incomplete(
                "This is PHP (composer.json), but nothing says how to start it.",
                "Add a public/index.php, or a line `web: COMMAND` to a Procfile.",
            )
        })
}

/// The folder of pages in a line for the programs of Heroku's buildpack, which
/// are in no image: `vendor/bin/heroku-php-apache2 -C apache.conf public/`.
fn buildpack_root(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let program = words.next()?;
    if !matches!(
        program.strip_prefix("vendor/bin/").unwrap_or(program),
        "heroku-php-apache2" | "heroku-php-nginx"
    ) {
        return None;
    }
    let mut root = "";
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            // All its options but these have a value.
            if !matches!(word, "-v" | "--verbose" | "-t" | "-tt" | "--test") && !word.contains('=') {
                words.next();
            }
        } else {
            root = word.trim_start_matches("./").trim_end_matches('/');
        }
    }
    let harmless = root.is_empty() || root.split('/').all(|part| is_plain(part) && part != "..");
    harmless.then(|| root.to_owned())
}

/// The release of PHP.
fn choose(tree: &Tree<'_>, composer: &Composer) -> Result<Version> {
    const WHAT: &str = "PHP";
    if let Some(asked) = asked(tree, &[".php-version"], &["php"])? {
        let version = asked.version.trim_start_matches("php-").to_owned();
        if !is_numbers(&version) || version.split('.').count() > 3 {
            return Err(asked.is_no_version_of(WHAT, "Write a version such as `8.4` or `8.4.1`."));
        }
        return Ok(Version::new(WHAT, version, asked.why()));
    }
    let fits_all = |line: &&str| composer.ranges.iter().all(|range| range.fits_newest_of(line));
    let Some(text) = &composer.php else {
        return Ok(match PHPS.iter().find(|line| fits_all(line)) {
            Some(line) if !composer.ranges.is_empty() => {
                Version::new(WHAT, *line, "the packages of composer.lock allow it")
            }
            _ => Version::new(WHAT, PHPS[0], "nothing asks for another"),
        });
    };
    let own = version::Range::parse(text, version::Dialect::Composer);
    let found = own.as_ref().and_then(|range| {
        PHPS.iter()
            .copied()
            .find(fits_all)
            .or_else(|| version::choose(&PHPS, range))
            .map(str::to_owned)
            .or_else(|| range.named())
    });
    found
        .map(|found| {
            Version::new(
                WHAT,
                found,
                format!("`require.php` in composer.json is `{}`", printable(text)),
            )
        })
        .ok_or_else(|| {
            unclear(
                "composer.json",
                &format!(
                    "`require.php` is `{}`, which none of {} fits",
                    printable(text),
                    PHPS.join(", ")
                ),
                "Widen the range, or name the version in `.php-version`.",
            )
        })
}

/// What a Dockerfile is written from.
struct Recipe<'a> {
    tree: &'a Tree<'a>,
    settings: &'a Settings,
    composer: &'a Composer,
    framework: Framework,
    image: String,
    extensions: &'a [String],
    javascript: Option<&'a JavaScript>,
}

impl Recipe<'_> {
    fn write(&self, serving: Serving) -> Written {
        let mut writer = Writer::new(self.settings);
        if let Some(javascript) = self.javascript {
            javascript.stage(&mut writer);
        }
        // Both stages have the extensions: Composer looks for them too.
        writer.shared_stage(&self.image, "runtime");
        if !self.extensions.is_empty() {
            writer
                .copy_from_image(INSTALLER, "/usr/bin/install-php-extensions", "/usr/local/bin/")
                .run_trusting(&format!("install-php-extensions {}", self.extensions.join(" ")));
        }
        let builds =
            self.composer.exists || self.javascript.is_some() || self.settings.overrides.build.is_some();
        if builds {
            self.build(&mut writer);
        }
        let port = self.settings.port().to_string();
        writer
            .final_stage_from("runtime", &self.image)
            // No app needs the compilers that the image brings for extensions.
            .run(
                &[],
                "if [ -n \"$PHPIZE_DEPS\" ]; then apt-get purge -y -qq --auto-remove $PHPIZE_DEPS >/dev/null; fi",
            )
            .add_user("/app")
            .environment(&[("PORT", &port), ("WEB_CONCURRENCY", server::CONCURRENCY)]);
        if !self.framework.variables().is_empty() {
            writer.environment(self.framework.variables());
        }
        if serving.root.is_some() {
            writer
                .line(&format!("COPY {} {}", server::APACHE, server::APACHE_IN_IMAGE))
                .line(&format!("COPY {} {}", server::PHP, server::PHP_IN_IMAGE));
        }
        writer.line("WORKDIR /app");
        if let Some(program) = &serving.program {
            self.stand_in_for(&mut writer, program);
        }
        if builds {
            writer.copy_from("build", "/app", "./", Some(USER));
        } else {
            writer
                .copy_source_for(USER)
                .run(&[], &format!("chown {USER}:{USER} /app"));
        }
        // Apache's own image is stopped by a signal that no worker knows. By
        // SIGTERM every process type ends at once; requests were drained before.
        writer.line("STOPSIGNAL SIGTERM").line("ENTRYPOINT []");
        writer.finish(USER, serving.start, serving.rule)
    }

    /// The Procfile's line is what replicas are started by, so its program has
    /// to be there: the buildpack that has it is not.
    fn stand_in_for(&self, writer: &mut Writer<'_>, program: &str) {
        let name = program.rsplit('/').next().unwrap_or(program);
        let place = format!("/usr/local/bin/{name}");
        let exec = format!("exec {}", server::start());
        writer.run(
            &[],
            &format!("printf '#!/bin/sh\\n{exec}\\n' >{place} && chmod 755 {place}"),
        );
        if program != name {
            writer.run(&[], &format!("mkdir -p vendor/bin && ln -sf {place} {program}"));
        }
    }

    fn build(&self, writer: &mut Writer<'_>) {
        const INSTALL: &str = "composer install --no-dev --prefer-dist --no-progress --no-interaction";
        writer
            .build_stage_from("runtime", "build")
            .line("WORKDIR /app")
            .environment(&[
                ("COMPOSER_ALLOW_SUPERUSER", "1"),
                ("COMPOSER_CACHE_DIR", DOWNLOADS.folder),
            ]);
        let variables = self.framework.variables();
        if !variables.is_empty() {
            writer.environment(variables);
        }
        let early = self.composer.needs_source || writer.install_is_overruled();
        if self.composer.exists {
            let git = if self.composer.needs_git { " git" } else { "" };
            writer
                .run(
                    &[],
                    &format!(
                        "apt-get update -qq && apt-get install -y -qq --no-install-recommends unzip{git} >/dev/null && rm -rf /var/lib/apt/lists/*"
                    ),
                )
                .copy_from_image(COMPOSER, "/usr/bin/composer", "/usr/bin/composer");
            if early {
                writer.copy_source();
            } else {
                writer.copy_files(&Composer::files(self.tree), "./");
            }
            writer.install(
                &[DOWNLOADS],
                &format!("{INSTALL} --no-scripts --no-autoloader"),
                if self.composer.is_locked {
                    "composer.lock names the packages"
                } else {
                    "composer.json names the packages"
                },
            );
        }
        if let Some(javascript) = self.javascript {
            javascript.install(writer);
        }
        if !(early && self.composer.exists) {
            writer.copy_source();
        }
        let folders = self.framework.writes();
        if !folders.is_empty() {
            writer.run(&[], &format!("mkdir -p {}", folders.join(" ")));
        }
        if self.composer.exists && !writer.install_is_overruled() {
            // Now that the source is there: its autoloader, and its scripts.
            writer.run(&[DOWNLOADS], &format!("{INSTALL} --optimize-autoloader"));
        }
        self.assets(writer);
        writer.run(&[], "rm -rf node_modules .git");
    }

    /// Compiles what browsers get.
    fn assets(&self, writer: &mut Writer<'_>) {
        let mut commands = Vec::new();
        let mut reasons = Vec::new();
        let mut caches = vec![DOWNLOADS];
        if self.framework == Framework::Symfony && self.composer.has("symfony/asset-mapper") {
            commands.push("php bin/console asset-map:compile".to_owned());
            reasons.push("`symfony/asset-mapper` is among the packages".to_owned());
        }
        if let Some(javascript) = self.javascript {
            let (command, why, cache) = javascript.script("build");
            commands.push(command);
            reasons.push(why);
            caches.push(cache);
        }
        writer.build(&caches, &commands.join(" && "), &reasons.join(", and "));
    }
}
