//! Elixir, with Mix.

mod project;

#[cfg(test)]
mod tests;

use nonna_engine::Result;

use self::project::Project;
use super::compiled;
use super::javascript::JavaScript;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::version::{Asked, Dialect, Range, Version, asked, choose, is_numbers};
use super::writer::{USER, Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};

/// Releases of Elixir; the first one is what apps get that do not ask for one.
const ELIXIRS: [&str; 8] = ["1.19", "1.20", "1.18", "1.17", "1.16", "1.15", "1.14", "1.13"];

const HEX: Cache = Cache::locked("hex", "/root/.hex");
const DEPS: Cache = Cache::locked("mix-deps", "/app/deps");
const BUILD: Cache = Cache::locked("mix-build", "/app/_build");

/// A `mix.exs`.
pub(super) struct Elixir;

impl Detector for Elixir {
    fn name(&self) -> &'static str {
        "elixir"
    }

    fn looks_for(&self) -> &'static str {
        "mix.exs"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Elixir",
            managers: vec![[
                "Mix and Hex".into(),
                "`mix.exs`".into(),
                "`mix deps.get --only prod`, which may not change `mix.lock`".into(),
            ]],
            frameworks: vec![
                [
                    "Phoenix".into(),
                    "`phoenix` among the dependencies".into(),
                    "`mix assets.deploy` where there is such an alias, then a release; started with `PHX_SERVER=true`"
                        .into(),
                ],
                [
                    "any other (Plug, Bandit …)".into(),
                    "`mix.exs`".into(),
                    "a release; the app reads `PORT`".into(),
                ],
            ],
            version: format!(
                "`.tool-versions` and `mise.toml` (`elixir`, and `erlang` for the release of OTP), \
                 `elixir_buildpack.config` (`elixir_version`, `erlang_version`), `elixir:` in mix.exs, else {}.",
                ELIXIRS[0]
            ),
            start: vec![
                "`web` in the `Procfile`".into(),
                "the only release of mix.exs, or the one called like the app: `bin/NAME start`".into(),
            ],
            images: "`elixir:VERSION` builds; `elixir:VERSION-slim` runs the release, because its Erlang was built on that \
                     Debian."
                .into(),
            caches: "Hex's packages, `deps` and `_build`: dependencies are compiled once. What has changed is told by \
                     the contents of files, not by their dates."
                .into(),
            notes: vec![
                "A Phoenix app needs the secret `SECRET_KEY_BASE` when it runs (`mix phx.gen.secret` makes one), and `PHX_HOST`.".into(),
                "Migrations are the app's: a line such as `release: bin/migrate` in the Procfile.".into(),
                "In an umbrella (`apps/`), mix.exs has to name the release.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        Ok(tree.has("mix.exs").then(|| Sign::new(Strength::App, "mix.exs")))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let project = Project::read(tree)?;
        let (version, otp) = versions(tree, &project)?;
        let mut notes = Vec::new();
        let release = project.release();
        let found = match compiled::web(Procfile::read(tree)?, &mut notes) {
            Some(found) => Some(found),
            None => match (&release, given_start(settings)) {
                (Some((name, rule)), _) => {
                    Some((Start::exec(&[&format!("/app/bin/{name}"), "start"]), rule.clone()))
                }
                (None, given) => given,
            },
        };
        let (start, rule) = found.ok_or_else(|| ambiguous(&project))?;
        if project.is_phoenix {
            notes.push(
                "the app needs the secret SECRET_KEY_BASE (`mix phx.gen.secret`) and the variable PHX_HOST when it runs"
                    .to_owned(),
            );
        }
        if !tree.has("mix.lock") && project.has_dependencies {
            notes.push("no mix.lock: every build may get other versions; commit the file".to_owned());
        }
        let name = release.map(|(name, _)| name);
        let written = dockerfile(
            tree,
            settings,
            &project,
            &version,
            otp.as_ref(),
            name.as_deref(),
            (start, rule),
        )?;
        let by = if tree.has("mix.lock") {
            "mix.exs, mix.lock"
        } else {
            "mix.exs"
        };
        let mut plan = Plan::new(self.name(), by, written);
        plan.framework = project.is_phoenix.then(|| "Phoenix".to_owned());
        plan.versions = std::iter::once(version).chain(otp).collect();
        plan.versions.extend(
            JavaScript::read(tree, "assets")?
                .iter()
                .flat_map(JavaScript::versions),
        );
        plan.notes = notes;
        Ok(plan)
    }
}

