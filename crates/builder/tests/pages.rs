//! Pages that a build makes, and how they are served: each example is built
//! for real and answers as a user without rights.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "a test that cannot go on has failed, and says where"
)]

mod support;

use std::time::Duration;

use support::{App, Bench, borrowed, example};

/// Builds an example and starts it.
async fn serve(bench: &Bench, name: &str) -> App {
    let built = bench.build(&borrowed(&example(name))).await;
    let built =
        built.unwrap_or_else(|error| panic!("{name}: {error}\n{:#?}\n{:#?}", error.details, bench.lines()));
    bench.start(&built.image).await
}

/// It runs without rights and ends when it is told to.
async fn ends_well(app: App) {
    assert_ne!(app.user().await, "0");
    let took = app.stop().await;
    assert!(took < Duration::from_secs(5), "it ended after {took:?}");
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// The first path in a page that begins so.
fn linked(page: &str, start: &str) -> String {
    let at = page
        .find(&format!("\"{start}"))
        .unwrap_or_else(|| panic!("no link to {start}: {page}"));
    page[at + 1..].split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_single_page_app_of_vite_answers_every_address_and_no_missing_asset() {
    let bench = Bench::new();
    let app = serve(&bench, "vite-app").await;
    let page = app.get("/").await;
    assert_eq!(status(&page), "200");
    assert!(page.contains("hello from vite"), "{page}");
    // A new deployment is seen at once.
    assert!(page.contains("Cache-Control: no-cache"), "{page}");

    let deep = app.get("/about/us?x=1").await;
    assert_eq!(status(&deep), "200");
    assert!(deep.contains("hello from vite"), "{deep}");

    let script = linked(&page, "/assets/");
    let answer = app.get(&script).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.contains("max-age=31536000, immutable"), "{answer}");
    assert!(answer.contains("javascript"), "{answer}");
    let icon = app.get("/icon.svg").await;
    assert!(icon.contains("Cache-Control: no-cache"), "{icon}");
    assert!(icon.contains("image/svg+xml"), "{icon}");

    for missing in ["/assets/gone-Abcdef12.js", "/gone.png", "/.env"] {
        let answer = app.get(missing).await;
        assert_eq!(status(&answer), "404", "{missing}: {answer}");
        assert!(!answer.contains("immutable"), "{missing}: {answer}");
    }
    ends_well(app).await;
}

/// A generator's site: its first page, a page that it links to, its own page
/// for what is missing.
async fn a_site(name: &str, greeting: &str, post: &str, missing: &str) {
    let bench = Bench::new();
    let app = serve(&bench, name).await;
    let page = app.get("/").await;
    assert_eq!(status(&page), "200", "{page}");
    assert!(page.contains(greeting), "{page}");
    let answer = app.get(post).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.contains("First steps"), "{answer}");
    let answer = app.get("/nowhere").await;
    assert_eq!(status(&answer), "404", "{answer}");
    assert!(answer.contains(missing), "{answer}");
    ends_well(app).await;
}

#[tokio::test]
async fn hugo_builds_a_site() {
    a_site(
        "hugo-site",
        "hello from hugo",
        "/posts/first-steps/",
        "nothing here",
    )
    .await;
}

#[tokio::test]
async fn jekyll_builds_a_site() {
    a_site(
        "jekyll-site",
        "hello from jekyll",
        "/first-steps/",
        "nothing here",
    )
    .await;
}

#[tokio::test]
async fn mkdocs_builds_documentation() {
    a_site("docs-site", "hello from mkdocs", "/first-steps/", "not found").await;
}

#[tokio::test]
async fn plain_pages_of_php_are_served_and_nothing_beside_them() {
    let bench = Bench::new();
    let files = [
        (
            "index.php",
            "<?php echo 'hello ', getenv('PORT'), ' ', $_ENV['PORT'], isset($_SERVER['HTTPS']) ? ' secure' : '';",
        ),
        ("about.html", "about us"),
        ("broken.php", "<?php nothing_like_this();"),
        (
            ".htaccess",
            "RewriteEngine On\nRewriteRule ^old$ /about.html [R=301,L]\n",
        ),
        (".env", "SECRET=1"),
        ("dump.sql", "x"),
        (".php-version", "8.2\n"),
        ("Procfile", "web: vendor/bin/heroku-php-apache2\n"),
    ];
    let built = bench
        .build(&files)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:#?}", bench.lines()));
    let there = bench
        .run(&built.image, &["cat", "vendor/bin/heroku-php-apache2"])
        .await;
    assert!(there.contains("exec apache2"), "{there}");
    let app = bench.start(&built.image).await;
    let page = app.get("/").await;
    assert!(page.contains("hello 8080 8080"), "{page}");
    assert!(!page.contains("X-Powered-By"), "{page}");
    assert!(app.get("/about.html").await.contains("about us"));
    let moved = app.get("/old").await;
    assert!(
        moved.contains("/about.html") && status(&moved) == "301",
        "{moved}"
    );
    for (path, expected) in [
        ("/.env", "404"),
        ("/.php-version", "404"),
        ("/dump.sql", "404"),
        ("/gone", "404"),
        ("/broken.php", "500"),
    ] {
        let answer = app.get(path).await;
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert!(
            !answer.contains("SECRET") && !answer.contains("nothing_like_this"),
            "{answer}"
        );
    }
    ends_well(app).await;
}
