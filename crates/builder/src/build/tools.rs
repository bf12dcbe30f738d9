//! What compilers and package managers say when a build fails, in words that
//! say how to mend it. The tool's own output is the evidence.

/// A sentence of a tool, and what it means.
struct Sign {
    /// All of these stand in one line of the output, in lower case.
    words: &'static [&'static str],
    /// What is wrong, and how it is mended.
    hint: &'static str,
}

/// The most particular first.
const SIGNS: &[Sign] = &[
    // npm, pnpm, Yarn, Bun
    Sign {
        words: &["package.json and package-lock.json", "in sync"],
        hint: "package-lock.json is out of step with package.json: run `npm install` and commit package-lock.json.",
    },
    Sign {
        words: &["err_pnpm_outdated_lockfile"],
        hint: "pnpm-lock.yaml is out of step with package.json: run `pnpm install` and commit pnpm-lock.yaml.",
    },
    Sign {
        words: &["lockfile needs to be updated", "--frozen-lockfile"],
        hint: "yarn.lock is out of step with package.json: run `yarn install` and commit yarn.lock.",
    },
    Sign {
        words: &["lockfile would have been", "explicitly forbidden"],
        hint: "yarn.lock is out of step with package.json: run `yarn install` and commit yarn.lock.",
    },
    Sign {
        words: &["lockfile had changes, but lockfile is frozen"],
        hint: "bun.lock is out of step with package.json: run `bun install` and commit bun.lock.",
    },
    Sign {
        words: &["no matching version found for"],
        hint: "package.json asks for a version that no registry has: see the line above, and mend it.",
    },
    Sign {
        words: &["err_pnpm_no_matching_version"],
        hint: "package.json asks for a version that no registry has: see the line above, and mend it.",
    },
    // uv, Poetry, pip
    Sign {
        words: &["lockfile at `uv.lock` needs to be updated"],
        hint: "uv.lock is out of step with pyproject.toml: run `uv lock` and commit uv.lock.",
    },
    Sign {
        words: &["pyproject.toml changed significantly since poetry.lock"],
        hint: "poetry.lock is out of step with pyproject.toml: run `poetry lock` and commit poetry.lock.",
    },
    Sign {
        words: &["pipfile.lock", "out of date"],
        hint: "Pipfile.lock is out of step with the Pipfile: run `pipenv lock` and commit Pipfile.lock.",
    },
    Sign {
        words: &["command", "gcc", "failed"],
        hint: "A package of Python has to be compiled, and the image has no compiler: take a release of it that has wheels, its `-binary` sister where there is one, or a Dockerfile.",
    },
    Sign {
        words: &["no matching distribution found for"],
        hint: "A package is asked for in a version that does not exist, or not for this release of Python: see the lines below, and mend requirements.txt or pyproject.toml.",
    },
    // Bundler
    Sign {
        words: &["your bundle only supports platforms"],
        hint: "Gemfile.lock was made on another system: run `bundle lock --add-platform x86_64-linux aarch64-linux` and commit it.",
    },
    Sign {
        words: &["your ruby version is", "gemfile specified"],
        hint: "The Gemfile's `ruby` line and the version file ask for different releases: let both say the same.",
    },
    Sign {
        words: &["dependencies in your gemfile changed"],
        hint: "Gemfile.lock is out of step with the Gemfile: run `bundle install` and commit Gemfile.lock.",
    },
    Sign {
        words: &["deployment mode after changing"],
        hint: "Gemfile.lock is out of step with the Gemfile: run `bundle install` and commit Gemfile.lock.",
    },
    Sign {
        words: &["bundler could not find compatible versions"],
        hint: "The Gemfile asks for versions that do not go together: `bundle update --conservative` shows which.",
    },
    Sign {
        words: &["could not find", "in any of the sources"],
        hint: "Gemfile.lock names a gem that is not to be had: see that it was not withdrawn, and run `bundle update` for it.",
    },
    // Composer
    Sign {
        words: &["the lock file is not up to date"],
        hint: "composer.lock is out of step with composer.json: run `composer update --lock` and commit composer.lock.",
    },
    Sign {
        words: &["not present in the lock file"],
        hint: "composer.lock is out of step with composer.json: run `composer update` for what is missing and commit composer.lock.",
    },
    Sign {
        words: &["requires ext-", "missing from your system"],
        hint: "A package needs an extension of PHP that the image has not: name it as `ext-…` under `require` in composer.json, and commit composer.lock.",
    },
    // Deno
    Sign {
        words: &["the lockfile is out of date"],
        hint: "deno.lock is out of step with what is imported: run `deno install` and commit deno.lock.",
    },
    // Go
    Sign {
        words: &["missing go.sum entry"],
        hint: "go.sum is out of step with go.mod: run `go mod tidy` and commit both.",
    },
    Sign {
        words: &["updates to go.mod needed"],
        hint: "go.mod is out of step with the source: run `go mod tidy` and commit go.mod and go.sum.",
    },
    Sign {
        words: &["no required module provides package"],
        hint: "The source imports a package that go.mod does not name: run `go mod tidy` and commit go.mod and go.sum.",
    },
    Sign {
        words: &["inconsistent vendoring"],
        hint: "The folder `vendor` is out of step with go.mod: run `go mod vendor` and commit it, or remove it.",
    },
    Sign {
        words: &["requires go >=", "gotoolchain=local"],
        hint: "go.mod asks for a newer Go than the build's image has: name the release in `.go-version`, or pull its image anew on the server.",
    },
    // Cargo
    Sign {
        words: &["lock file", "--locked was passed"],
        hint: "Cargo.lock is out of step with Cargo.toml: run `cargo check` and commit Cargo.lock.",
    },
    Sign {
        words: &["requires rustc"],
        hint: "A package needs a newer Rust than the build has: raise the channel in rust-toolchain.toml, or take the file away.",
    },
    Sign {
        words: &["is not supported by the following packages"],
        hint: "A package needs a newer Rust than the build has: raise the channel in rust-toolchain.toml, or take the file away.",
    },
    // Java
    Sign {
        words: &["invalid target release"],
        hint: "The build asks for a newer Java than it got: name the release in `.java-version` or `system.properties`.",
    },
    Sign {
        words: &["release version", "not supported"],
        hint: "The build asks for a newer Java than it got: name the release in `.java-version` or `system.properties`.",
    },
    Sign {
        words: &["unsupported class file major version"],
        hint: "The wrapper's Gradle is too old for this release of Java: raise it (`./gradlew wrapper --gradle-version VERSION`) or name an older release in `.java-version`.",
    },
    Sign {
        words: &["cannot find a java installation"],
        hint: "Gradle's toolchain asks for a release of Java that the image has not: name the same one in `.java-version`.",
    },
    Sign {
        words: &["could not find artifact"],
        hint: "pom.xml names an artifact that no repository has: see that name and version are spelt right, and that a private repository is in the pom.",
    },
    // .NET
    Sign {
        words: &["nu1004"],
        hint: "packages.lock.json is out of step with the project file: run `dotnet restore --force-evaluate` and commit it.",
    },
    Sign {
        words: &["netsdk1045"],
        hint: "The project targets a newer .NET than the SDK of global.json: raise `sdk.version`.",
    },
    Sign {
        words: &["compatible .net sdk was not found"],
        hint: "global.json asks for an SDK that the image has not: set `rollForward` to `latestFeature`, or name a version that exists.",
    },
    // Mix
    Sign {
        words: &["mix.lock is out of date"],
        hint: "mix.lock is out of step with mix.exs: run `mix deps.get` and commit mix.lock.",
    },
    Sign {
        words: &["you're trying to run", "it supports only elixir"],
        hint: "`.tool-versions` and `elixir:` in mix.exs ask for different releases: let both say the same.",
    },
];