fn ambiguous(project: &Project) -> nonna_engine::Error {
    if project.releases.is_empty() {
        return incomplete(
            "This is an Elixir umbrella (mix.exs with `apps_path`), but it has no release.",
            "Add `releases: [NAME: [applications: [APP: :permanent]]]` to mix.exs.",
        );
    }
    let error = incomplete(
        "This is Elixir with several releases, and nothing says which one serves.",
        "Name it in a Procfile: `web: bin/NAME start`.",
    );
    project
        .releases
        .iter()
        .fold(error, |error, name| error.detail(name.clone()))
}

/// The releases of Elixir and, where it is asked for, of Erlang's OTP.
fn versions(tree: &Tree<'_>, project: &Project) -> Result<(Version, Option<Version>)> {
    const FILE: &str = "elixir_buildpack.config";
    let buildpack = |key: &str| -> Result<Option<Asked>> {
        let text = tree.text(FILE)?.unwrap_or_default();
        Ok(text.lines().enumerate().find_map(|(number, line)| {
            let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?;
            Some(Asked {
                version: value.trim().to_owned(),
                file: FILE.to_owned(),
                line: number + 1,
            })
        }))
    };
    let erlang = match asked(tree, &[], &["erlang"])? {
        None => buildpack("erlang_version")?,
        found => found,
    };
    let otp = match erlang {
        None => None,
        Some(asked) => {
            let major = asked.version.split('.').next().unwrap_or_default();
            if major.is_empty() || major.len() > 3 || !major.bytes().all(|b| b.is_ascii_digit()) {
                return Err(asked.is_no_version_of("Erlang/OTP", "Write a version such as `27.2`."));
            }
            Some(Version::new("Erlang/OTP", major, asked.why()))
        }
    };
    let elixir = match asked(tree, &[".exenv-version"], &["elixir"])? {
        None => buildpack("elixir_version")?,
        found => found,
    };
    if let Some(asked) = elixir {
        // `1.17.3-otp-27` is asdf's way to name both.
        let text = asked.version.trim_start_matches('v');
        let (version, with_otp) = text
            .split_once("-otp-")
            .map_or((text, None), |(v, otp)| (v, Some(otp)));
        let is_otp = with_otp.is_none_or(|otp| otp.len() < 4 && otp.bytes().all(|b| b.is_ascii_digit()));
        if !is_numbers(version) || !version.contains('.') || !is_otp {
            return Err(
                asked.is_no_version_of("Elixir", "Write a version such as `1.19.5` or `1.19.5-otp-28`.")
            );
        }
        let otp = otp.or_else(|| with_otp.map(|otp| Version::new("Erlang/OTP", otp, asked.why())));
        return Ok((Version::new("Elixir", version, asked.why()), otp));
    }
    let Some((text, line)) = &project.elixir else {
        return Ok((
            Version::new("Elixir", ELIXIRS[0], "nothing asks for another"),
            otp,
        ));
    };
    let hint = "Write a requirement such as `elixir: \"~> 1.19\"`, or name the version in `.tool-versions`.";
    // `or` stands between alternatives, `and` between what holds together.
    let plain = text.replace(" or ", " || ").replace(" and ", ", ");
    let range = Range::parse(&plain, Dialect::Ruby).ok_or_else(|| {
        super::tree::unclear_at(
            "mix.exs",
            *line,
            &format!(
                "`{}` is no version of Elixir",
                nonna_model::context::printable(text)
            ),
            hint,
        )
    })?;
    let why = format!(
        "mix.exs, line {line}, asks for `{}`",
        nonna_model::context::printable(text)
    );
    choose(&ELIXIRS, &range)
        .map(str::to_owned)
        .or_else(|| {
            range
                .named()
                .filter(|named| named.contains('.') && is_numbers(named))
        })
        .map(|version| (Version::new("Elixir", version, why), otp))
        .ok_or_else(|| {
            super::tree::unclear_at(
                "mix.exs",
                *line,
                &format!(
                    "no Elixir fits `{}` (there are {})",
                    nonna_model::context::printable(text),
                    ELIXIRS.join(", ")
                ),
                hint,
            )
        })
}

