//! The frameworks of Node.js: what each one builds, and how that is run.

use nonna_engine::Result;

use super::super::Cache;
use super::super::incomplete;
use super::super::start::Start;
use super::super::tree::Tree;
use super::angular;
use super::package::Package;

/// A framework that was recognised.
#[derive(Debug, Clone)]
pub(super) struct Framework {
    pub(super) name: &'static str,
    /// The script that builds; the first that package.json has.
    pub(super) scripts: &'static [&'static str],
    /// The program that builds where no script does.
    pub(super) program: Option<&'static str>,
    pub(super) output: Output,
    /// What its builds keep for the next one.
    pub(super) cache: Option<Cache>,
    pub(super) note: Option<&'static str>,
}

/// What a build leaves.
#[derive(Debug, Clone)]
pub(super) enum Output {
    /// An app with its packages: the whole folder, started as package.json
    /// says, or else so.
    App(Option<Start>),
    /// All that runs, in these folders: from where and to where, below the
    /// app's folder.
    Bundle {
        folders: Vec<(String, String)>,
        start: Start,
        rule: &'static str,
    },
    /// Pages.
    Pages { folder: String, single: bool },
}

const NEXT: [&str; 4] = [
    "next.config.js",
    "next.config.mjs",
    "next.config.ts",
    "next.config.cjs",
];
/// https://nextjs.org/docs/app/guides/ci-build-caching
const NEXT_CACHE: Cache = Cache::locked("next", "/app/.next/cache");
/// https://angular.dev/cli/cache
const ANGULAR_CACHE: Cache = Cache::locked("angular", "/app/.angular/cache");
const ASTRO: [&str; 4] = [
    "astro.config.mjs",
    "astro.config.ts",
    "astro.config.js",
    "astro.config.mts",
];
const SVELTE: [&str; 2] = ["svelte.config.js", "svelte.config.ts"];
const ROUTER: [&str; 2] = ["react-router.config.ts", "react-router.config.js"];
const VITE: [&str; 5] = [
    "vite.config.ts",
    "vite.config.js",
    "vite.config.mjs",
    "vite.config.mts",
    "vite.config.cjs",
];

impl Framework {
    fn new(name: &'static str, output: Output) -> Self {
        Self {
            name,
            scripts: &["build"],
            program: None,
            output,
            cache: None,
            note: None,
        }
    }

    fn pages(name: &'static str, folder: impl Into<String>, single: bool) -> Self {
        Self::new(
            name,
            Output::Pages {
                folder: folder.into(),
                single,
            },
        )
    }

