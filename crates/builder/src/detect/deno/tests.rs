use super::super::tests::{golden, plan, refusal};

#[test]
fn what_the_lock_names_is_installed_before_the_source_is_there() {
    insta::assert_snapshot!(golden(&[
        (
            "deno.jsonc",
            "{\n  // What it needs.\n  \"imports\": { \"hono\": \"npm:hono@^4\", },\n  \"tasks\": { \"dev\": \"deno run --watch -A main.ts\", \"start\": \"deno run --allow-net --allow-env main.ts\" }\n}\n"
        ),
        ("deno.lock", r#"{"version":"5"}"#),
        ("main.ts", "Deno.serve(() => new Response());\n"),
        (".tool-versions", "deno 2.5.6\n"),
    ]));
}

#[test]
fn fresh_builds_and_starts_what_its_tasks_say() {
    insta::assert_snapshot!(golden(&[
        (
            "deno.json",
            r#"{"imports":{"fresh":"jsr:@fresh/core@^2"},"tasks":{"build":"vite build","start":"deno serve -A _fresh/server.js"}}"#
        ),
        ("main.ts", "export const app = new App();\n"),
    ]));
}

#[test]
fn the_start_command_is_found_by_rules() {
    let start = |config: &str, files: &[(&str, &str)]| {
        let mut all = vec![("deno.json", config)];
        all.extend(files);
        plan(&all).map(|plan| plan.start.to_string())
    };
    assert_eq!(
        start("{}", &[("server.ts", "Deno.serve(() => new Response());\n")]).unwrap(),
        "deno run --allow-all server.ts"
    );
    assert_eq!(
        start("{}", &[("main.ts", "export default {\n  fetch() {}\n};\n")]).unwrap(),
        "deno serve --allow-all --host 0.0.0.0 --port $PORT main.ts"
    );
    assert_eq!(
        start(
            r#"{"deploy":{"entrypoint":"./web/x.ts"}}"#,
            &[("web/x.ts", ""), ("main.ts", "")]
        )
        .unwrap(),
        "deno run --allow-all web/x.ts"
    );
    assert_eq!(
        start(
            r#"{"tasks":{"start":{"command":"deno run -A m.ts","dependencies":["build"]}}}"#,
            &[]
        )
        .unwrap(),
        "deno task start"
    );
    assert_eq!(
        start("{}", &[("Procfile", "web: deno run x.ts\n")]).unwrap(),
        "deno run x.ts"
    );
    assert!(refusal(&[("deno.json", "{}")]).contains("nothing says how to start it"));
}

#[test]
fn beside_node_it_needs_a_task_of_its_own() {
    let package = ("package.json", r#"{"scripts":{"start":"node main.js"}}"#);
    let tools = [("deno.json", r#"{"fmt":{}}"#), package, ("main.js", "")];
    assert_eq!(plan(&tools).unwrap().name, "node");
    let app = [
        ("deno.json", r#"{"tasks":{"start":"deno run main.js"}}"#),
        package,
    ];
    assert_eq!(plan(&app).unwrap().name, "deno");
}

#[test]
fn a_release_is_called_by_three_numbers() {
    let image = |version: &str| {
        plan(&[("deno.json", "{}"), ("main.ts", ""), (".deno-version", version)])
            .map(|plan| plan.base_images[0].clone())
    };
    assert_eq!(image("v2.1.4\n").unwrap(), "denoland/deno:debian-2.1.4");
    assert_eq!(image("latest\n").unwrap(), "denoland/deno:debian");
    for wrong in ["2.1\n", "1.46.3\n", "2.1.4 AS x\n"] {
        let error = image(wrong).unwrap_err();
        assert!(error.message.contains("`.deno-version`, line 1"), "{error}");
    }
    let error = plan(&[("deno.json", "{\"tasks\": ["), ("main.ts", "")]).unwrap_err();
    assert!(error.message.contains("`deno.json`"), "{error}");
}
