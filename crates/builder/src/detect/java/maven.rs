//! Maven: what a `pom.xml` makes.

use nonna_engine::Result;

use super::super::compiled::is_plain;
use super::super::tree::Tree;
use super::sources;
use super::version::Wanted;
use super::xml::{Element, elements};
use super::{Artifact, Module, Project, join};

/// Reads the pom at the top, and those of its modules.
pub(super) fn read(tree: &Tree<'_>) -> Result<Project> {
    let mut project = Project::default();
    let mut todo = vec![(String::new(), Vec::<Element>::new())];
    let mut seen = 0;
    while let Some((folder, inherited)) = todo.pop() {
        const MAX_MODULES: usize = 300;
        seen += 1;
        if seen > MAX_MODULES {
            break;
        }
        let file = join(&folder, "pom.xml");
        let Some(text) = tree.text(&file)? else { continue };
        let own = elements(&text);
        for element in &own {
            if matches!(
                element.path.as_str(),
                "project/modules/module" | "project/subprojects/subproject"
            ) {
                let name = element.text.trim_matches('/').trim_start_matches("./");
                if name.split('/').all(is_plain) && !name.contains("..") {
                    todo.push((join(&folder, name), own.clone()));
                }
            }
        }
        if project.wanted.is_none() || !folder.is_empty() {
            project.wanted = wanted(&own, &file).or(project.wanted);
        }
        project.uses_kotlin |= text.contains("kotlin-maven-plugin");
        if let Some(module) = module(tree, &folder, &own, &inherited)? {
            project.modules.push(module);
        }
        project.is_multi |= !folder.is_empty();
    }
    project.modules.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(project)
}

/// The release of Java, from the properties that the compiler's plugin reads.
fn wanted(pom: &[Element], file: &str) -> Option<Wanted> {
    [
        "project/properties/maven.compiler.release",
        "project/properties/java.version",
        "project/properties/maven.compiler.target",
        "project/properties/maven.compiler.source",
        "project/build/plugins/plugin/configuration/release",
        "project/build/plugins/plugin/configuration/target",
        "project/build/plugins/plugin/configuration/source",
    ]
    .iter()
    .find_map(|path| {
        pom.iter()
            // `${java.version}` is another of these.
            .find(|element| element.path == *path && !element.text.starts_with("${"))
            .map(|element| Wanted {
                text: element.text.clone(),
                file: file.to_owned(),
                line: element.line,
                is_exact: false,
            })
    })
}

/// What a module makes; `None` for one that runs nothing.
fn module(tree: &Tree<'_>, folder: &str, pom: &[Element], inherited: &[Element]) -> Result<Option<Module>> {
    let text_of = |path: &str| {
        pom.iter()
            .find(|element| element.path == path)
            .map(|element| element.text.as_str())
    };
    let packaging = text_of("project/packaging").unwrap_or("jar");
    if !matches!(packaging, "jar" | "war") {
        return Ok(None);
    }
    // A parent's plugins are every module's; what it only manages is not.
    let has_plugin = |name: &str| {
        pom.iter().chain(inherited).any(|element| {
            element.text == name && element.path.ends_with("project/build/plugins/plugin/artifactId")
        })
    };
    let profile_plugin = |name: &str| {
        pom.iter()
            .any(|element| element.text == name && element.path.ends_with("build/plugins/plugin/artifactId"))
    };
    let needs = |name: &str| {
        pom.iter()
            .any(|element| element.text.starts_with(name) && element.path.ends_with("dependency/artifactId"))
    };
    let main = ["start-class", "exec.mainClass", "mainClass", "main.class"]
        .iter()
        .find_map(|name| text_of(&format!("project/properties/{name}")))
        .map(str::to_owned)
        .or_else(|| {
            pom.iter()
                .find(|element| element.path.ends_with("/mainClass") && !element.text.starts_with("${"))
                .map(|element| element.text.clone())
        })
        .filter(|name| sources::is_class(name));
    let mut module = Module {
        folder: folder.to_owned(),
        framework: None,
        artifact: Artifact::Jar,
        serves: needs("spring-boot-starter-web")
            || needs("quarkus-rest")
            || needs("quarkus-resteasy")
            || needs("micronaut-http-server")
            || needs("ktor-server")
            || needs("javalin")
            || needs("jetty-server")
            || needs("undertow-core"),
    };
    if has_plugin("spring-boot-maven-plugin") {
        module.framework = Some("Spring Boot");
    } else if has_plugin("quarkus-maven-plugin") {
        module.framework = Some("Quarkus");
        module.artifact = Artifact::Quarkus;
    } else if packaging == "war" {
        module.artifact = Artifact::War;
    } else if needs("micronaut-") {
        module.framework = Some("Micronaut");
    } else if has_plugin("maven-shade-plugin")
        || has_plugin("maven-assembly-plugin")
        || profile_plugin("maven-shade-plugin")
    {
        module.framework = needs("ktor-server").then_some("Ktor");
    } else {
        let main = match main {
            Some(main) => vec![main],
            None => sources::mains(tree, folder)?,
        };
        if main.is_empty() {
            return Ok(None);
        }
        module.framework = needs("ktor-server").then_some("Ktor");
        module.artifact = Artifact::Classes { mains: main };
    }
    Ok(Some(module))
}
