//! Builds at a real container engine. `scripts/setup-engine` and
//! `scripts/setup-images` prepare the machine; without an engine they fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

mod support;

use std::time::{Duration, Instant};

use nonna_engine::Code;
use nonna_engine::ports::Builder;
use support::{Bench, Files};
use tokio_util::sync::CancellationToken;

const APP: Files = &[
    (
        "Dockerfile",
        "FROM busybox\nCOPY greeting /greeting\nRUN echo building && cat /greeting\nCMD [\"cat\", \"/greeting\"]\n",
    ),
    ("greeting", "hello\n"),
];

#[tokio::test]
async fn a_dockerfile_is_built_live_and_an_unchanged_one_is_not_built_again() {
    let bench = Bench::new();
    // Never built before, so that the builder's cache does not know its steps.
    let greeting = format!("hello {}\n", bench.service);
    let mut app = APP.to_vec();
    app[1] = ("greeting", &greeting);
    let built = bench.build(&app).await.unwrap();
    assert!(built.image.starts_with("sha256:"), "{}", built.image);
    assert_eq!(built.builder, "Dockerfile");
    assert!(built.size > 1_000_000, "{}", built.size);
    assert_eq!(bench.run(&built.image, &[]).await, greeting);
    let lines = bench.lines();
    for line in [
        "[3/3] RUN echo building && cat /greeting",
        "building",
        greeting.trim(),
    ] {
        assert!(lines.iter().any(|l| l == line), "{line} is not in {lines:#?}");
    }

    let again = bench.build(&app).await.unwrap();
    assert_eq!(again, built);
    assert!(
        bench.lines().is_empty(),
        "nothing was asked of the builder: {:?}",
        bench.lines()
    );

    // One line changed: another image, and only the steps that see it.
    let mut changed = app.clone();
    changed[1] = ("greeting", "good day\n");
    let changed = bench.build(&changed).await.unwrap();
    assert_ne!(changed.image, built.image);
    assert_eq!(bench.run(&changed.image, &[]).await, "good day\n");
}

#[tokio::test]
async fn dockerfile_path_target_and_arguments_reach_the_build() {
    let bench = Bench::new();
    let mut request = bench.request(&[
        ("docker/web file", "ARG WHO=nobody\nFROM busybox AS first\nARG WHO\nRUN echo \"hi $WHO\" > /who\nCMD [\"cat\",\"/who\"]\nFROM busybox\nCMD [\"false\"]\n"),
    ]);
    request.source.dockerfile = Some("docker/web file".into());
    request.source.target = Some("first".into());
    request.source.arguments.insert("WHO".into(), "a & \"b\"".into());
    let built = bench.go(&request).await.unwrap();
    assert_eq!(bench.run(&built.image, &[]).await, "hi a & \"b\"\n");

    request.source.dockerfile = Some("docker/web".into());
    let error = bench.go(&request).await.unwrap_err();
    assert_eq!(error.code, Code::NothingToBuild);
}

#[tokio::test]
async fn a_failing_step_is_named_with_its_last_lines() {
    let bench = Bench::new();
    let error = bench
        .build(&[(
            "Dockerfile",
            "FROM busybox\nRUN for i in 1 2 3; do echo line $i; done; exit 7\n",
        )])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::BuildFailed, "{error:?}");
    assert!(error.message.ends_with("ended with exit code 7."), "{error:?}");
    assert_eq!(error.details, ["line 1", "line 2", "line 3"]);
}

#[tokio::test]
async fn mistakes_in_a_dockerfile_are_explained() {
    let bench = Bench::new();
    let error = bench
        .build(&[("Dockerfile", "FROM busybox\n\nFLY away\n")])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::BuildFailed, "{error:?}");
    assert!(
        error
            .message
            .starts_with("Dockerfile, line 3, is no valid Dockerfile"),
        "{error:?}"
    );
    assert_eq!(error.details, ["3: FLY away"]);

    let error = bench
        .build(&[("Dockerfile", "FROM busybox\nCOPY gone /x\n")])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::BuildFailed, "{error:?}");
    assert!(
        error.message.contains("COPY gone /x") && error.message.contains("no such file"),
        "{error:?}"
    );

    let error = bench.build(&[("Dockerfile", "")]).await.unwrap_err();
    assert_eq!(error.code, Code::BuildFailed, "{error:?}");
}

