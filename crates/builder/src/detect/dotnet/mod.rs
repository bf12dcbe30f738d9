//! .NET: C#, F# and Visual Basic.

mod project;

#[cfg(test)]
mod tests;

use nonna_engine::Result;
use nonna_model::context::printable;

use self::project::Project;
use super::compiled::{self, line_of};
use super::procfile::Procfile;
use super::start::Start;
use super::tree::{Tree, unclear, unclear_at};
use super::version::Version;
use super::writer::{Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};

/// Releases that are supported; the first one is what projects get that do not
/// ask for one.
const RELEASES: [&str; 3] = ["10.0", "8.0", "9.0"];
/// Files whose contents decide what is restored.
const RESTORED_BY: [&str; 8] = [
    "global.json",
    "nuget.config",
    "NuGet.config",
    "NuGet.Config",
    "Directory.Build.props",
    "Directory.Build.targets",
    "Directory.Packages.props",
    ".config/dotnet-tools.json",
];

const NUGET: Cache = Cache::locked("nuget", "/root/.nuget/packages");
/// The user that the runtime's images have for apps.
const USER: &str = "1654";

/// A project file.
pub(super) struct DotNet;

impl Detector for DotNet {
    fn name(&self) -> &'static str {
        "dotnet"
    }

    fn looks_for(&self) -> &'static str {
        "*.csproj, *.fsproj, *.vbproj, *.sln or *.slnx"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: ".NET",
            managers: vec![[
                "NuGet".into(),
                "a project file".into(),
                "`dotnet restore` (with `--locked-mode` where there is a `packages.lock.json`)".into(),
            ]],
            frameworks: vec![
                [
                    "ASP.NET Core (MVC, minimal APIs, Blazor …)".into(),
                    "the SDK `Microsoft.NET.Sdk.Web`".into(),
                    "`dotnet publish`; is told by `ASPNETCORE_HTTP_PORTS`".into(),
                ],
                [
                    "worker".into(),
                    "the SDK `Microsoft.NET.Sdk.Worker`".into(),
                    "`dotnet publish`".into(),
                ],
                [
                    "console".into(),
                    "`<OutputType>Exe</OutputType>`".into(),
                    "`dotnet publish`".into(),
                ],
            ],
            version: format!(
                "`global.json` (`sdk.version`) for the SDK; `TargetFramework` for the runtime, of several the newest; \
                 `Directory.Build.props` where the project file does not say it; else {}.",
                RELEASES[0]
            ),
            start: vec![
                "`web` in the `Procfile`".into(),
                "the only project for the web, else the only one that becomes a program: its assembly".into(),
            ],
            images: "`mcr.microsoft.com/dotnet/sdk:VERSION` builds; `mcr.microsoft.com/dotnet/aspnet:VERSION` (without the \
                     web SDK `runtime`) runs, as its own user 1654."
                .into(),
            caches: "NuGet's packages.".into(),
            notes: vec![
                "Projects for tests (`IsTestProject`, Microsoft.NET.Test.Sdk) are never started.".into(),
            ],
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        let is_project = |file: &&str| project::ENDINGS.iter().any(|ending| file.ends_with(ending));
        let is_solution =
            |file: &&str| !file.contains('/') && (file.ends_with(".sln") || file.ends_with(".slnx"));
        let found = tree
            .files()
            .find(is_solution)
            .or_else(|| tree.files().find(|file| is_project(file) && !file.contains('/')))
            // A project one or two folders down is an app where nothing else is.
            .or_else(|| {
                tree.files()
                    .find(|file| is_project(file) && file.matches('/').count() <= 2)
            });
        Ok(found.map(|file| {
            let strength = if file.contains('/') {
                Strength::Packages
            } else {
                Strength::App
            };
            Sign::new(strength, file)
        }))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let projects = project::read(tree)?;
        let mut notes = Vec::new();
        let web = compiled::web(Procfile::read(tree)?, &mut notes);
        let chosen = choose(&projects);
        let (project, found) = match (web, chosen) {
            (Some(found), Ok((project, _))) => (project, Some(found)),
            (None, Ok((project, why))) => {
                let found = (
                    Start::exec(&["dotnet", &format!("/app/{}.dll", project.assembly)]),
                    why,
                );
                (project, Some(found))
            }
            // The command names the program: whichever is named there is built.
            (Some((start, rule)), Err(error)) => {
                let line = start.to_string();
                let named = projects
                    .iter()
                    .filter(|project| project.is_program)
                    .find(|project| line.contains(&project.assembly))
                    .ok_or(error)?;
                (named, Some((start, rule)))
            }
            (None, Err(error)) => {
                let given = given_start(settings);
                let line = given.as_ref().map(|(start, _)| start.to_string());
                let named = projects
                    .iter()
                    .filter(|project| project.is_program)
                    .find(|project| line.as_ref().is_some_and(|line| line.contains(&project.assembly)));
                (named.ok_or(error)?, given)
            }
        };
        let (start, rule) = found.unwrap_or_else(|| {
            (
                Start::exec(&["dotnet", &format!("/app/{}.dll", project.assembly)]),
                "the project".to_owned(),
            )
        });
        let (runtime, sdk) = versions(tree, project)?;
        let written = dockerfile(tree, settings, project, &runtime, &sdk, (start, rule));
        let mut plan = Plan::new(self.name(), project.file.clone(), written);
        plan.framework = project.is_web.then(|| "ASP.NET Core".to_owned());
        plan.versions = vec![runtime, sdk];
        plan.notes = notes;
        Ok(plan)
    }
}

