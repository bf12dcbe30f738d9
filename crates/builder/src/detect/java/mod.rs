//! Java and Kotlin, with Maven or Gradle.

mod gradle;
mod maven;
mod sources;
mod version;
pub(super) mod xml;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use nonna_engine::Result;

use self::version::Wanted;
use super::compiled;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::version::Version;
use super::writer::{USER, Writer, Written};
use super::{Cache, Detector, Plan, Reference, Settings, Sign, Strength, given_start, incomplete};
use crate::context::ExtraFile;

const MAVEN: Cache = Cache::locked("maven", "/root/.m2");
const GRADLE: Cache = Cache::locked("gradle", "/root/.gradle");
/// What copies the result of a build to `/out`.
const PICK: &str = include_str!("pick.sh");
const PICK_FILE: &str = "pick.sh";
/// What makes Java trust the extra authorities.
const TRUST: &str = include_str!("Trust.java");
const TRUST_FILE: &str = "Trust.java";
/// The heap may have this much of the replica's memory.
const HEAP: &str = "-XX:MaxRAMPercentage=75";

/// A `pom.xml` or `build.gradle`.
pub(super) struct Java;

/// What a build leaves behind to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Artifact {
    /// A jar with its dependencies in it; the Gradle task that makes it.
    Jar,
    /// Quarkus's folder.
    Quarkus,
    /// Gradle's distribution: a script and jars.
    Distribution,
    /// A jar, and its dependencies beside it: the classes that have a `main`.
    Classes { mains: Vec<String> },
    /// What only runs in a servlet container.
    War,
    /// One of these, made by this Gradle task.
    Task(Box<Artifact>, &'static str),
}

impl Artifact {
    fn with_task(self, task: &'static str) -> Self {
        Self::Task(Box::new(self), task)
    }

    fn kind(&self) -> &Self {
        match self {
            Self::Task(kind, _) => kind.kind(),
            kind => kind,
        }
    }
}

/// A module that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    /// Where it is; empty for the top.
    folder: String,
    framework: Option<&'static str>,
    artifact: Artifact,
    /// Whether a server is among its dependencies.
    serves: bool,
}

/// What the build files say.
#[derive(Debug, Default)]
struct Project {
    modules: Vec<Module>,
    wanted: Option<Wanted>,
    uses_kotlin: bool,
    is_multi: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Maven,
    Gradle,
}

impl Tool {
    fn of(tree: &Tree<'_>) -> Option<(Self, &'static str)> {
        if tree.has("pom.xml") {
            return Some((Self::Maven, "pom.xml"));
        }
        tree.first(&[
            "build.gradle.kts",
            "build.gradle",
            "settings.gradle.kts",
            "settings.gradle",
        ])
        .map(|file| (Self::Gradle, file))
    }

    /// The wrapper script, if all of it is there.
    fn wrapper(self, tree: &Tree<'_>) -> Option<&'static str> {
        let (script, settings) = match self {
            Self::Maven => ("mvnw", ".mvn/wrapper/maven-wrapper.properties"),
            Self::Gradle => ("gradlew", "gradle/wrapper/gradle-wrapper.properties"),
        };
        (tree.has(script) && tree.has(settings)).then_some(script)
    }

    fn cache(self) -> Cache {
        match self {
            Self::Maven => MAVEN,
            Self::Gradle => GRADLE,
        }
    }
}

impl Detector for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn looks_for(&self) -> &'static str {
        "pom.xml, build.gradle or build.gradle.kts"
    }

    fn reference(&self) -> Reference {
        reference()
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        Ok(Tool::of(tree).map(|(_, file)| Sign::new(Strength::App, file)))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let (tool, file) = Tool::of(tree).ok_or_else(|| {
            incomplete(
                "There is neither pom.xml nor build.gradle.",
                "Add one, or a Dockerfile.",
            )
        })?;
        let project = match tool {
            Tool::Maven => maven::read(tree)?,
            Tool::Gradle => gradle::read(tree)?,
        };
        let version = version::choose(tree, project.wanted.clone())?;
        let mut notes = Vec::new();
        let web = compiled::web(Procfile::read(tree)?, &mut notes);
        let (module, start, rule) = match web {
            Some((start, rule)) => (None, start, rule),
            None => match choose(&project) {
                Ok((module, why)) => {
                    let (start, rule) = start(module, &why, tree)?;
                    (Some(module), start, rule)
                }
                Err(error) => {
                    let (start, rule) = given_start(settings).ok_or(error)?;
                    (None, start, rule)
                }
            },
        };
        let wrapper = tool.wrapper(tree);
        let written = Maker {
            tree,
            settings,
            tool,
            wrapper,
            project: &project,
            module,
            version: &version,
        }
        .write(start, rule);
        let found = wrapper.map_or_else(|| file.to_owned(), |wrapper| format!("{file}, {wrapper}"));
        let mut plan = Plan::new(self.name(), found, written);
        let framework = module.and_then(|module| module.framework);
        plan.framework = match (framework, project.uses_kotlin) {
            (Some(framework), true) => Some(format!("{framework}, Kotlin")),
            (Some(framework), false) => Some(framework.to_owned()),
            (None, true) => Some("Kotlin".to_owned()),
            (None, false) => None,
        };
        plan.versions = vec![version];
        plan.files.push(ExtraFile {
            path: PICK_FILE.to_owned(),
            content: Bytes::from_static(PICK.as_bytes()),
        });
        if settings.extra_ca {
            plan.files.push(ExtraFile {
                path: TRUST_FILE.to_owned(),
                content: Bytes::from_static(TRUST.as_bytes()),
            });
        }
        plan.notes = notes;
        Ok(plan)
    }
}