#[tokio::test]
async fn a_base_image_that_is_not_there_is_named_with_its_line() {
    let registry = support::empty_registry().await;
    let bench = Bench::new();
    let text = format!("# x\nFROM {registry}/nope:1\n");
    let error = bench.build(&[("Dockerfile", &text)]).await.unwrap_err();
    assert_eq!(error.code, Code::ImageNotFound, "{error:?}");
    assert!(
        error.message.contains("nope:1") && error.message.contains("Dockerfile, line 2"),
        "{error:?}"
    );

    // Nobody listens on this port: the registry's fault, not the user's.
    let error = bench
        .build(&[("Dockerfile", "FROM 127.0.0.1:9/nope:1\n")])
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.retryable),
        (Code::RegistryUnavailable, true),
        "{error:?}"
    );
}

const ENDLESS: Files = &[(
    "Dockerfile",
    "FROM busybox\nRUN echo begun; while true; do sleep 0.1; done\n",
)];

#[tokio::test]
async fn a_build_that_never_ends_is_stopped_in_the_engine() {
    let bench = Bench::new();
    // The marker is how its process is found.
    let marker = bench.marker();
    let text = format!("FROM busybox\nRUN echo begun; sleep {marker}\n");
    let mut request = bench.request(&[("Dockerfile", &text)]);
    request.timeout = Duration::from_secs(4);
    let error = bench.go(&request).await.unwrap_err();
    assert_eq!(error.code, Code::BuildLimit, "{error:?}");
    assert!(error.message.contains("4 s"), "{error}");
    assert!(error.details.contains(&"begun".to_owned()), "{error:?}");
    support::gone(&marker).await;
}

#[tokio::test]
async fn a_build_that_prints_without_end_is_stopped() {
    let bench = Bench::new();
    let mut request = bench.request(&[(
        "Dockerfile",
        "FROM busybox\nRUN while true; do echo a line that is printed again and again; done\n",
    )]);
    request.output_limit = 100_000;
    let error = bench.go(&request).await.unwrap_err();
    assert_eq!(error.code, Code::BuildLimit, "{error:?}");
    assert!(error.message.contains("100000 bytes"), "{error}");
}

