use super::super::tests::{golden, plan, refusal};

const LOCK: &str = r#"{"packages":[
    {"name":"laravel/framework","require":{"php":"^8.2","ext-mbstring":"*","ext-openssl":"*"},"dist":{"type":"zip"}},
    {"name":"league/flysystem","require":{"php":"^8.0.2"},"dist":{"type":"zip"}}
]}"#;

#[test]
fn laravel_builds_its_assets_and_is_served_by_apache() {
    insta::assert_snapshot!(golden(&[
        (
            "composer.json",
            r#"{"require":{"php":"^8.2","laravel/framework":"^12.0","ext-intl":"*"},"autoload":{"psr-4":{"App\\":"app/"}}}"#
        ),
        ("composer.lock", LOCK),
        ("artisan", "#!/usr/bin/env php\n"),
        ("public/index.php", "<?php\n"),
        (
            "package.json",
            r#"{"scripts":{"build":"vite build"},"devDependencies":{"vite":"7","laravel-vite-plugin":"2"}}"#
        ),
        ("package-lock.json", "{}"),
        (
            "Procfile",
            "web: vendor/bin/heroku-php-apache2 public/\nrelease: php artisan migrate --force\nworker: php artisan queue:work\n"
        ),
    ]));
}

#[test]
fn symfony_compiles_its_asset_map() {
    insta::assert_snapshot!(golden(&[
        (
            "composer.json",
            r#"{"require":{"php":">=8.2","ext-ctype":"*","ext-iconv":"*","symfony/framework-bundle":"7.3.*","symfony/asset-mapper":"7.3.*","doctrine/dbal":"^4"}}"#
        ),
        ("symfony.lock", "{}"),
        ("bin/console", ""),
        ("public/index.php", "<?php\n"),
    ]));
}

#[test]
fn plain_pages_need_no_build() {
    insta::assert_snapshot!(golden(&[("index.php", "<?php\n"), ("index.html", "")]));
}

#[test]
fn a_line_for_heroku_s_buildpack_names_the_folder_of_pages() {
    let root = |line: &str| {
        let procfile = format!("web: {line}\n");
        let plan = plan(&[("index.php", ""), ("site/x.php", ""), ("Procfile", &procfile)]).unwrap();
        let config = plan
            .files
            .first()
            .map(|file| String::from_utf8_lossy(&file.content).into_owned());
        config.and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("DocumentRoot ").map(str::to_owned))
        })
    };
    for (line, expected) in [
        ("vendor/bin/heroku-php-apache2 site/", Some("/app/site")),
        ("heroku-php-nginx -C nginx.conf ./site", Some("/app/site")),
        ("vendor/bin/heroku-php-apache2", Some("/app")),
        ("php -S 0.0.0.0:8080", None),
        // No folder of ours: the line stands, and fails in the open.
        ("heroku-php-apache2 ../etc", None),
    ] {
        assert_eq!(root(line).as_deref(), expected, "{line}");
    }
}

#[test]
fn the_release_is_what_the_files_allow() {
    let image = |files: &[(&str, &str)]| {
        let mut all = vec![("public/index.php", "")];
        all.extend(files);
        plan(&all).map(|plan| plan.base_images.last().cloned().unwrap_or_default())
    };
    let require = |php: &str| format!(r#"{{"require":{{"php":"{php}"}}}}"#);
    assert_eq!(image(&[]).unwrap(), "php:8.4-apache");
    for (range, expected) in [
        ("^8.1", "8.4"),
        ("8.1.*|8.2.*", "8.2"),
        ("~8.3.0", "8.3"),
        ("8.2.12", "8.2.12"),
    ] {
        assert_eq!(
            image(&[("composer.json", &require(range))]).unwrap(),
            format!("php:{expected}-apache"),
            "{range}"
        );
    }
    // A package may allow less than the app.
    let lock = r#"{"packages":[{"name":"a/b","require":{"php":">=8.1 <8.3"},"dist":{}}]}"#;
    assert_eq!(
        image(&[("composer.json", &require(">=8.1")), ("composer.lock", lock)]).unwrap(),
        "php:8.2-apache"
    );
    assert_eq!(
        image(&[("composer.json", &require("^8.1")), (".php-version", "8.3.7\n")]).unwrap(),
        "php:8.3.7-apache"
    );
    assert_eq!(
        image(&[(".tool-versions", "php 8.2.1\n")]).unwrap(),
        "php:8.2.1-apache"
    );
    for (file, text, place) in [
        (".php-version", "newest; x\n", "`.php-version`, line 1"),
        (
            "composer.json",
            r#"{"require":{"php":"eight"}}"#,
            "`composer.json`",
        ),
        ("composer.json", "{", "`composer.json`"),
    ] {
        let error = image(&[(file, text)]).unwrap_err();
        assert!(error.message.contains(place), "{error}");
    }
}

#[test]
fn extensions_are_named_by_the_app_and_its_packages() {
    let plan = plan(&[
        ("composer.json", r#"{"require":{"ext-gd":"*","ext-json":"*","ext-pdo_sqlite":"*","ext-a;b":"*"}}"#),
        (
            "composer.lock",
            r#"{"packages":[{"name":"a/b","require":{"ext-bcmath":"*","ext-zend-opcache":"*"},"source":{"type":"git"}}]}"#,
        ),
        ("index.php", ""),
    ])
    .unwrap();
    assert!(
        plan.dockerfile.contains(" install-php-extensions bcmath gd\n"),
        "{}",
        plan.dockerfile
    );
    assert!(plan.dockerfile.contains("unzip git"), "{}", plan.dockerfile);
    assert!(!plan.dockerfile.contains("a;b"), "{}", plan.dockerfile);
    assert!(
        plan.notes.iter().any(|note| note.contains("a;b")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn what_cannot_be_run_is_said() {
    let said = refusal(&[("composer.json", r#"{"require":{"monolog/monolog":"^3"}}"#)]);
    assert!(said.contains("nothing says how to start it"), "{said}");
}