/// The project that is started, and why.
fn choose(projects: &[Project]) -> Result<(&Project, String)> {
    let programs: Vec<&Project> = projects
        .iter()
        .filter(|project| project.is_program && !project.is_test)
        .collect();
    let web: Vec<&&Project> = programs.iter().filter(|project| project.is_web).collect();
    match (web.as_slice(), programs.as_slice()) {
        ([only], _) => Ok((only, format!("{} is the only project for the web", only.file))),
        ([], [only]) => Ok((
            only,
            format!("{} is the only project that becomes a program", only.file),
        )),
        ([], []) => Err(incomplete(
            "This is .NET, but no project becomes a program.",
            "Use the SDK `Microsoft.NET.Sdk.Web`, or give `<OutputType>Exe</OutputType>`.",
        )),
        _ => {
            let error = incomplete(
                "This is .NET with several projects that can be started, and nothing says which one serves.",
                "Name its assembly in a Procfile: `web: dotnet NAME.dll`; or deploy the project's own folder.",
            );
            let several: Vec<&Project> = if web.is_empty() {
                programs
            } else {
                web.into_iter().copied().collect()
            };
            Err(several.iter().take(12).fold(error, |error, project| {
                error.detail(format!("{}: {}.dll", project.file, project.assembly))
            }))
        }
    }
}

/// The releases of the runtime and of the SDK.
fn versions(tree: &Tree<'_>, project: &Project) -> Result<(Version, Version)> {
    let runtime = match &project.target {
        None => Version::new(".NET", RELEASES[0], "nothing asks for another"),
        Some((text, file, line)) => {
            let release = text
                .split(';')
                .filter_map(release)
                .max_by_key(|release| order(release));
            let release = release.ok_or_else(|| {
                unclear_at(
                    file,
                    *line,
                    &format!("`{}` is no framework that runs on Linux", printable(text)),
                    "Write `<TargetFramework>net10.0</TargetFramework>` or the like.",
                )
            })?;
            Version::new(
                ".NET",
                release,
                format!("{file}, line {line}, targets {}", printable(text)),
            )
        }
    };
    let Some(text) = tree.text("global.json")? else {
        let sdk = Version::new("SDK", runtime.version.clone(), "that of the runtime");
        return Ok((runtime, sdk));
    };
    let json: serde_json::Value = serde_json::from_str(&without_comments(&text)).map_err(|error| {
        unclear(
            "global.json",
            &error.to_string(),
            "Mend the file: it has to be valid JSON.",
        )
    })?;
    let Some(asked) = json
        .get("sdk")
        .and_then(|sdk| sdk.get("version"))
        .and_then(serde_json::Value::as_str)
    else {
        let sdk = Version::new("SDK", runtime.version.clone(), "that of the runtime");
        return Ok((runtime, sdk));
    };
    let line = line_of(&text, "\"version\"");
    let parts: Vec<&str> = asked.split('.').collect();
    let [major, minor, patch] = parts.as_slice() else {
        return Err(no_sdk(asked, line));
    };
    let is_number =
        |part: &str| !part.is_empty() && part.len() < 5 && part.bytes().all(|b| b.is_ascii_digit());
    if !(is_number(major) && is_number(minor) && is_number(patch)) {
        return Err(no_sdk(asked, line));
    }
    // How far from it the SDK may be: https://learn.microsoft.com/dotnet/core/tools/global-json
    let roll = json
        .get("sdk")
        .and_then(|sdk| sdk.get("rollForward"))
        .and_then(serde_json::Value::as_str)
        .unwrap_or("latestPatch");
    let version = match roll {
        "disable" | "patch" | "latestPatch" => asked.to_owned(),
        "feature" | "latestFeature" => format!("{major}.{minor}"),
        // Up to the release of the runtime, or beyond it.
        _ if order(&runtime.version) >= order(&format!("{major}.{minor}")) => runtime.version.clone(),
        _ => format!("{major}.{minor}"),
    };
    let why = format!("global.json, line {line}, asks for it ({roll})");
    Ok((runtime, Version::new("SDK", version, why)))
}