/// How to mend what a tool complains of in these lines; `None`: nothing in
/// them is known.
pub(super) fn hint(lines: &[String]) -> Option<&'static str> {
    let lower: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    SIGNS
        .iter()
        .find(|sign| {
            lower
                .iter()
                .any(|line| sign.words.iter().all(|word| line.contains(word)))
        })
        .map(|sign| sign.hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockfiles_out_of_step_are_named() {
        for (line, file) in [
            (
                "npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync.",
                "package-lock.json",
            ),
            (
                " ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\" because pnpm-lock.yaml is not up to date with package.json",
                "pnpm-lock.yaml",
            ),
            (
                "error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.",
                "yarn.lock",
            ),
            (
                "YN0028: The lockfile would have been modified by this install, which is explicitly forbidden.",
                "yarn.lock",
            ),
            ("error: lockfile had changes, but lockfile is frozen", "bun.lock"),
            (
                "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
                "uv.lock",
            ),
            (
                "pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock` to fix the lock file.",
                "poetry.lock",
            ),
            (
                "The dependencies in your gemfile changed, but the lockfile can't be updated because frozen mode is set",
                "Gemfile.lock",
            ),
            (
                "You are trying to install in deployment mode after changing your Gemfile.",
                "Gemfile.lock",
            ),
            (
                "main.go:4:2: missing go.sum entry for module providing package github.com/a/b; to add:",
                "go.sum",
            ),
            (
                "error: the lock file /app/Cargo.lock needs to be updated but --locked was passed to prevent this",
                "Cargo.lock",
            ),
            (
                "error: cannot update the lock file /app/Cargo.lock because --locked was passed to prevent this",
                "Cargo.lock",
            ),
            (
                "error NU1004: The packages lock file is inconsistent with the project dependencies",
                "packages.lock.json",
            ),
            (
                "** (Mix) Your mix.lock is out of date and must be updated without the --check-locked flag",
                "mix.lock",
            ),
        ] {
            let found = hint(&["x".to_owned(), line.to_owned()]);
            assert!(
                found.is_some_and(|hint| hint.contains(file) && hint.contains("commit")),
                "{line}: {found:?}"
            );
        }
        assert_eq!(hint(&["it failed".to_owned()]), None);
    }
}
