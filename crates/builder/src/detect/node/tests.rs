use super::super::tests::{golden, plan, refusal};

const LOCKED: (&str, &str) = ("package-lock.json", "{}");

fn start(files: &[(&str, &str)]) -> String {
    plan(files).unwrap().start.to_string()
}

#[test]
fn next_standalone_runs_without_its_packages() {
    insta::assert_snapshot!(golden(&[
        (
            "package.json",
            r#"{"scripts":{"build":"next build","start":"next start"},"dependencies":{"next":"15"},"packageManager":"pnpm@10.12.1+sha512.abc"}"#
        ),
        ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n"),
        (
            "next.config.ts",
            "const c: NextConfig = {\n  // output: 'export',\n  output: \"standalone\",\n};\n"
        ),
        ("public/robots.txt", ""),
        (".nvmrc", "22\n"),
    ]));
}

#[test]
fn a_single_page_app_is_served_as_pages() {
    insta::assert_snapshot!(golden(&[
        (
            "package.json",
            r#"{"scripts":{"dev":"vite","build":"tsc && vite build","preview":"vite preview"},"devDependencies":{"vite":"7"},"dependencies":{"react":"19"}}"#
        ),
        ("yarn.lock", "# yarn lockfile v1\n"),
        (
            "vite.config.ts",
            "export default defineConfig({ plugins: [react()] })"
        ),
        ("index.html", "<script type=module src=/src/main.tsx>"),
    ]));
}

#[test]
fn yarn_of_today_installs_into_node_modules() {
    insta::assert_snapshot!(golden(&[
        (
            "package.json",
            r#"{"scripts":{"start":"node server.js","build":"tsc"},"dependencies":{"express":"5"}}"#
        ),
        ("yarn.lock", "# generated\n\n__metadata:\n  version: 8\n"),
        (".yarnrc.yml", "yarnPath: .yarn/releases/yarn-4.6.0.cjs\n"),
        (".yarn/releases/yarn-4.6.0.cjs", ""),
    ]));
}

#[test]
fn a_change_of_the_source_leaves_the_packages_alone() {
    insta::assert_snapshot!(golden(&[
        (
            "package.json",
            r#"{"scripts":{"build":"tsc","start":"node dist/server.js"},"dependencies":{"express":"5"},"devDependencies":{"typescript":"5"}}"#
        ),
        LOCKED,
    ]));
}

#[test]
fn packages_that_a_build_writes_into_stay_beside_it() {
    let all = |package: &str| plan(&[("package.json", package), LOCKED]).unwrap().dockerfile;
    for package in [
        r#"{"scripts":{"build":"prisma generate && tsc","start":"node a"},"dependencies":{"@prisma/client":"6"},"devDependencies":{"prisma":"6"}}"#,
        r#"{"scripts":{"build":"tsc","start":"node a","postinstall":"patch-package"},"dependencies":{"x":"1"},"devDependencies":{"patch-package":"8"}}"#,
        r#"{"workspaces":["packages/*"],"scripts":{"build":"tsc","start":"node a"},"dependencies":{"x":"1"}}"#,
    ] {
        let dockerfile = all(package);
        assert!(!dockerfile.contains("AS dependencies"), "{dockerfile}");
        let build = dockerfile
            .find("RUN npm run build")
            .or_else(|| dockerfile.find(" npm run build"));
        assert!(build < dockerfile.find("npm prune"), "{dockerfile}");
    }
}

#[test]
fn bun_runs_what_it_installed() {
    insta::assert_snapshot!(golden(&[
        (
            "package.json",
            r#"{"scripts":{"start":"bun src/index.ts"},"dependencies":{"hono":"4"}}"#
        ),
        ("bun.lock", "{}"),
    ]));
}

