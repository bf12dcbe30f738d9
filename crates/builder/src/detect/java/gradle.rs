//! Gradle: what the build scripts make, read as text in either of its languages.

use nonna_engine::Result;

use super::super::compiled::is_plain;
use super::super::tree::Tree;
use super::version::Wanted;
use super::{Artifact, Module, Project, join};

/// Reads the script at the top, and those of the projects that are included.
pub(super) fn read(tree: &Tree<'_>) -> Result<Project> {
    let mut project = Project::default();
    let mut folders = vec![String::new()];
    for file in ["settings.gradle", "settings.gradle.kts"] {
        let text = tree.text(file)?.unwrap_or_default();
        for line in code(&text) {
            let Some(rest) = line.1.trim().strip_prefix("include") else {
                continue;
            };
            if !rest.starts_with([' ', '(']) {
                continue;
            }
            for name in quoted(rest) {
                let folder = name.trim_start_matches(':').replace(':', "/");
                if folder.split('/').all(is_plain) && !folder.contains("..") {
                    folders.push(folder);
                }
            }
        }
    }
    let mut top = String::new();
    project.is_multi = folders.len() > 1;
    for folder in folders {
        for name in ["build.gradle", "build.gradle.kts"] {
            let file = join(&folder, name);
            let Some(text) = tree.text(&file)? else { continue };
            project.wanted = wanted(&text, &file).or(project.wanted);
            project.uses_kotlin |= text.contains("kotlin(\"jvm\")") || text.contains("org.jetbrains.kotlin");
            project.modules.extend(module(tree, &folder, &text, &top)?);
            if folder.is_empty() {
                top = text;
            }
        }
    }
    Ok(project)
}

/// The lines that are no comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim_start().starts_with('*'))
}

/// Texts in quotes.
fn quoted(line: &str) -> Vec<&str> {
    line.split(['"', '\'']).skip(1).step_by(2).collect()
}

/// The release of Java: a toolchain is exactly that one, else the level that
/// the sources have.
fn wanted(text: &str, file: &str) -> Option<Wanted> {
    const EXACT: [&str; 3] = ["JavaLanguageVersion.of(", "jvmToolchain(", "jvmToolchain "];
    const LEAST: [&str; 3] = ["sourceCompatibility", "options.release", "targetCompatibility"];
    let number = |rest: &str| {
        let rest = rest
            .replace("JavaVersion.VERSION_", "")
            .replace("JavaVersion.toVersion", "");
        let rest = rest.trim_start_matches(|c: char| !(c.is_ascii_digit() || c.is_alphabetic()));
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
            .unwrap_or(rest.len());
        rest.get(..end)
            .filter(|number| !number.is_empty())
            .map(|number| number.replace('_', "."))
    };
    let find = |marks: &[&str], is_exact: bool| {
        code(text).find_map(|(line, code)| {
            let rest = marks
                .iter()
                .find_map(|mark| code.split_once(mark).map(|(_, rest)| rest))?;
            Some(Wanted {
                text: number(rest)?,
                file: file.to_owned(),
                line,
                is_exact,
            })
        })
    };
    find(&EXACT, true).or_else(|| find(&LEAST, false))
}

/// What a project makes; `None` for one that runs nothing.
fn module(tree: &Tree<'_>, folder: &str, text: &str, top: &str) -> Result<Option<Module>> {
    let lines: Vec<&str> = code(text).map(|(_, line)| line.trim()).collect();
    // `apply false` only names a version for the others.
    let applies = |plugin: &str| {
        lines.iter().any(|line| {
            !line.contains("apply false")
                && (quoted(line).contains(&plugin) || *line == plugin || *line == format!("`{plugin}`"))
                && (line.contains("id")
                    || line.contains("plugin")
                    || *line == plugin
                    || line.starts_with('`'))
        })
    };
    // A version catalogue's names: `alias(libs.plugins.spring.boot)`.
    let alias = |part: &str| {
        lines
            .iter()
            .any(|line| line.starts_with("alias(") && line.contains(part) && !line.contains("apply false"))
    };
    let mentions = |part: &str| lines.iter().any(|line| line.contains(part));
    let serves = mentions("spring-boot-starter-web")
        || mentions("ktor-server")
        || mentions("ktor.server")
        || mentions("quarkus-rest")
        || mentions("javalin")
        || mentions("micronaut");
    let found = if applies("org.springframework.boot") || alias("spring.boot") || alias("springBoot") {
        Some((Some("Spring Boot"), Artifact::Jar, "bootJar"))
    } else if applies("io.quarkus") || alias("quarkus") {
        Some((Some("Quarkus"), Artifact::Quarkus, "quarkusBuild"))
    } else if applies("io.ktor.plugin") || alias("ktor") {
        Some((Some("Ktor"), Artifact::Jar, "buildFatJar"))
    } else if applies("com.github.johnrengelman.shadow") || applies("com.gradleup.shadow") || alias("shadow")
    {
        Some((mentions("ktor").then_some("Ktor"), Artifact::Jar, "shadowJar"))
    } else if applies("application")
        || applies("io.micronaut.application")
        || lines.iter().any(|line| line.starts_with("application {"))
    {
        let framework = if mentions("micronaut") {
            Some("Micronaut")
        } else {
            mentions("ktor").then_some("Ktor")
        };
        Some((framework, Artifact::Distribution, "installDist"))
    } else if applies("war") {
        Some((None, Artifact::War, "war"))
    } else {
        None
    };
    // Convention plugins: what the top applies to every project.
    let is_everywhere = top.contains("subprojects") && top.contains("org.springframework.boot");
    let found = match found {
        None if is_everywhere && !super::sources::mains(tree, folder)?.is_empty() => {
            Some((Some("Spring Boot"), Artifact::Jar, "bootJar"))
        }
        found => found,
    };
    Ok(found.map(|(framework, artifact, task)| Module {
        folder: folder.to_owned(),
        framework,
        artifact: artifact.with_task(task),
        serves,
    }))
}