fn no_sdk(text: &str, line: usize) -> nonna_engine::Error {
    unclear_at(
        "global.json",
        line,
        &format!("`{}` is no version of the SDK", printable(text)),
        "Write all three numbers, such as `10.0.100`.",
    )
}

/// `net8.0`, `net8.0-linux`, `netcoreapp3.1`.
fn release(framework: &str) -> Option<String> {
    let framework = framework.trim();
    let numbers = framework
        .strip_prefix("netcoreapp")
        .or_else(|| framework.strip_prefix("net"))?;
    let (numbers, system) = numbers.split_once('-').unwrap_or((numbers, ""));
    let (major, minor) = numbers.split_once('.')?;
    let is_number =
        |part: &str| !part.is_empty() && part.len() < 3 && part.bytes().all(|b| b.is_ascii_digit());
    let runs = system.is_empty() || system.starts_with("linux");
    (is_number(major) && is_number(minor) && runs).then(|| format!("{major}.{minor}"))
}

fn order(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// `global.json` may have comments, as one line each.
fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn dockerfile(
    tree: &Tree<'_>,
    settings: &Settings,
    project: &Project,
    runtime: &Version,
    sdk: &Version,
    (start, rule): (Start, String),
) -> Written {
    let port = settings.port();
    let mut writer = Writer::new(settings);
    writer
        .build_stage(&format!("mcr.microsoft.com/dotnet/sdk:{}", sdk.version), "build")
        .line("WORKDIR /app")
        .environment(&[
            ("DOTNET_CLI_TELEMETRY_OPTOUT", "1"),
            ("DOTNET_NOLOGO", "1"),
            ("NUGET_PACKAGES", NUGET.folder),
        ]);
    // What a project needs of others is in their project files.
    let files: Vec<&str> = tree
        .files()
        .filter(|file| {
            let name = file.rsplit('/').next().unwrap_or(file);
            project::ENDINGS.iter().any(|ending| file.ends_with(ending))
                || name == "packages.lock.json"
                || RESTORED_BY.contains(file)
                || RESTORED_BY.contains(&name)
        })
        .collect();
    // Imports of other files cannot be seen from here.
    const MANY: usize = 200;
    let early = files.len() > MANY || writer.install_is_overruled() || project.imports;
    if early {
        writer.copy_source();
    } else {
        writer.copy_in_place(&files);
    }
    let lock = project::join(&project.folder, "packages.lock.json");
    let locked = if tree.has(&lock) { " --locked-mode" } else { "" };
    let quoted = quoted(&project.file);
    writer.install(
        &[NUGET],
        &format!("dotnet restore {quoted}{locked}"),
        "the project file names the packages",
    );
    if !early {
        writer.copy_source();
    }
    let framework = project
        .target
        .as_ref()
        .filter(|(text, ..)| text.contains(';'))
        .map_or_else(String::new, |_| format!(" -f net{}", runtime.version));
    writer.build(
        &[NUGET],
        &format!("dotnet publish {quoted} -c Release -o /out{framework} -p:UseAppHost=false"),
        "the project that is started",
    );
    let image = if project.is_web { "aspnet" } else { "runtime" };
    writer
        .final_stage(&format!("mcr.microsoft.com/dotnet/{image}:{}", runtime.version))
        .copy_from("build", "/out", "/app", Some(USER))
        .line("WORKDIR /app");
    let mut environment = format!("ENV PORT={port} DOTNET_EnableDiagnostics=0");
    if project.is_web {
        // Until .NET 7 it was told by another variable.
        let is_old = order(&runtime.version).first().is_some_and(|major| *major < 8);
        environment.push_str(&if is_old {
            format!(" ASPNETCORE_URLS=http://0.0.0.0:{port}")
        } else {
            format!(" ASPNETCORE_HTTP_PORTS={port}")
        });
    }
    writer.line(&environment);
    writer.finish(USER, start, rule)
}

/// A path as the shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"./_-+@".contains(&b));
    if is_plain {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
