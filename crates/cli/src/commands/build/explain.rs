//! `nonna build --explain`

use std::collections::BTreeMap;
use std::path::Path;

use nonna_builder::detect::{self, Tree};
use nonna_client::context::{ScanOptions, Scanned, scan};
use nonna_engine::{Code, Error};
use nonna_model::build::{BuildPlan, DOCKERFILE};
use nonna_model::manifest::{DeclaredSource, ServiceDeclaration};
use nonna_model::service::BuildSource;
use serde::Serialize;

use crate::args::BuildArgs;
use crate::commands::Context;
use crate::commands::deployment::chosen;
use crate::fail::{Failure, Result};
use crate::output::{Paint, Printer, clean};
use crate::project::Project;

/// How wide the names of a plan's parts are.
const NAMES: usize = 12;

/// Services that are built once together, and how.
#[derive(Serialize)]
struct Built {
    /// The services.
    services: Vec<String>,
    /// The folder, relative to the manifest's.
    folder: String,
    /// What each of them runs in place of what the image starts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    commands: BTreeMap<String, Vec<String>>,
    /// How.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<BuildPlan>,
    /// Or why it cannot be built.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// All that is said with `--json`.
#[derive(Serialize)]
struct Explained {
    built: Vec<Built>,
    /// The images of services that are not built.
    images: BTreeMap<String, String>,
}

/// Says how each service is built, and why.
pub(crate) fn explain(context: &Context, args: &BuildArgs) -> Result {
    let project = Project::find(args.path.as_deref())?;
    let declared = project.declare(context.global.environment.as_ref())?;
    for note in &declared.notes {
        context.printer.warning(note);
    }
    let wanted = chosen(&declared.services, &args.services)?;
    let mut explained = Explained {
        built: Vec::new(),
        images: BTreeMap::new(),
    };
    // Services of the same source are built once.
    let mut groups: Vec<(&DeclaredSource, Vec<&ServiceDeclaration>)> = Vec::new();
    for service in wanted {
        match &service.source {
            DeclaredSource::Image { reference } => {
                explained
                    .images
                    .insert(service.name.to_string(), reference.clone());
            }
            source => match groups.iter_mut().find(|(other, _)| *other == source) {
                Some((_, together)) => together.push(service),
                None => groups.push((source, vec![service])),
            },
        }
    }
    for (source, services) in groups {
        explained
            .built
            .push(built(context, &project.folder, source, &services));
    }
    let printer = &context.printer;
    if args.dockerfile {
        return print_dockerfile(printer, explained);
    }
    if printer.is_json() {
        printer.json(&explained);
    } else {
        show(printer, &explained);
    }
    if explained.built.iter().any(|one| one.error.is_some()) {
        return Err(Failure::Told);
    }
    Ok(())
}

fn built(
    context: &Context,
    project: &Path,
    source: &DeclaredSource,
    services: &[&ServiceDeclaration],
) -> Built {
    let folder = match source {
        DeclaredSource::Folder { path, .. } => path.clone(),
        DeclaredSource::Image { .. } => String::new(),
    };
    let mut out = Built {
        services: services.iter().map(|service| service.name.to_string()).collect(),
        folder,
        commands: services
            .iter()
            .filter_map(|service| Some((service.name.to_string(), service.command.clone()?)))
            .collect(),
        plan: None,
        error: None,
    };
    let port = services.iter().find_map(|service| service.port.number());
    match plan(context, &project.join(&out.folder), source, port) {
        Ok(plan) => out.plan = Some(plan),
        Err(error) => out.error = Some(error),
    }
    out
}

fn plan(
    context: &Context,
    folder: &Path,
    source: &DeclaredSource,
    port: Option<u16>,
) -> Result<BuildPlan, Error> {
    let nonna_model::service::Source::Build(source) = source.with_context("") else {
        return Err(Error::bug("An image was to be built."));
    };
    let mut options = ScanOptions::default();
    if let Some(dockerfile) = &source.dockerfile {
        options.dockerfile.clone_from(dockerfile);
    }
    let scanned = scan(folder, &options)?;
    for warning in &scanned.warnings {
        context.printer.warning(warning);
    }
    plan_of(&scanned, &source, port)
}

/// How a folder that was scanned is built.
pub(crate) fn plan_of(
    scanned: &Scanned,
    source: &BuildSource,
    port: Option<u16>,
) -> Result<BuildPlan, Error> {
    let read = |path: &str| scanned.read(path, detect::MAX_FILE);
    let tree = Tree::new(&scanned.manifest, &read);
    detect::explain(&tree, source, port)
}

/// Prints the one Dockerfile that was made, and says what else it needs.
fn print_dockerfile(printer: &Printer, explained: Explained) -> Result {
    let mut built = explained.built.into_iter();
    let (Some(only), None) = (built.next(), built.next()) else {
        return Err(Failure::usage_hint(
            "A Dockerfile is made for one build, and there is not exactly one here.",
            "Say of which service: `--service NAME`.",
        ));
    };
    if let Some(error) = only.error {
        return Err(error.into());
    }
    let Some(generated) = only.plan.and_then(|plan| plan.generated) else {
        return Err(Error::user(
            Code::NothingToBuild,
            format!(
                "{} is built with the Dockerfile that is there: none is made.",
                only.services.join(", ")
            ),
        )
        .into());
    };
    if printer.is_json() {
        printer.json(&generated);
        return Ok(());
    }
    printer.raw(&generated.dockerfile);
    for path in generated.files.keys() {
        printer.note(&format!(
            "It needs the file {} beside it: `--json` has its content, and `nonna export FOLDER` writes it.",
            clean(path)
        ));
    }
    Ok(())
}

fn show(printer: &Printer, explained: &Explained) {
    let mut is_first = true;
    let mut space = || {
        if !std::mem::take(&mut is_first) {
            printer.line("");
        }
    };
    for one in &explained.built {
        space();
        let names = printer.paint(Paint::Strong, &one.services.join(", "));
        match (&one.plan, &one.error) {
            (Some(plan), _) => {
                printer.line(&format!(
                    "{names}: {}, built from {}",
                    clean(&builder(plan)),
                    clean(&one.folder)
                ));
                // The whole folder is one table for all that is built of it.
                let table = match (one.folder.as_str(), one.services.first()) {
                    (".", _) | (_, None) => "[build]".to_owned(),
                    (_, Some(service)) => format!("[services.{service}.build]"),
                };
                show_plan(printer, plan, &one.commands, &table);
            }
            (None, Some(error)) => {
                printer.line(&format!("{names}: cannot be built from {}", clean(&one.folder)));
                printer.error(error);
            }
            (None, None) => {}
        }
    }
    for (service, reference) in &explained.images {
        space();
        printer.line(&format!(
            "{}: runs the image {}, nothing is built",
            printer.paint(Paint::Strong, service),
            clean(reference)
        ));
    }
}

/// What builds it, and the framework that was recognised.
pub(super) fn builder(plan: &BuildPlan) -> String {
    match &plan.framework {
        Some(framework) => format!("{} ({framework})", plan.builder),
        None => plan.builder.clone(),
    }
}

/// Prints the parts of a plan. `commands` are what services run in place of
/// what the image starts, `table` is where nonna.toml overrules it.
pub(super) fn show_plan(
    printer: &Printer,
    plan: &BuildPlan,
    commands: &BTreeMap<String, Vec<String>>,
    table: &str,
) {
    let part = |name: &str, text: &str| {
        let name = printer.paint(Paint::Dim, &format!("{name:NAMES$}"));
        printer.line(&format!("  {name}  {}", clean(text)));
    };
    part("found", &plan.found);
    part("decided by", &plan.decided);
    for version in &plan.versions {
        part(
            "version",
            &format!("{} {}: {}", version.what, version.version, version.why),
        );
    }
    for (name, commands) in [("install", &plan.install), ("build", &plan.build)] {
        for one in commands {
            part(name, &one.command);
            part("", &format!("({})", one.why));
        }
    }
    if let Some(start) = &plan.start {
        part("start", &start.command);
        part("", &format!("({})", start.why));
    }
    for (service, words) in commands {
        part(&format!("{service} runs"), &words.join(" "));
    }
    part("base images", &plan.base_images.join(", "));
    for cache in &plan.caches {
        part("cache", &format!("{} at {}", cache.name, cache.folder));
    }
    for other in &plan.others {
        part(
            "also found",
            &format!("{} (by {}), but {}", other.language, other.found, other.why),
        );
    }
    for note in &plan.notes {
        part("note", note);
    }
    overrule(printer, plan, table);
}

/// The lines of nonna.toml that would say the same as the plan, to be changed,
/// and what decides elsewhere.
fn overrule(printer: &Printer, plan: &BuildPlan, table: &str) {
    printer.line("");
    printer.line("  To overrule it, in nonna.toml:");
    printer.line(&format!("    {}", clean(table)));
    for (line, how) in plan
        .overrule
        .iter()
        .filter_map(|one| Some((one.line.as_ref()?, &one.how)))
    {
        let how = printer.paint(Paint::Dim, &format!("# {how}"));
        printer.line(&format!("    {}  {how}", clean(line)));
    }
    printer.line("  or:");
    for one in plan.overrule.iter().filter(|one| one.line.is_none()) {
        let name = printer.paint(Paint::Dim, &format!("{:NAMES$}", one.what));
        printer.line(&format!("    {name}  {}", clean(&one.how)));
    }
    if plan.builder != DOCKERFILE {
        printer.line(&format!(
            "  docs/languages.md has all that is known of {}.",
            clean(&plan.builder)
        ));
    }
}