fn reference() -> Reference {
    Reference {
        title: "Java and Kotlin",
        managers: vec![
            [
                "Maven".into(),
                "`pom.xml`".into(),
                "`./mvnw package` with the wrapper's version, else `mvn package` of Maven 3.9; tests are not run".into(),
            ],
            [
                "Gradle".into(),
                "`build.gradle`, `build.gradle.kts`".into(),
                "`./gradlew` with the wrapper's version, else `gradle`; the task below".into(),
            ],
        ],
        frameworks: vec![
            [
                "Spring Boot".into(),
                "its plugin".into(),
                "`package` or `bootJar`; `java -jar`; is told by `SERVER_PORT`".into(),
            ],
            [
                "Quarkus".into(),
                "its plugin".into(),
                "`package` or `quarkusBuild`; `quarkus-run.jar`; is told by `QUARKUS_HTTP_PORT`".into(),
            ],
            [
                "Ktor".into(),
                "its plugin, or `ktor-server` among the dependencies".into(),
                "`buildFatJar`; `EngineMain` is given `-port=$PORT`, any other main reads `PORT`".into(),
            ],
            [
                "Micronaut".into(),
                "its plugin or dependencies".into(),
                "`installDist` or the shaded jar; is told by `MICRONAUT_SERVER_PORT`".into(),
            ],
            [
                "the shade, assembly or shadow plugin".into(),
                "the plugin".into(),
                "the jar that it makes; the app reads `PORT`".into(),
            ],
            [
                "Gradle's `application` plugin".into(),
                "the plugin".into(),
                "`installDist`, and its script".into(),
            ],
            [
                "plain Maven".into(),
                "`mainClass`, `exec.mainClass` or the only class with a `main`".into(),
                "the jar with its dependencies beside it".into(),
            ],
        ],
        version: "`.java-version`, `mise.toml`, `.tool-versions` (`java`), `system.properties`, `.sdkmanrc`; then \
                  `maven.compiler.release`, `java.version`, the compiler plugin's settings, or Gradle's toolchain and \
                  `sourceCompatibility`, of which the oldest release with long support that can build it is taken \
                  (a toolchain: exactly that one); else 21."
            .into(),
        start: vec![
            "`web` in the `Procfile`: jars are where the build makes them (`java -jar target/NAME.jar`)".into(),
            "the only module that can be run, or the only one with a server among its dependencies".into(),
        ],
        images: "`maven:3.9-eclipse-temurin-VERSION`, `gradle:9-jdkVERSION` (8 for Java 8 and 11) or, with a wrapper, \
                 `eclipse-temurin:VERSION-jdk` builds; `eclipse-temurin:VERSION-jre` runs, with at most 75 % of the \
                 memory as heap."
            .into(),
        caches: "`~/.m2` or `~/.gradle`, with the wrapper's download and Gradle's build cache.".into(),
        notes: vec![
            "A war without Spring Boot needs a servlet container, and so a Dockerfile.".into(),
            "Several jars without one that has its dependencies in it are an error that lists them.".into(),
        ],
    }
}

fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() {
        file.to_owned()
    } else {
        format!("{folder}/{file}")
    }
}

