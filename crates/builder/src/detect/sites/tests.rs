use super::super::tests::{golden, plan};

#[test]
fn hugo_builds_and_nginx_serves() {
    insta::assert_snapshot!(golden(&[
        (
            "hugo.toml",
            "baseURL = 'https://example.org/'\ntheme = \"ananke\"\npublishDir = 'site'\n"
        ),
        ("content/posts/first.md", ""),
        (
            "package.json",
            r#"{"scripts":{"start":"hugo server"},"devDependencies":{"postcss":"8"}}"#
        ),
        ("package-lock.json", "{}"),
        (
            "netlify.toml",
            "[build.environment]\nHUGO_VERSION = \"0.150.1\"\n"
        ),
    ]));
}

#[test]
fn zola_is_lent_by_its_image() {
    insta::assert_snapshot!(golden(&[
        ("config.toml", "base_url = \"https://example.org\"\n"),
        ("content/_index.md", ""),
        ("templates/index.html", ""),
        (".tool-versions", "zola 0.20.0\n"),
    ]));
}

#[test]
fn a_config_toml_is_a_site_s_only_with_what_a_site_has() {
    let name = |files: &[(&str, &str)]| plan(files).map(|plan| plan.name).ok();
    assert_eq!(
        name(&[("config.toml", "BaseURL = 'x'\n"), ("layouts/index.html", "")]),
        Some("hugo")
    );
    assert_eq!(
        name(&[("config.yaml", "baseURL: x\n"), ("content/a.md", "")]),
        Some("hugo")
    );
    assert_eq!(
        name(&[("config.toml", "base_url = 'x'\n"), ("content/a.md", "")]),
        Some("zola")
    );
    assert_eq!(
        name(&[("config.toml", "debug = true\n"), ("content/a.md", "")]),
        None
    );
    assert_eq!(name(&[("config.toml", "baseURL = 'x'\n")]), None);
}

#[test]
fn versions_of_generators_have_three_numbers() {
    let of = |file: &'static str, text: &'static str| {
        plan(&[("hugo.toml", ""), (file, text)]).map(|plan| plan.base_images[0].clone())
    };
    assert_eq!(of("x", "").unwrap(), "ghcr.io/gohugoio/hugo:latest");
    assert_eq!(
        of(".tool-versions", "gohugo extended_0.147.9\n").unwrap(),
        "ghcr.io/gohugoio/hugo:v0.147.9"
    );
    let error = of(".hugo-version", "0.147; x\n").unwrap_err();
    assert!(error.message.contains("`.hugo-version`, line 1"), "{error}");
    let error = of("netlify.toml", "[build.environment]\nHUGO_VERSION = \"new\"\n").unwrap_err();
    assert!(error.message.contains("`netlify.toml`, line 2"), "{error}");
}