#[tokio::test]
async fn cancelling_stops_the_build_at_once() {
    let bench = Bench::new();
    let marker = bench.marker();
    let text = format!("FROM busybox\nRUN echo begun; sleep {marker}\n");
    let request = bench.request(&[("Dockerfile", &text)]);
    let cancel = CancellationToken::new();
    let (asked, error) = tokio::join!(
        async {
            bench.wait_for_line("begun").await;
            cancel.cancel();
            Instant::now()
        },
        bench.builder.build(&request, &bench.progress, &cancel)
    );
    assert_eq!(error.unwrap_err().code, Code::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(10));
    support::gone(&marker).await;

    // Cancelled before it began.
    let error = bench
        .builder
        .build(&bench.request(ENDLESS), &bench.progress, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Cancelled);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_so() {
    let bench = Bench::at("/nowhere/engine.sock");
    let error = bench.build(APP).await.unwrap_err();
    assert_eq!(
        (error.code, error.retryable),
        (Code::RuntimeUnavailable, true),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_extra_authorities_are_there_for_a_step_and_never_in_the_image() {
    let bench = Bench::new();
    let text = "FROM busybox\n\
        RUN --mount=type=secret,id=nonna-ca,target=/ca.pem grep -c BEGIN /ca.pem > /count\n\
        CMD [\"sh\", \"-c\", \"cat /count; test -s /ca.pem && echo leaked; true\"]\n";
    let built = bench.build(&[("Dockerfile", text)]).await.unwrap();
    let said = bench.run(&built.image, &[]).await;
    assert!(said.trim().parse::<u32>().is_ok_and(|count| count > 0), "{said}");
}

#[tokio::test]
async fn a_static_site_is_served_without_its_hidden_files() {
    let bench = Bench::new();
    let built = bench
        .build(&[
            ("index.html", "<h1>hello</h1>"),
            ("a.mjs", "1"),
            ("404.html", "lost"),
            (".env", "SECRET=1"),
            ("sub/x.txt", "x"),
        ])
        .await
        .unwrap();
    assert_eq!(built.builder, "static");
    let app = bench.start(&built.image).await;
    let answer = app.get("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("<h1>hello</h1>"),
        "{answer}"
    );
    assert!(
        app.get("/a.mjs")
            .await
            .to_ascii_lowercase()
            .contains("content-type: text/javascript")
    );
    assert!(app.get("/.env").await.starts_with("HTTP/1.1 404"));
    let lost = app.get("/gone").await;
    assert!(
        lost.starts_with("HTTP/1.1 404") && lost.ends_with("lost"),
        "{lost}"
    );
    assert_eq!(app.user().await, "65534");
    app.stop().await;
}

#[tokio::test]
async fn python_is_detected_and_gets_its_packages_from_the_registry() {
    let bench = Bench::new();
    let files = support::example("python-app");
    let files = support::borrowed(&files);
    let built = bench.build(&files).await.unwrap();
    assert_eq!(built.builder, "python");
    let app = bench.start(&built.image).await;
    let answer = app.get("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("Hello from Flask"),
        "{answer}"
    );
    assert_eq!(app.user().await, "10001");
    assert!(
        app.stop().await < Duration::from_secs(8),
        "the app did not end at the first signal"
    );
    assert_eq!(
        bench
            .run(
                &built.image,
                &["sh", "-c", "env | grep -c nonna-ca; ls /run/secrets 2>/dev/null"]
            )
            .await,
        "0\n"
    );
    let again = bench.build(&files).await.unwrap();
    assert_eq!(again, built);
    assert!(bench.lines().is_empty());
}

#[tokio::test]
async fn what_uv_locked_is_installed_and_a_lockfile_out_of_step_is_named() {
    let bench = Bench::new();
    let files = support::example("uv-app");
    let files = support::borrowed(&files);
    let built = bench.build(&files).await.unwrap();
    assert_eq!(built.builder, "python");
    let app = bench.start(&built.image).await;
    let answer = app.get("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("Hello from FastAPI"),
        "{answer}"
    );
    assert_eq!(app.user().await, "10001");
    assert!(
        app.stop().await < Duration::from_secs(8),
        "the app did not end at the first signal"
    );
    // Neither the tool nor what only development needs is in the image.
    assert_eq!(
        bench
            .run(
                &built.image,
                &[
                    "sh",
                    "-c",
                    "ls -d /opt/*; python -c 'import pytest' 2>&1 | tail -n 1"
                ]
            )
            .await,
        "/opt/venv\nModuleNotFoundError: No module named 'pytest'\n"
    );

    let changed: Vec<(&str, String)> = files
        .iter()
        .map(|(path, text)| {
            // Only there has the list this form, not in the lockfile.
            (*path, text.replace(", \"uvicorn>=", ", \"flask\", \"uvicorn>="))
        })
        .collect();
    let changed: Vec<(&str, &str)> = changed
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let error = bench.build(&changed).await.unwrap_err();
    assert_eq!(error.code, Code::BuildFailed, "{error:?}");
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("`uv lock`")),
        "{error:?}"
    );
}

#[tokio::test]
async fn node_is_detected_and_gets_its_packages_from_the_registry() {
    let bench = Bench::new();
    let files = support::example("node-app");
    let files = support::borrowed(&files);
    let built = bench.build(&files).await.unwrap();
    assert_eq!(built.builder, "node");
    let app = bench.start(&built.image).await;
    let answer = app.get("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("Hello from Node.js"),
        "{answer}"
    );
    assert_eq!(app.user().await, "1000");
    assert!(
        app.stop().await < Duration::from_secs(8),
        "the app did not end at the first signal"
    );
}

#[tokio::test]
async fn nothing_recognised_asks_nothing_of_the_engine() {
    let bench = Bench::at("/nowhere/engine.sock");
    let error = bench.build(&[("notes.txt", "")]).await.unwrap_err();
    assert_eq!(error.code, Code::NothingToBuild);
    assert!(
        error.details.iter().any(|line| line.contains("requirements.txt")),
        "{error:?}"
    );
}