fn shown(module: &Module) -> &str {
    if module.folder.is_empty() {
        "the project"
    } else {
        &module.folder
    }
}

/// The module that runs, and why.
fn choose(project: &Project) -> Result<(&Module, String)> {
    let runs: Vec<&Module> = project.modules.iter().collect();
    match runs.as_slice() {
        [] => Err(incomplete(
            "This is Java, but nothing that it builds can be run.",
            "Use the plugin of Spring Boot, Quarkus or Ktor, Gradle's `application` plugin or Maven's shade plugin; or name \
             the main class (`exec.mainClass` in pom.xml); or add a line `web: COMMAND` to a Procfile.",
        )),
        [only] => Ok((only, format!("{} is what can be run", shown(only)))),
        several => {
            let serving: Vec<&&Module> = several.iter().filter(|module| module.serves).collect();
            if let [only] = serving.as_slice() {
                return Ok((
                    only,
                    format!("of {} modules, {} serves", several.len(), shown(only)),
                ));
            }
            let error = incomplete(
                "This is Java with several modules that can be run, and nothing says which one serves.",
                "Name it in a Procfile: `web: java -jar MODULE/target/NAME.jar` (Gradle: MODULE/build/libs/NAME.jar).",
            );
            Err(several
                .iter()
                .take(12)
                .fold(error, |error, module| error.detail(shown(module).to_owned())))
        }
    }
}

/// How a module is started.
fn start(module: &Module, why: &str, tree: &Tree<'_>) -> Result<(Start, String)> {
    let java = |words: &[&str]| {
        let all: Vec<&str> = ["java", HEAP].into_iter().chain(words.iter().copied()).collect();
        Start::exec(&all)
    };
    Ok(match module.artifact.kind() {
        Artifact::Quarkus => (java(&["-jar", "/app/quarkus-run.jar"]), why.to_owned()),
        Artifact::Distribution => (
            Start::exec(&["/app/bin/app"]),
            format!("{why}, by Gradle's application plugin"),
        ),
        Artifact::Classes { mains } => match mains.as_slice() {
            [main] => (
                java(&["-cp", "/app/app.jar:/app/lib/*", main]),
                format!("{why}; {main} has its main method"),
            ),
            several => {
                let error = incomplete(
                    "This is Java with several main classes, and nothing says which one serves.",
                    "Name it in pom.xml: `<properties><exec.mainClass>NAME</exec.mainClass></properties>`.",
                );
                return Err(several
                    .iter()
                    .take(12)
                    .fold(error, |error, name| error.detail(name.clone())));
            }
        },
        Artifact::War => {
            return Err(incomplete(
                "This is Java that becomes a war, which needs a servlet container.",
                "Add a Dockerfile that begins from `tomcat`, or let Spring Boot make it runnable.",
            ));
        }
        Artifact::Jar | Artifact::Task(..) => {
            let uses_engine = module.framework == Some("Ktor")
                && ["application.conf", "application.yaml", "application.yml"]
                    .iter()
                    .any(|file| tree.has(&join(&module.folder, &format!("src/main/resources/{file}"))));
            if uses_engine {
                (
                    Start::Shell(format!("java {HEAP} -jar /app/app.jar -port=$PORT")),
                    why.to_owned(),
                )
            } else {
                (java(&["-jar", "/app/app.jar"]), why.to_owned())
            }
        }
    })
}

/// Writes the Dockerfile.
struct Maker<'a> {
    tree: &'a Tree<'a>,
    settings: &'a Settings,
    tool: Tool,
    wrapper: Option<&'static str>,
    project: &'a Project,
    module: Option<&'a Module>,
    version: &'a Version,
}

