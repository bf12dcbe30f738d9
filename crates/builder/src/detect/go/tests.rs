use super::super::tests::{golden, plan, refusal};

const MAIN: &str = "package main\n\nfunc main() {}\n";

#[test]
fn a_module_becomes_a_static_program() {
    insta::assert_snapshot!(golden(&[
        (
            "go.mod",
            "module example.com/shop/v2\n\ngo 1.25.1\n\nrequire github.com/go-chi/chi/v5 v5.2.0\n"
        ),
        ("go.sum", ""),
        ("main.go", MAIN),
        ("main_test.go", "package main\n"),
        ("cmd/worker/main.go", MAIN),
        ("internal/db/db.go", "package db\n"),
        ("templates/index.html", ""),
        ("config.yaml", ""),
        ("README.md", ""),
    ]));
}

#[test]
fn a_program_that_calls_c_has_its_libraries() {
    insta::assert_snapshot!(golden(&[
        (
            "go.mod",
            "module shop\n\ngo 1.16\n\nrequire github.com/mattn/go-sqlite3 v1.14.24\n"
        ),
        ("go.sum", ""),
        ("vendor/modules.txt", ""),
        ("vendor/x/x.go", MAIN),
        ("cmd/shop/main.go", MAIN),
    ]));
}

#[test]
fn a_workspace_is_built_from_the_top() {
    insta::assert_snapshot!(golden(&[
        ("go.work", "go 1.26\n\nuse (\n\t./api\n\t./lib\n)\n"),
        ("api/go.mod", "module example.com/api\n\ngo 1.26.0\n"),
        ("api/main.go", MAIN),
        ("lib/go.mod", "module example.com/lib\n\ngo 1.24\n"),
        ("lib/lib.go", "package lib\n"),
        ("tool/go.mod", "module tool\n"),
        ("tool/main.go", MAIN),
    ]));
}

#[test]
fn of_several_programs_one_is_chosen_by_a_rule_that_is_said() {
    let module = ("go.mod", "module example.com/shop\n\ngo 1.27\n");
    for (commands, expected, rule) in [
        (vec!["cmd/a/main.go"], "/app/bin/a", "only main package"),
        (
            vec!["cmd/a/main.go", "cmd/shop/main.go"],
            "/app/bin/shop",
            "called like one that serves",
        ),
        (
            vec!["cmd/a/main.go", "cmd/server/main.go", "cmd/web/main.go"],
            "/app/bin/server",
            "of 3 main packages",
        ),
        (
            vec!["cmd/a/main.go", "examples/x/main.go"],
            "/app/bin/a",
            "only main package below cmd/",
        ),
        (
            vec!["app.go", "cmd/a/main.go"],
            "/app/bin/shop",
            "main package at the top",
        ),
    ] {
        let mut files = vec![module];
        files.extend(commands.iter().map(|path| (*path, MAIN)));
        let plan = plan(&files).unwrap();
        assert_eq!(plan.start.to_string(), expected);
        assert!(plan.rule.contains(rule), "{}", plan.rule);
    }
    let files = [module, ("cmd/a/main.go", MAIN), ("cmd/b/main.go", MAIN)];
    let said = refusal(&files);
    assert!(
        said.contains("a: cmd/a b: cmd/b") && said.contains("web: bin/NAME"),
        "{said}"
    );
    let mut named = files.to_vec();
    named.push(("Procfile", "web: bin/b --port $PORT\nworker: bin/a\n"));
    let plan = plan(&named).unwrap();
    assert_eq!(plan.start.to_string(), "bin/b --port $PORT");
    assert!(
        plan.dockerfile.contains("-o /out/bin/ ./cmd/a ./cmd/b"),
        "{}",
        plan.dockerfile
    );
}

#[test]
fn the_release_is_what_the_files_ask_for() {
    let image = |files: &[(&str, &str)]| {
        let mut all = vec![("main.go", MAIN)];
        all.extend(files);
        plan(&all).map(|plan| plan.base_images[0].clone())
    };
    for (text, expected) in [
        ("module a\n", "golang:1.27-bookworm"),
        ("module a\ngo 1.17\n", "golang:1.27-bookworm"),
        ("module a\ngo 1.24.3\n", "golang:1.24-bookworm"),
        (
            "module a\ngo 1.24.3\ntoolchain go1.26.1\n",
            "golang:1.26-bookworm",
        ),
        ("module a\ngo 1.28rc1\n", "golang:1.28rc1-bookworm"),
    ] {
        assert_eq!(image(&[("go.mod", text)]).unwrap(), expected, "{text}");
    }
    let module = ("go.mod", "module a\ngo 1.24\n");
    assert_eq!(
        image(&[module, (".tool-versions", "golang 1.25.4\n")]).unwrap(),
        "golang:1.25.4-bookworm"
    );
    let error = image(&[module, (".go-version", "\nnewest\n")]).unwrap_err();
    assert!(error.message.contains("`.go-version`, line 2"), "{error}");
    let error = image(&[("go.mod", "module a\n\ngo one\n")]).unwrap_err();
    assert!(error.message.contains("`go.mod`, line 3"), "{error}");
}

#[test]
fn what_is_missing_is_said() {
    assert!(refusal(&[("main.go", MAIN)]).contains("go mod init"));
    let library = [("go.mod", "module a\n"), ("a.go", "package a\n")];
    assert!(refusal(&library).contains("no package is a program"));
    let work = [("go.work", "use ./gone\n"), ("main.go", MAIN)];
    assert!(refusal(&work).contains("`gone`, which has no go.mod"));
}
