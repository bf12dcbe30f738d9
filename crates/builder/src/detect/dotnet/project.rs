//! Project files, as far as they say what is built.

use nonna_engine::Result;

use super::super::java::xml::{Element, attribute, elements};
use super::super::tree::Tree;

/// How names of project files end.
pub(super) const ENDINGS: [&str; 3] = [".csproj", ".fsproj", ".vbproj"];
/// How many of them are read.
const MAX_PROJECTS: usize = 300;

/// A project.
#[derive(Debug, Clone)]
pub(super) struct Project {
    /// Its file.
    pub(super) file: String,
    /// Its folder; empty for the top.
    pub(super) folder: String,
    /// The name of what it becomes, without its ending.
    pub(super) assembly: String,
    pub(super) is_web: bool,
    pub(super) is_program: bool,
    pub(super) is_test: bool,
    /// The frameworks that it targets, with the file and the line.
    pub(super) target: Option<(String, String, usize)>,
    /// Whether it imports files that are no project files.
    pub(super) imports: bool,
}

/// All projects, sorted by their files.
pub(super) fn read(tree: &Tree<'_>) -> Result<Vec<Project>> {
    let mut projects = Vec::new();
    let files = tree
        .files()
        .filter(|file| ENDINGS.iter().any(|ending| file.ends_with(ending)))
        .filter(|file| is_plain(file));
    for file in files.take(MAX_PROJECTS) {
        let Some(text) = tree.text(file)? else { continue };
        projects.push(project(tree, file, &text)?);
    }
    Ok(projects)
}

pub(super) fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() {
        file.to_owned()
    } else {
        format!("{folder}/{file}")
    }
}

/// Whether a path can stand in an instruction.
fn is_plain(path: &str) -> bool {
    path.chars().all(|c| !c.is_control() && c != '"' && c != '\\')
}

fn project(tree: &Tree<'_>, file: &str, text: &str) -> Result<Project> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let all = elements(text);
    let property = |name: &str| {
        all.iter()
            .find(|element| element.path.ends_with(&format!("PropertyGroup/{name}")))
            .filter(|element| !element.text.contains("$("))
    };
    let sdk = all
        .iter()
        .find(|element| element.path == "Project")
        .and_then(|element| attribute(&element.attributes, "Sdk"))
        .or_else(|| {
            all.iter()
                .find(|element| element.path == "Project/Sdk")
                .and_then(|element| attribute(&element.attributes, "Name"))
        })
        .unwrap_or_default();
    let is_web = sdk.starts_with("Microsoft.NET.Sdk.Web");
    let is_worker = sdk.starts_with("Microsoft.NET.Sdk.Worker");
    let is_exe = property("OutputType").is_some_and(|element| element.text.eq_ignore_ascii_case("exe"));
    let is_test = property("IsTestProject").is_some_and(|element| element.text.eq_ignore_ascii_case("true"))
        || all.iter().any(|element| {
            element.path.ends_with("PackageReference")
                && attribute(&element.attributes, "Include") == Some("Microsoft.NET.Test.Sdk")
        });
    let is_library =
        property("OutputType").is_some_and(|element| element.text.eq_ignore_ascii_case("library"));
    let target = ["TargetFramework", "TargetFrameworks"]
        .iter()
        .find_map(|name| property(name))
        .map(|element| (element.text.clone(), file.to_owned(), element.line));
    let target = match target {
        Some(target) => Some(target),
        None => inherited(tree, folder)?,
    };
    let assembly = property("AssemblyName")
        .map(|element| element.text.as_str())
        .filter(|name| !name.is_empty() && !name.contains(['/', '"', '\'', '$', '`']))
        .unwrap_or(stem);
    Ok(Project {
        file: file.to_owned(),
        folder: folder.to_owned(),
        assembly: assembly.to_owned(),
        is_web: is_web && !is_library,
        is_program: (is_web || is_worker || is_exe) && !is_library,
        is_test,
        target,
        imports: all.iter().any(|element| element.path.ends_with("/Import")),
    })
}

/// The target that a `Directory.Build.props` in this folder or above gives.
fn inherited(tree: &Tree<'_>, folder: &str) -> Result<Option<(String, String, usize)>> {
    let mut at = Some(folder);
    while let Some(folder) = at {
        let file = join(folder, "Directory.Build.props");
        if let Some(text) = tree.text(&file)? {
            let all: Vec<Element> = elements(&text);
            return Ok(all
                .into_iter()
                .find(|element| {
                    element.path.ends_with("PropertyGroup/TargetFramework")
                        || element.path.ends_with("PropertyGroup/TargetFrameworks")
                })
                .map(|element| (element.text, file, element.line)));
        }
        at = match folder.rsplit_once('/') {
            Some((parent, _)) => Some(parent),
            None if folder.is_empty() => None,
            None => Some(""),
        };
    }
    Ok(None)
}
