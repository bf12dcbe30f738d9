use super::super::tests::{golden, plan, refusal};

#[test]
fn a_package_becomes_its_program() {
    insta::assert_snapshot!(golden(&[
        (
            "Cargo.toml",
            "[package]\nname = \"shop\"\nrust-version = \"1.85\"\n[dependencies]\naxum = \"0.8\"\n"
        ),
        ("Cargo.lock", ""),
        ("src/main.rs", ""),
        ("src/bin/worker.rs", ""),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.90.0\"\n"),
        ("migrations/1.sql", ""),
    ]));
}

#[test]
fn a_workspace_builds_the_package_that_serves() {
    insta::assert_snapshot!(golden(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n"),
        ("Cargo.lock", ""),
        (
            "crates/web/Cargo.toml",
            "[package]\nname = \"web-app\"\n[dependencies]\nrocket = { version = \"0.5\" }\n"
        ),
        ("crates/web/src/main.rs", ""),
        ("crates/tool/Cargo.toml", "[package]\nname = \"tool\"\n"),
        ("crates/tool/src/main.rs", ""),
        ("crates/lib/Cargo.toml", "[package]\nname = \"lib\"\n"),
        ("crates/lib/src/lib.rs", ""),
    ]));
}

#[test]
fn of_several_programs_one_is_chosen_by_a_rule_that_is_said() {
    let start = |manifest: &str, files: &[&str]| {
        let mut all = vec![("Cargo.toml", manifest)];
        all.extend(files.iter().map(|file| (*file, "")));
        plan(&all).map(|plan| plan.start.to_string())
    };
    let package = "[package]\nname = \"shop\"\n";
    assert_eq!(start(package, &["src/main.rs"]).unwrap(), "/app/bin/shop");
    assert_eq!(
        start(
            "[package]\nname = \"shop\"\ndefault-run = \"b\"\n",
            &["src/bin/a.rs", "src/bin/b/main.rs"]
        )
        .unwrap(),
        "/app/bin/b"
    );
    assert_eq!(
        start(package, &["src/bin/a.rs", "src/bin/server.rs"]).unwrap(),
        "/app/bin/server"
    );
    assert_eq!(
        start(
            "[package]\nname = \"shop\"\n[[bin]]\nname = \"site\"\npath = \"src/main.rs\"\n",
            &["src/main.rs"]
        )
        .unwrap(),
        "/app/bin/site"
    );
    let several = [
        ("Cargo.toml", package),
        ("src/bin/a.rs", ""),
        ("src/bin/b.rs", ""),
    ];
    let said = refusal(&several);
    assert!(
        said.contains("shop: a, b") && said.contains("default-run"),
        "{said}"
    );
    let mut named = several.to_vec();
    named.push(("Procfile", "web: ./target/release/b\n"));
    let plan = plan(&named).unwrap();
    assert!(
        plan.dockerfile.contains("ln -s ../bin target/release"),
        "{}",
        plan.dockerfile
    );
    assert!(refusal(&[("Cargo.toml", package), ("src/lib.rs", "")]).contains("no package makes a program"));
}

#[test]
fn the_release_is_what_the_files_ask_for() {
    let image = |name: &'static str, text: &'static str| {
        plan(&[
            ("Cargo.toml", "[package]\nname = \"a\"\n"),
            ("src/main.rs", ""),
            (name, text),
        ])
        .map(|plan| plan.base_images[0].clone())
    };
    assert_eq!(image("x", "").unwrap(), "rust:1-bookworm");
    assert_eq!(
        image("rust-toolchain", "1.88.0\n").unwrap(),
        "rust:1.88.0-bookworm"
    );
    assert_eq!(
        image(".tool-versions", "rust 1.87.0\n").unwrap(),
        "rust:1.87.0-bookworm"
    );
    let error = image(
        "rust-toolchain.toml",
        "[toolchain]\nprofile = \"minimal\"\nchannel = \"newest\"\n",
    )
    .unwrap_err();
    assert!(error.message.contains("`rust-toolchain.toml`, line 3"), "{error}");
    let error = image("rust-toolchain.toml", "[toolchain]\npath = \"/x\"\n").unwrap_err();
    assert!(error.message.contains("line 2"), "{error}");
    let wasm = plan(&[
        ("Cargo.toml", "[package]\nname = \"a\"\n"),
        ("src/main.rs", ""),
        (
            "rust-toolchain.toml",
            "[toolchain]\nchannel = \"stable\"\ntargets = [\"wasm32-unknown-unknown\"]\n",
        ),
    ])
    .unwrap();
    assert!(
        !wasm.dockerfile.contains("rm -f rust-toolchain"),
        "{}",
        wasm.dockerfile
    );
    let error = plan(&[("Cargo.toml", "[package\n"), ("src/main.rs", "")]).unwrap_err();
    assert!(error.message.contains("Cargo.toml"), "{error}");
}
