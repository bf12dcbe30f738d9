//! Whatever stands in a folder, detection ends in a plan or in an error that
//! says what to do; and a plan is a Dockerfile that could be read.

use proptest::prelude::*;

use super::tests::plan;
use super::{SOURCE_FOLDER, Start};

const NAMES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src/main.rs",
    "src/bin/a.rs",
    "rust-toolchain.toml",
    "rust-toolchain",
    "crates/a/Cargo.toml",
    "go.mod",
    "go.sum",
    "go.work",
    "main.go",
    "cmd/a/main.go",
    "cmd/b c/main.go",
    "Gemfile",
    "Gemfile.lock",
    "config.ru",
    "app.rb",
    "config/application.rb",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "app/build.gradle",
    "mvnw",
    "src/main/java/A.java",
    "a.csproj",
    "web/b.csproj",
    "a.sln",
    "global.json",
    "Directory.Build.props",
    "mix.exs",
    "mix.lock",
    "assets/package.json",
    "package.json",
    "yarn.lock",
    "requirements.txt",
    "pyproject.toml",
    "manage.py",
    "index.html",
    "Procfile",
    ".tool-versions",
    ".ruby-version",
    ".go-version",
    ".java-version",
    "system.properties",
    "elixir_buildpack.config",
    "templates/$a b.html",
    "composer.json",
    "composer.lock",
    "index.php",
    "public/index.php",
    "artisan",
    ".php-version",
    "deno.json",
    "deno.lock",
    "main.ts",
    "Pipfile",
    "Pipfile.lock",
    "mkdocs.yml",
    "hugo.toml",
    "config.toml",
    "content/a.md",
    "_config.yml",
];

/// Pieces of such files, which together are now and then one.
const PIECES: &[&str] = &[
    "[package]\nname = \"a\"\n",
    "[workspace]\nmembers = [\"crates/*\"]\n",
    "[toolchain]\nchannel = \"1.90\"\n",
    "module a\n",
    "go 1.25\n",
    "use (\n./a\n",
    "require x v1\n",
    "package main\n",
    "import \"C\"\n",
    "//go:build (((!\n",
    "gem 'rails'\n",
    "ruby '~> 3.3'\n",
    "require 'sinatra'\n",
    "GEM\n  specs:\n    puma (1)\n",
    "<project><packaging>war</packaging>",
    "<modules><module>a</module></modules>",
    "<Project Sdk=\"Microsoft.NET.Sdk.Web\"><PropertyGroup><TargetFramework>net8.0",
    "</TargetFramework></PropertyGroup></Project>",
    "plugins { id 'application' }\n",
    "include ':a', \"b:c\"\n",
    "jvmToolchain(",
    "{\"sdk\": {\"version\": \"8.0.100\"}}",
    "use Mix.Project\napp: :a, elixir: \"~> 1.17\",\n",
    "releases: [[a: [",
    "{:phoenix, \"~> 1\"}",
    "web: bin/a --x \"$PORT\"\n",
    "java 21\nruby 3.3\ngolang 1.25\nrust 1.90\nelixir 1.18.1-otp-27\n",
    "{\"scripts\":{\"start\":\"node a\"}}",
    "{\"require\":{\"php\":\"^8.1\",\"ext-gd\":\"*\",\"laravel/framework\":\"^12\"}}",
    "web: vendor/bin/heroku-php-apache2 $(x)/\n",
    "{\"tasks\":{\"start\":\"deno run -A $(x).ts\"},}",
    "theme:\n  name: material\nsite_dir: ../x\n",
    "baseURL = 'x'\npublishDir = \"a;b\"\n",
    "base_url = 'x'\n",
    "[packages]\npsycopg2 = \"*\"\n",
    "export default { fetch() {} };\n",
    "\u{feff}é\u{0}\r\n",
    "'",
    "\"",
    ")",
    "<",
];

fn file() -> impl Strategy<Value = (&'static str, String)> {
    let content = prop_oneof![
        proptest::collection::vec(proptest::sample::select(PIECES), 0..5).prop_map(|pieces| pieces.concat()),
        ".{0,40}",
    ];
    (proptest::sample::select(NAMES), content)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn ends_in_a_plan_or_in_words(files in proptest::collection::vec(file(), 0..9)) {
        let files: std::collections::BTreeMap<&str, String> = files.into_iter().collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        match plan(&files) {
            Ok(plan) => {
                for line in plan.dockerfile.lines() {
                    let word = line.split(' ').next().unwrap_or_default();
                    prop_assert!(
                        [
                            "FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "CMD", "ENTRYPOINT", "STOPSIGNAL",
                        ].contains(&word),
                        "{line}"
                    );
                }
                prop_assert!(plan.dockerfile.contains("\nUSER "), "{}", plan.dockerfile);
                let image = plan.dockerfile.rsplit("FROM ").next().unwrap_or_default();
                prop_assert!(!image.contains("\nUSER root"), "{}", plan.dockerfile);
                prop_assert!(plan.start != Start::Exec(Vec::new()));
                prop_assert!(plan.dockerfile.contains(SOURCE_FOLDER));
            }
            Err(error) => {
                prop_assert!(!error.message.is_empty());
                prop_assert!(error.hint.is_some(), "{error}");
            }
        }
    }
}