#[test]
fn what_a_framework_builds_is_what_runs() {
    let with = |package: &str, others: &[(&str, &str)]| {
        let mut files = vec![("package.json", package), LOCKED];
        files.extend(others);
        let plan = plan(&files).unwrap();
        let from: Vec<&str> = plan
            .dockerfile
            .lines()
            .filter_map(|line| line.strip_prefix("COPY --from=build "))
            .collect();
        format!(
            "{}: {} | {}",
            plan.framework.unwrap_or_default(),
            plan.start,
            from.join("; ")
        )
    };
    let nginx = "nginx -e /dev/stderr";
    for (package, others, expected) in [
        (
            r#"{"scripts":{"build":"next build"},"dependencies":{"next":"15"}}"#,
            &[(
                "next.config.mjs",
                "export default { output: 'export', distDir: 'site' }",
            )][..],
            format!("Next.js: {nginx} | /app/site/ /srv/"),
        ),
        (
            r#"{"scripts":{"build":"next build"},"dependencies":{"next":"15"}}"#,
            &[],
            "Next.js: next start | --chown=node:node /app ./".to_owned(),
        ),
        (
            r#"{"scripts":{"build":"nuxt build"},"dependencies":{"nuxt":"4"}}"#,
            &[],
            "Nuxt: node .output/server/index.mjs | --chown=node:node /app/.output/ ./.output/".to_owned(),
        ),
        (
            r#"{"scripts":{"generate":"nuxt generate"},"dependencies":{"nuxt":"4"}}"#,
            &[],
            format!("Nuxt: {nginx} | /app/.output/public/ /srv/"),
        ),
        (
            r#"{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-node":"5","vite":"6"}}"#,
            &[(
                "svelte.config.js",
                "import adapter from '@sveltejs/adapter-node';",
            )],
            "SvelteKit: node build | --chown=node:node /app ./".to_owned(),
        ),
        (
            r#"{"scripts":{"build":"astro build"},"dependencies":{"astro":"5"}}"#,
            &[],
            format!("Astro: {nginx} | /app/dist/ /srv/"),
        ),
        (
            r#"{"scripts":{"build":"astro build"},"dependencies":{"astro":"5","@astrojs/node":"9"}}"#,
            &[("astro.config.mjs", "import node from '@astrojs/node';")],
            "Astro: node ./dist/server/entry.mjs | --chown=node:node /app ./".to_owned(),
        ),
        (
            r#"{"scripts":{"build":"react-router build","start":"react-router-serve ./build/server/index.js"},"devDependencies":{"@react-router/dev":"7","vite":"6"}}"#,
            &[],
            "React Router: react-router-serve ./build/server/index.js | --chown=node:node /app ./".to_owned(),
        ),
        (
            r#"{"scripts":{"build":"react-router build"},"devDependencies":{"@react-router/dev":"7"}}"#,
            &[("react-router.config.ts", "export default { ssr: false };")],
            format!("React Router: {nginx} | /app/build/client/ /srv/"),
        ),
        (
            r#"{"scripts":{"build":"ng build"},"dependencies":{"@angular/core":"20"}}"#,
            &[(
                "angular.json",
                r#"{"projects":{"shop":{"projectType":"application","architect":{"build":{"builder":"@angular/build:application","options":{}}}}}}"#,
            )],
            format!("Angular: {nginx} | /app/dist/shop/browser/ /srv/"),
        ),
        (
            r#"{"scripts":{"docs:build":"vitepress build docs"},"devDependencies":{"vitepress":"1"}}"#,
            &[],
            format!("VitePress: {nginx} | /app/docs/.vitepress/dist/ /srv/"),
        ),
        (
            r#"{"devDependencies":{"@11ty/eleventy":"3"}}"#,
            &[],
            format!("Eleventy: {nginx} | /app/_site/ /srv/"),
        ),
        // An app that serves itself is no folder of files.
        (
            r#"{"scripts":{"build":"vite build","start":"node server.js"},"dependencies":{"express":"5"},"devDependencies":{"vite":"6"}}"#,
            &[],
            ": node server.js | --chown=node:node /app ./".to_owned(),
        ),
    ] {
        assert_eq!(with(package, others), expected, "{package}");
    }
}

#[test]
fn the_package_manager_is_found_by_rules() {
    let package = r#"{"scripts":{"start":"node a"},"dependencies":{"x":"1"}}"#;
    let install = |package: &str, lock: (&str, &str)| {
        let plan = plan(&[("package.json", package), lock]).unwrap();
        plan.install
            .first()
            .map(|one| one.command.clone())
            .unwrap_or_default()
    };
    assert_eq!(install(package, LOCKED), "npm ci --omit=dev");
    assert_eq!(
        install(package, ("pnpm-lock.yaml", "lockfileVersion: '6.0'\n")),
        "pnpm install --frozen-lockfile --prod"
    );
    let old = plan(&[
        ("package.json", package),
        ("pnpm-lock.yaml", "lockfileVersion: '6.0'\n"),
    ])
    .unwrap();
    assert!(
        old.dockerfile.contains("npm install -g --force pnpm@8\n"),
        "{}",
        old.dockerfile
    );
    assert_eq!(install(package, ("x", "")), "npm install --omit=dev");
    let named = r#"{"packageManager":"yarn@1.22.19","scripts":{"start":"node a"},"dependencies":{"x":"1"}}"#;
    assert_eq!(
        install(named, LOCKED),
        "yarn install --non-interactive --production"
    );
    for bad in ["pnpm", "pnpm@latest", "deno@2.0.0", "pnpm@1;rm -rf /", "yarn@"] {
        let text = format!(r#"{{"packageManager":"{bad}","scripts":{{"start":"node a"}}}}"#);
        let said = refusal(&[("package.json", &text)]);
        assert!(said.contains("packageManager"), "{bad}: {said}");
    }
}

#[test]
fn what_cannot_be_run_is_said() {
    let said = refusal(&[(
        "package.json",
        r#"{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-auto":"3"}}"#,
    )]);
    assert!(said.contains("adapter-node"), "{said}");
    let said = refusal(&[("package.json", r#"{"dependencies":{"lodash":"4"}}"#)]);
    assert!(said.contains("nothing says how to start it"), "{said}");
    let said = refusal(&[
        ("package.json", r#"{"dependencies":{"@angular/core":"20"}}"#),
        (
            "angular.json",
            r#"{"projects":{"a":{"projectType":"application","architect":{"build":{"options":{"outputPath":"../x"}}}}}}"#,
        ),
    ]);
    assert!(said.contains("outputPath"), "{said}");
}

#[test]
fn scripts_around_the_start_script_run_too() {
    assert_eq!(
        start(&[(
            "package.json",
            r#"{"packageManager":"pnpm@9.0.0","scripts":{"prestart":"x","start":"node x"}}"#
        ),]),
        "pnpm start"
    );
}