fn dockerfile(
    tree: &Tree<'_>,
    settings: &Settings,
    project: &Project,
    version: &Version,
    otp: Option<&Version>,
    release: Option<&str>,
    (start, rule): (Start, String),
) -> Result<Written> {
    let port = settings.port();
    let tag = match otp {
        Some(otp) => format!("elixir:{}-otp-{}", version.version, otp.version),
        None => format!("elixir:{}", version.version),
    };
    let javascript = JavaScript::read(tree, "assets")?;
    let mut writer = Writer::new(settings);
    if let Some(javascript) = &javascript {
        javascript.stage(&mut writer);
    }
    writer
        .build_stage(&tag, "build")
        .line("WORKDIR /app")
        .environment(&[("MIX_ENV", "prod"), ("LANG", "C.UTF-8")]);
    if project.has_dependencies {
        writer.run(
            &[HEX],
            "mix local.hex --force --if-missing && mix local.rebar --force --if-missing",
        );
    }
    let in_place = !project.needs_source && !writer.install_is_overruled();
    if in_place {
        let config = ["config/config.exs", "config/prod.exs"];
        let files: Vec<&str> = ["mix.exs", "mix.lock"]
            .into_iter()
            .chain(config)
            .filter(|file| tree.has(file))
            .collect();
        writer.copy_in_place(&files);
    } else {
        writer.copy_source();
    }
    if project.has_dependencies {
        // Older releases do not know the flag.
        let minor = version
            .version
            .split('.')
            .nth(1)
            .and_then(|minor| minor.parse().ok());
        let lock = if tree.has("mix.lock") && minor.is_none_or(|minor: u32| minor >= 15) {
            " --check-locked"
        } else {
            ""
        };
        writer.install(
            &[HEX, DEPS, BUILD],
            &format!("mix deps.get --only prod{lock} && mix deps.compile"),
            "mix.exs names the dependencies",
        );
    } else {
        writer.install(&[HEX, DEPS, BUILD], "", "");
    }
    if let Some(javascript) = &javascript {
        javascript.install(&mut writer);
    }
    if in_place {
        writer.copy_source();
    }
    // Mix believes a file with an old date and the same size; of one with a new
    // date it compares the contents.
    let mut command =
        "find . -path ./deps -prune -o -path ./_build -prune -o -type f -exec touch {} + && ".to_owned();
    if project.has_dependencies {
        // The cache may have been cleared since they were fetched.
        command.push_str("{ [ -n \"$(ls -A deps)\" ] || mix deps.get --only prod; } && ");
    }
    command.push_str("mix compile");
    if project.has_assets_deploy {
        command.push_str(" && mix assets.deploy");
    } else if project.is_phoenix && tree.has_folder("priv/static") {
        command.push_str(" && mix phx.digest");
    }
    // Without any in mix.exs there is one, which has no name to ask for.
    let named = release
        .filter(|_| !project.releases.is_empty())
        .map_or_else(String::new, |name| format!(" {name}"));
    command.push_str(&format!(" && mix release{named} --overwrite --path /out/app"));
    writer.build(
        &[HEX, DEPS, BUILD],
        &command,
        if project.has_assets_deploy {
            "a release; mix.exs has the alias assets.deploy"
        } else {
            "a release"
        },
    );
    writer
        .final_stage(&format!("{tag}-slim"))
        .add_user("/app")
        .copy_from("build", "/out/app", "/app", Some(USER));
    compiled::copy_certificates(&mut writer);
    let server = if project.is_phoenix {
        " PHX_SERVER=true"
    } else {
        ""
    };
    writer.line(&format!(
        "ENV PATH=/app/bin:$PATH LANG=C.UTF-8 MIX_ENV=prod RELEASE_TMP=/tmp{server} PORT={port}"
    ));
    writer.line("WORKDIR /app");
    Ok(writer.finish(USER, start, rule))
}
