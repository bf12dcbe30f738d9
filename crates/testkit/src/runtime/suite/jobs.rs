//! Commands that a deployment runs once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nonna_engine::Code;
use nonna_engine::event::{Event, EventKind, EventSink, Progress};
use nonna_model::DeploymentId;
use nonna_model::plan::Job;
use nonna_model::service::{FileContent, FileMount};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::setting::Setting;

/// Keeps the lines that a job printed.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl EventSink for Lines {
    fn emit(&self, event: Event) {
        if let EventKind::JobOutput { line, .. } = event.kind {
            self.0.lock().unwrap().push(line);
        }
    }
}

/// Runs a job to its end: its exit code, or the code of the error, and what it
/// printed.
async fn run(
    setting: &Setting,
    launch: &nonna_engine::ports::runtime::Launch,
    arguments: &[&str],
) -> (Result<i64, Code>, Vec<String>) {
    let lines = Arc::new(Lines::default());
    let progress = Progress::new(DeploymentId::generate(), 1, lines.clone());
    let words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let ended = setting
        .runtime
        .run_job(launch, Job::Release, &words, &progress, &CancellationToken::new())
        .await;
    let lines = lines.0.lock().unwrap().clone();
    (ended.map_err(|error| error.code), lines)
}

pub async fn a_job_ends_with_its_exit_code_and_its_output_is_passed_on(setting: &Setting) {
    setting.network().await;
    let web = setting.launch("web", &[]);
    for (command, code, printed) in [
        (&["echo", "migrated"][..], 0, vec!["migrated".to_owned()]),
        (&["true"][..], 0, vec![]),
        (&["false"][..], 1, vec![]),
    ] {
        let (ended, lines) = run(setting, &web, command).await;
        assert_eq!((ended, lines), (Ok(code), printed), "{command:?}");
        setting
            .runtime
            .remove_jobs(&web.service, Some(Job::Release))
            .await
            .unwrap();
    }
    assert!(setting.replicas(&web).await.is_empty(), "a job is no replica");
}

pub async fn a_job_that_is_not_there_fails(setting: &Setting) {
    setting.network().await;
    let web = setting.launch("web", &[]);
    let (ended, lines) = run(setting, &web, &["no-such-program"]).await;
    assert!(matches!(ended, Ok(1 | 126 | 127)), "{ended:?} {lines:?}");
    assert!(!lines.is_empty());
}

pub async fn a_job_that_was_cut_off_is_gone_on_with(setting: &Setting) {
    setting.network().await;
    let web = setting.launch("web", &[]);
    let begun = std::time::Instant::now();
    // Dropped as a process that dies drops it.
    let cut = tokio::time::timeout(Duration::from_millis(900), run(setting, &web, &["sleep", "4"])).await;
    assert!(cut.is_err(), "{cut:?}");
    // Whatever is asked for now: what was begun is waited for.
    let (ended, lines) = run(setting, &web, &["echo", "begun anew"]).await;
    let still_there = lines.is_empty();
    assert_eq!(ended, Ok(0));
    if still_there {
        assert!(begun.elapsed() >= Duration::from_secs(3), "it was not waited for");
        // It ended meanwhile: how is still known, and it does not run again.
        let (ended, lines) = run(setting, &web, &["echo", "begun anew"]).await;
        assert_eq!((ended, lines), (Ok(0), vec![]));
    }
    setting.runtime.remove_jobs(&web.service, None).await.unwrap();
    let (ended, lines) = run(setting, &web, &["echo", "again"]).await;
    assert_eq!((ended, lines), (Ok(0), vec!["again".to_owned()]));
}

pub async fn a_job_can_be_cancelled(setting: &Setting) {
    setting.network().await;
    let web = setting.launch("web", &[]);
    let cancel = CancellationToken::new();
    let words = ["sleep".to_owned(), "1000".to_owned()];
    let progress = Progress::discard();
    let work = setting
        .runtime
        .run_job(&web, Job::PostDeploy, &words, &progress, &cancel);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        cancel.cancel();
    };
    let both = async { tokio::join!(work, stop) };
    let (ended, ()) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("cancelling is prompt");
    assert_eq!(ended.unwrap_err().code, Code::Cancelled);
    setting
        .runtime
        .remove_jobs(&web.service, Some(Job::PostDeploy))
        .await
        .unwrap();
}

pub async fn files_are_in_place_before_anything_runs(setting: &Setting) {
    setting.network().await;
    let mut web = setting.launch("web", &[]);
    web.secrets.insert("token".into(), SecretString::from("s3cret"));
    web.spec.secrets.insert("token".into(), 1);
    web.spec.files = vec![
        FileMount {
            path: "/run/secrets/token".into(),
            content: FileContent::Secret { name: "token".into() },
            mode: 0o444,
        },
        FileMount {
            path: "/etc/app/app.conf".into(),
            content: FileContent::Text {
                text: "a = 1\n".into(),
            },
            mode: 0o400,
        },
    ];
    let (ended, lines) = run(setting, &web, &["cat", "/run/secrets/token", "/etc/app/app.conf"]).await;
    assert_eq!((ended, lines.join("")), (Ok(0), "s3creta = 1".to_owned()));
    let given = setting.run(&web, &["env"]).await.stdout;
    assert!(
        !given.contains("s3cret"),
        "what is a file is no variable: {given}"
    );
    setting.start(&web, 1).await.unwrap();
    let inside = setting.exec(&web, &["cat", "/run/secrets/token"]).await;
    assert_eq!(inside.stdout, "s3cret");
}
