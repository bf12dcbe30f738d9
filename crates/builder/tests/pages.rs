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