    fn keeping(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    fn built_by(mut self, program: &'static str) -> Self {
        self.program = Some(program);
        self
    }

    /// The folders of its pages in which every name has the hash of its
    /// content: not those into which the app puts files of its own.
    pub(super) fn hashed(&self, tree: &Tree<'_>) -> Vec<&'static str> {
        let (folder, own): (&str, &[&str]) = match self.name {
            "Vite" | "Remix" | "React Router" => ("assets", &["public/assets"]),
            "VitePress" => ("assets", &["public/assets", "docs/public/assets"]),
            "Docusaurus" => ("assets", &["static/assets"]),
            "Create React App" => ("static", &["public/static"]),
            "Gatsby" => ("static", &["static/static"]),
            _ => return Vec::new(),
        };
        if own.iter().any(|own| tree.has_folder(own)) {
            return Vec::new();
        }
        vec![folder]
    }

    /// The framework of an app, if it has one: frameworks for whole apps
    /// first, then generators of sites, then tools that bundle.
    pub(super) fn of(tree: &Tree<'_>, package: &Package) -> Result<Option<Self>> {
        let found = match Self::whole(tree, package)? {
            Some(whole) => Some(whole),
            None => Self::site(tree, package)?,
        };
        Ok(found)
    }

    fn whole(tree: &Tree<'_>, package: &Package) -> Result<Option<Self>> {
        let node = |words: &[&str]| Start::exec(words);
        if package.needs("next") {
            return Ok(Some(next(&config(tree, &NEXT)?, tree).keeping(NEXT_CACHE)));
        }
        if package.needs("nuxt") {
            return Ok(Some(
                if package.script("build").is_none() && package.script("generate").is_some() {
                    let mut site = Self::pages("Nuxt", ".output/public", false);
                    site.scripts = &["generate"];
                    site
                } else {
                    Self::new(
                        "Nuxt",
                        bundle(
                            &[".output"],
                            node(&["node", ".output/server/index.mjs"]),
                            "what `nuxt build` makes runs by itself",
                        ),
                    )
                    .built_by("nuxt build")
                },
            ));
        }
        if package.needs("@sveltejs/kit") {
            return svelte(&config(tree, &SVELTE)?, package).map(Some);
        }
        if package.needs("astro") {
            let config = config(tree, &ASTRO)?;
            let server = package.needs("@astrojs/node") && config.contains("@astrojs/node");
            return Ok(Some(if server {
                Self::new(
                    "Astro",
                    Output::App(Some(node(&["node", "./dist/server/entry.mjs"]))),
                )
                .built_by("astro build")
            } else {
                Self::pages(
                    "Astro",
                    quoted(&config, "outDir").unwrap_or_else(|| "dist".to_owned()),
                    false,
                )
                .built_by("astro build")
            }));
        }
        if package.needs("@react-router/dev") || package.needs("@remix-run/dev") {
            let router = config(tree, &ROUTER)?;
            let remix = package.needs("@remix-run/dev");
            let name = if remix { "Remix" } else { "React Router" };
            let build = if remix {
                "remix vite:build"
            } else {
                "react-router build"
            };
            if setting(&router, "ssr") == Some("false") {
                return Ok(Some(Self::pages(name, "build/client", true).built_by(build)));
            }
            let serve = if remix {
                "remix-serve"
            } else {
                "react-router-serve"
            };
            return Ok(Some(
                Self::new(name, Output::App(Some(node(&[serve, "./build/server/index.js"])))).built_by(build),
            ));
        }
        if package.needs("@nestjs/core") {
            return Ok(Some(
                Self::new("NestJS", Output::App(Some(node(&["node", "dist/main"])))).built_by("nest build"),
            ));
        }
        if package.needs("@angular/core") && tree.has("angular.json") {
            return angular::read(tree).map(|framework| Some(framework.keeping(ANGULAR_CACHE)));
        }
        Ok(None)
    }

    fn site(tree: &Tree<'_>, package: &Package) -> Result<Option<Self>> {
        // An app that serves requests itself only uses the tool for its pages.
        if package.is_server() {
            return Ok(None);
        }
        for (needed, name, folder, program) in [
            ("gatsby", "Gatsby", "public", "gatsby build"),
            ("@docusaurus/core", "Docusaurus", "build", "docusaurus build"),
            ("@11ty/eleventy", "Eleventy", "_site", "eleventy"),
            ("hexo", "Hexo", "public", "hexo generate"),
        ] {
            if package.needs(needed) {
                return Ok(Some(Self::pages(name, folder, false).built_by(program)));
            }
        }
        if package.needs("vitepress") {
            return Ok(Some(vitepress(tree, package)));
        }
        for (needed, name, folder, program) in [
            (
                "react-scripts",
                "Create React App",
                "build",
                "react-scripts build",
            ),
            ("@vue/cli-service", "Vue CLI", "dist", "vue-cli-service build"),
            ("parcel", "Parcel", "dist", "parcel build"),
        ] {
            if package.needs(needed) && package.script("start:prod").is_none() {
                return Ok(Some(Self::pages(name, folder, true).built_by(program)));
            }
        }
        let previews = |script: &str| {
            let first = script.split_whitespace().next().unwrap_or_default();
            matches!(first, "vite" | "serve" | "http-server" | "npx")
        };
        if package.needs("vite")
            && package.script("start:prod").is_none()
            && package.script("start").is_none_or(previews)
        {
            let config = config(tree, &VITE)?;
            let folder = quoted(&config, "outDir").unwrap_or_else(|| "dist".to_owned());
            // A folder above is the root's affair, which only Vite knows.
            let folder = folder
                .trim_start_matches("../")
                .trim_start_matches("./")
                .to_owned();
            return Ok(Some(Self::pages("Vite", folder, true).built_by("vite build")));
        }
        Ok(None)
    }
}

fn bundle(folders: &[&str], start: Start, rule: &'static str) -> Output {
    Output::Bundle {
        folders: folders
            .iter()
            .map(|folder| ((*folder).to_owned(), (*folder).to_owned()))
            .collect(),
        start,
        rule,
    }
}

fn next(config: &str, tree: &Tree<'_>) -> Framework {
    match quoted(config, "output").as_deref() {
        Some("export") => {
            let folder = quoted(config, "distDir").unwrap_or_else(|| "out".to_owned());
            Framework::pages("Next.js", folder, false).built_by("next build")
        }
        Some("standalone") => {
            // https://nextjs.org/docs/app/api-reference/config/next-config-js/output:
            // the server leaves these two to a CDN, or to whoever copies them.
            let mut folders = vec![
                (".next/standalone".to_owned(), ".".to_owned()),
                (".next/static".to_owned(), ".next/static".to_owned()),
            ];
            if tree.has_folder("public") {
                folders.push(("public".to_owned(), "public".to_owned()));
            }
            Framework::new(
                "Next.js",
                Output::Bundle {
                    folders,
                    start: Start::exec(&["node", "server.js"]),
                    rule: "`output: \"standalone\"` in Next.js's settings",
                },
            )
            .built_by("next build")
        }
        _ => {
            let mut framework = Framework::new("Next.js", Output::App(Some(Start::exec(&["next", "start"]))))
                .built_by("next build");
            framework.note =
                Some("`output: \"standalone\"` in Next.js's settings makes the image several times smaller");
            framework
        }
    }
}

fn svelte(config: &str, package: &Package) -> Result<Framework> {
    let uses = |adapter: &str| package.needs(adapter) && (config.contains(adapter) || config.is_empty());
    if uses("@sveltejs/adapter-node") {
        return Ok(
            Framework::new("SvelteKit", Output::App(Some(Start::exec(&["node", "build"]))))
                .built_by("vite build"),
        );
    }
    if uses("@sveltejs/adapter-static") {
        let single = quoted(config, "fallback").is_some();
        return Ok(Framework::pages("SvelteKit", "build", single).built_by("vite build"));
    }
    Err(incomplete(
        "This is SvelteKit, with an adapter that builds neither for Node.js nor static pages.",
        "Install @sveltejs/adapter-node (or @sveltejs/adapter-static) and name it in svelte.config.js.",
    ))
}

/// VitePress builds the folder that its script names.
fn vitepress(tree: &Tree<'_>, package: &Package) -> Framework {
    let script = ["docs:build", "build"]
        .iter()
        .find_map(|name| package.script(name))
        .unwrap_or_default();
    let mut words = script
        .split_whitespace()
        .skip_while(|word| *word != "build")
        .skip(1);
    let named = words.find(|word| !word.starts_with('-')).map(str::to_owned);
    let folder = named.unwrap_or_else(|| {
        if tree.has_folder("docs/.vitepress") {
            "docs".to_owned()
        } else {
            ".".to_owned()
        }
    });
    let folder = format!("{}/.vitepress/dist", folder.trim_end_matches('/'));
    let folder = folder.trim_start_matches("./").to_owned();
    let mut site = Framework::pages("VitePress", folder, false).built_by("vitepress build");
    site.scripts = &["docs:build", "build"];
    site
}

/// The text of the first of these files that there is, without comments.
fn config(tree: &Tree<'_>, files: &[&str]) -> Result<String> {
    let Some(file) = tree.first(files) else {
        return Ok(String::new());
    };
    let text = tree.text(file)?.unwrap_or_default();
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.starts_with('*') && !line.starts_with("/*"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// What follows a field in a file of settings that is a program: it is not run,
/// so only a plain value is understood.
fn setting<'t>(text: &'t str, field: &str) -> Option<&'t str> {
    text.match_indices(field).find_map(|(at, _)| {
        let before = text.get(..at)?.chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.' || c == '$') {
            return None;
        }
        let rest = text
            .get(at + field.len()..)?
            .trim_start_matches(['"', '\''])
            .trim_start();
        let rest = rest.strip_prefix(':')?.trim_start();
        let end = rest.find([',', '\n', '}', ' ', ';']).unwrap_or(rest.len());
        rest.get(..end)
    })
}

/// A field's value, if it is a text in quotes that is a plain path or word.
fn quoted(text: &str, field: &str) -> Option<String> {
    let value = setting(text, field)?;
    let inner = value.trim_matches(['"', '\'', '`']);
    let plain = !inner.is_empty()
        && inner.len() < value.len()
        && inner
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && !inner.split('/').any(|part| part == "..")
        && !inner.starts_with('/');
    plain.then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_values_of_settings_are_believed() {
        let text = "export default {\n  output: 'standalone',\n  build: { outDir: \"../x\" },\n  \"distDir\": `a/b`,\n ssr: false }";
        assert_eq!(quoted(text, "output").as_deref(), Some("standalone"));
        assert_eq!(quoted(text, "distDir").as_deref(), Some("a/b"));
        assert_eq!(quoted(text, "outDir"), None);
        assert_eq!(setting(text, "ssr"), Some("false"));
        assert_eq!(quoted("x: { noutput: 'a' }", "output"), None);
        assert_eq!(quoted("output: process.env.X", "output"), None);
        assert_eq!(quoted("output:", "output"), None);
    }
}
