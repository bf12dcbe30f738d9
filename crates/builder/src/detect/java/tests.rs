use super::super::Settings;
use super::super::tests::{golden, plan, plan_with, refusal};

const SPRING: &str = "<project>\n<parent><artifactId>spring-boot-starter-parent</artifactId></parent>\n<artifactId>shop</artifactId>\n<properties>\n<java.version>21</java.version>\n</properties>\n<dependencies><dependency><artifactId>spring-boot-starter-web</artifactId></dependency></dependencies>\n<build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build>\n</project>\n";

#[test]
fn spring_boot_with_the_wrapper_of_maven() {
    insta::assert_snapshot!(golden(&[
        ("pom.xml", SPRING),
        ("mvnw", ""),
        (".mvn/wrapper/maven-wrapper.properties", ""),
        (
            "src/main/java/a/App.java",
            "package a;\nclass App { public static void main(String[] a) {} }\n"
        ),
    ]));
}

#[test]
fn plain_maven_has_its_dependencies_beside_the_jar() {
    insta::assert_snapshot!(golden(&[
        (
            "pom.xml",
            "<project><artifactId>a</artifactId><properties><maven.compiler.release>16</maven.compiler.release></properties></project>"
        ),
        (
            "src/main/java/com/a/Main.java",
            "package com.a;\npublic class Main {\n  public static void main(String[] args) {}\n}\n"
        ),
    ]));
}

#[test]
fn of_several_modules_of_maven_the_one_that_serves_runs() {
    insta::assert_snapshot!(golden(&[
        (
            "pom.xml",
            "<project><packaging>pom</packaging><modules><module>core</module><module>web</module><module>batch</module></modules><properties><java.version>17</java.version></properties></project>"
        ),
        ("core/pom.xml", "<project><artifactId>core</artifactId></project>"),
        ("web/pom.xml", SPRING),
        (
            "batch/pom.xml",
            "<project><build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build></project>"
        ),
    ]));
}

#[test]
fn quarkus_with_gradle() {
    insta::assert_snapshot!(golden(&[
        (
            "build.gradle",
            "plugins {\n    id 'java'\n    id 'io.quarkus'\n}\njava {\n    sourceCompatibility = JavaVersion.VERSION_21\n}\n"
        ),
        ("settings.gradle", "rootProject.name = 'shop'\n"),
        ("gradlew", ""),
        ("gradle/wrapper/gradle-wrapper.properties", ""),
    ]));
}

#[test]
fn ktor_with_kotlin_s_build_script() {
    insta::assert_snapshot!(golden(&[
        (
            "build.gradle.kts",
            "plugins {\n    kotlin(\"jvm\") version \"2.1.0\"\n    id(\"io.ktor.plugin\") version \"3.0.3\"\n}\nkotlin {\n    jvmToolchain(17)\n}\n"
        ),
        ("src/main/resources/application.yaml", ""),
    ]));
}

#[test]
fn gradle_s_application_in_a_project_of_several() {
    insta::assert_snapshot!(golden(&[
        (
            "settings.gradle.kts",
            "rootProject.name = \"shop\"\ninclude(\":app\", \"libs:util\")\n"
        ),
        ("app/build.gradle.kts", "plugins {\n    application\n}\n"),
        ("libs/util/build.gradle.kts", "plugins {\n    `java-library`\n}\n"),
    ]));
}

#[test]
fn the_release_is_what_the_files_ask_for() {
    let image = |files: &[(&'static str, &'static str)]| {
        let mut all = vec![("pom.xml", SPRING)];
        all.extend(files);
        plan(&all).map(|plan| plan.base_images.last().cloned().unwrap())
    };
    assert_eq!(image(&[]).unwrap(), "eclipse-temurin:21-jre");
    assert_eq!(
        image(&[("system.properties", "java.runtime.version=17\n")]).unwrap(),
        "eclipse-temurin:17-jre"
    );
    assert_eq!(
        image(&[(".tool-versions", "java temurin-25.0.1+8\n")]).unwrap(),
        "eclipse-temurin:25-jre"
    );
    for (file, text, place) in [
        (".java-version", "newest\n", "`.java-version`, line 1"),
        (
            "system.properties",
            "a=b\njava.runtime.version=1.4\n",
            "`system.properties`, line 2",
        ),
    ] {
        let error = image(&[(file, text)]).unwrap_err();
        assert!(error.message.contains(place), "{error}");
    }
    let wrong = SPRING.replace(">21<", ">new<");
    let error = plan(&[("pom.xml", &wrong)]).unwrap_err();
    assert!(error.message.contains("`pom.xml`, line 5"), "{error}");
}

#[test]
fn what_cannot_run_is_refused_with_the_way_out() {
    let main = |name: &str| {
        format!("package a;\npublic class {name} {{\n public static void main(String[] a) {{}}\n}}\n")
    };
    let pom = "<project><artifactId>a</artifactId></project>";
    let said = refusal(&[
        ("pom.xml", pom),
        ("src/main/java/a/A.java", &main("A")),
        ("src/main/java/a/B.java", &main("B")),
    ]);
    assert!(
        said.contains("a.A a.B") && said.contains("exec.mainClass"),
        "{said}"
    );
    assert!(refusal(&[("pom.xml", pom)]).contains("nothing that it builds can be run"));
    assert!(
        refusal(&[("pom.xml", "<project><packaging>war</packaging></project>")])
            .contains("servlet container")
    );
    let modules = "<project><packaging>pom</packaging><modules><module>a</module><module>b</module></modules></project>";
    let said = refusal(&[("pom.xml", modules), ("a/pom.xml", SPRING), ("b/pom.xml", SPRING)]);
    assert!(
        said.contains("which one serves. a b") && said.contains("MODULE/target"),
        "{said}"
    );
    assert!(
        plan(&[("build.gradle", "plugins { id 'java-library' }\n")])
            .unwrap_err()
            .message
            .contains("can be run")
    );
}

#[test]
fn a_procfile_finds_jars_where_the_build_makes_them() {
    let plan = plan(&[
        ("pom.xml", SPRING),
        ("Procfile", "web: java -jar target/shop-1.0.jar\n"),
    ])
    .unwrap();
    assert_eq!(plan.start.to_string(), "java -jar target/shop-1.0.jar");
    assert!(plan.dockerfile.contains("pick.sh all ."), "{}", plan.dockerfile);
}

#[test]
fn extra_authorities_become_a_trust_store_of_the_build() {
    let settings = Settings {
        extra_ca: true,
        cache: "svc".into(),
        port: None,
        ..Settings::default()
    };
    let plan = plan_with(&[("pom.xml", SPRING)], &settings).unwrap();
    let (build, image) = plan.dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(
        build.contains("java -cp /opt/nonna Trust $SSL_CERT_FILE"),
        "{build}"
    );
    assert!(!image.contains("trust"), "{image}");
    assert!(plan.files.iter().any(|file| file.path == "Trust.java"));
}
