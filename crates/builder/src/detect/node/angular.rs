//! Angular: `angular.json` says where a build leaves its files.

use nonna_engine::Result;
use serde_json::Value;

use super::super::start::Start;
use super::super::tree::{Tree, unclear};
use super::framework::{Framework, Output};

/// What the first application of the workspace becomes.
pub(super) fn read(tree: &Tree<'_>) -> Result<Framework> {
    const FILE: &str = "angular.json";
    let text = tree.text(FILE)?.unwrap_or_default();
    let wrong = |why: &str| unclear(FILE, why, "`ng build` says whether Angular can read it.");
    let workspace: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    let projects = workspace["projects"]
        .as_object()
        .ok_or_else(|| wrong("it has no `projects`"))?;
    let default = workspace["defaultProject"].as_str();
    let (name, project) = projects
        .iter()
        .find(|(name, _)| Some(name.as_str()) == default)
        .or_else(|| projects.iter().find(|(_, p)| p["projectType"] == "application"))
        .ok_or_else(|| wrong("no project of it is an application"))?;
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('/')
            && text.split('/').all(|part| part != "..")
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/@".contains(&b))
    };
    if !plain(name) {
        return Err(wrong("the application has a name that is no folder's"));
    }
    // `architect` in older workspaces.
    let target = [&project["architect"]["build"], &project["targets"]["build"]]
        .into_iter()
        .find(|target| target.is_object())
        .ok_or_else(|| wrong("the application has no target `build`"))?;
    let options = &target["options"];
    let path = &options["outputPath"];
    let base = path
        .as_str()
        .or_else(|| path["base"].as_str())
        .map_or_else(|| format!("dist/{name}"), str::to_owned);
    if !plain(&base) {
        return Err(wrong("`outputPath` leads out of the folder"));
    }
    let base = base.trim_end_matches('/');
    // The application builder puts the pages into a folder of their own.
    let builder = target["builder"].as_str().unwrap_or_default();
    let apart = builder.ends_with(":application");
    let served = apart
        && !matches!(options["ssr"], Value::Null | Value::Bool(false))
        && options["outputMode"] != "static";
    let output = if served {
        Output::App(Some(Start::exec(&["node", &format!("{base}/server/server.mjs")])))
    } else {
        let inner = path["browser"]
            .as_str()
            .unwrap_or(if apart { "browser" } else { "" });
        let folder = if inner.is_empty() {
            base.to_owned()
        } else {
            format!("{base}/{inner}")
        };
        Output::Pages { folder, single: true }
    };
    Ok(Framework {
        name: "Angular",
        scripts: &["build"],
        program: Some("ng build"),
        output,
        cache: None,
        note: None,
    })
}