impl Maker<'_> {
    fn write(&self, start: Start, rule: String) -> Written {
        let release = &self.version.version;
        let mut writer = Writer::new(self.settings);
        let image = match (self.wrapper, self.tool) {
            (Some(_), _) => format!("eclipse-temurin:{release}-jdk"),
            (None, Tool::Maven) => format!("maven:3.9-eclipse-temurin-{release}"),
            // Gradle 9 needs Java 17 itself.
            (None, Tool::Gradle) => {
                let gradle = if matches!(release.as_str(), "8" | "11") {
                    8
                } else {
                    9
                };
                format!("gradle:{gradle}-jdk{release}")
            }
        };
        writer
            .build_stage(&image, "build")
            .line("WORKDIR /app")
            .line(&format!("COPY {PICK_FILE} /opt/nonna/"));
        let mut environment = vec![("LANG", "C.UTF-8")];
        if self.tool == Tool::Gradle {
            environment.push(("GRADLE_USER_HOME", GRADLE.folder));
        }
        writer.environment(&environment);
        if self.settings.extra_ca {
            // Java has a trust store of its own and reads no variable.
            writer
                .line(&format!("COPY {TRUST_FILE} /opt/nonna/"))
                .run(
                    &[],
                    "javac -d /opt/nonna /opt/nonna/Trust.java && java -cp /opt/nonna Trust $SSL_CERT_FILE /opt/nonna/trust.p12",
                )
                .line(
                    "ENV JAVA_TOOL_OPTIONS=\"-Djavax.net.ssl.trustStore=/opt/nonna/trust.p12 -Djavax.net.ssl.trustStorePassword=changeit\"",
                );
        }
        writer.copy_source();
        let (command, why) = self.command();
        writer.install(&[], "", "");
        writer.build(&[self.tool.cache()], &command, why);
        self.pick(&mut writer);
        writer
            .final_stage(&format!("eclipse-temurin:{release}-jre"))
            .add_user("/app")
            .copy_from("build", "/out", "/app", Some(USER))
            .line("WORKDIR /app");
        let port = self.settings.port();
        let mut environment = format!("ENV PATH=/app/bin:$PATH PORT={port}");
        match self.module.and_then(|module| module.framework) {
            Some("Spring Boot") => environment.push_str(&format!(" SERVER_PORT={port}")),
            Some("Quarkus") => {
                environment.push_str(&format!(" QUARKUS_HTTP_HOST=0.0.0.0 QUARKUS_HTTP_PORT={port}"));
            }
            Some("Micronaut") => environment.push_str(&format!(" MICRONAUT_SERVER_PORT={port}")),
            None if self.module.is_none() => {
                // The Procfile's command may start any of these.
                environment.push_str(&format!(" SERVER_PORT={port} QUARKUS_HTTP_PORT={port}"));
            }
            Some(_) | None => {}
        }
        if self
            .module
            .is_some_and(|module| *module.artifact.kind() == Artifact::Distribution)
        {
            environment.push_str(&format!(" JAVA_OPTS={HEAP}"));
        }
        writer.line(&environment);
        writer.finish(USER, start, rule)
    }

    fn command(&self) -> (String, &'static str) {
        match self.tool {
            Tool::Maven => {
                let program = self.wrapper.map_or("mvn", |_| "sh ./mvnw");
                let mut command = format!("{program} -B -ntp -DskipTests");
                if let Some(module) = self.module.filter(|_| self.project.is_multi)
                    && !module.folder.is_empty()
                {
                    command.push_str(&format!(" -pl {} -am", module.folder));
                }
                command.push_str(" package");
                (command, "pom.xml")
            }
            Tool::Gradle => {
                let program = self.wrapper.map_or("gradle", |_| "sh ./gradlew");
                let task = match self.module.map(|module| &module.artifact) {
                    Some(Artifact::Task(_, task)) => task,
                    _ => "assemble",
                };
                let path = self
                    .module
                    .map(|module| module.folder.as_str())
                    .filter(|folder| !folder.is_empty())
                    .map_or_else(
                        || task.to_owned(),
                        |folder| format!(":{}:{task}", folder.replace('/', ":")),
                    );
                (
                    format!("{program} --no-daemon --console=plain --build-cache {path} -x test"),
                    "the build script",
                )
            }
        }
    }

    fn pick(&self, writer: &mut Writer<'_>) {
        let Some(module) = self.module else {
            writer.run(&[], "sh /opt/nonna/pick.sh all .");
            return;
        };
        let folder = if module.folder.is_empty() {
            "."
        } else {
            &module.folder
        };
        let kind = match module.artifact.kind() {
            Artifact::Quarkus => "quarkus",
            Artifact::Distribution => "dist",
            _ => "jar",
        };
        writer.run(&[], &format!("sh /opt/nonna/pick.sh {kind} {folder}"));
        if matches!(module.artifact.kind(), Artifact::Classes { .. }) {
            let program = self.wrapper.map_or("mvn", |_| "sh ./mvnw");
            let pom = join(&module.folder, "pom.xml");
            debug_assert!(self.tree.has(&pom));
            writer.run(
                &[self.tool.cache()],
                &format!(
                    "{program} -B -ntp -f {pom} dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=/out/lib"
                ),
            );
        }
    }
}
