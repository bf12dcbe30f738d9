//! Commands inside replicas, and one-off ones.

use std::time::Duration;

use nonna_engine::Code;
use nonna_engine::ports::runtime::{Command, Output};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::setting::{Setting, session};

pub async fn a_command_ends_with_its_exit_code(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    for (command, code) in [("true", 0), ("false", 1)] {
        assert_eq!(setting.exec(&web, &[command]).await.code, code);
        assert_eq!(setting.run(&web, &[command]).await.code, code);
    }
    let said = setting.exec(&web, &["echo", "a b", "$HOME;x"]).await;
    assert_eq!(said.stdout, "a b $HOME;x\n", "no shell is between");
    assert_eq!(setting.run(&web, &["echo", "hi"]).await.stdout, "hi\n");
}

pub async fn what_goes_in_comes_out(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    for done in [
        setting.exec_with(&web, &["cat"], b"in and out").await,
        setting.run_with(&web, &["cat"], b"in and out").await,
    ] {
        assert_eq!((done.code, done.stdout.as_str()), (0, "in and out"), "{done:?}");
    }
}

pub async fn a_command_that_is_not_there_fails(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    // Inside a replica, engines say 126 as well.
    let done = setting.exec(&web, &["no-such-program"]).await;
    assert!(matches!(done.code, 126 | 127), "{done:?}");
    // And the first process of a fresh replica may have a code of its own.
    let done = setting.run(&web, &["no-such-program"]).await;
    assert!(matches!(done.code, 1 | 126 | 127), "{done:?}");
    assert!(
        done.stderr.to_lowercase().contains("no such file") || done.stderr.contains("not found"),
        "{done:?}"
    );
}

pub async fn variables_and_secrets_reach_the_app(setting: &Setting) {
    let mut web = setting.launch("web", &[("COLOUR", "green"), ("PORT", "1")]);
    web.secrets.insert("TOKEN".into(), SecretString::from("s3cret"));
    setting.start(&web, 1).await.unwrap();
    for (key, value) in [
        ("COLOUR", "green"),
        ("TOKEN", "s3cret"),
        ("PORT", "8080"),
        ("NONNA_SERVICE", "web"),
        ("NONNA_ENVIRONMENT", "test"),
        ("NONNA_RELEASE", "v1"),
        ("NONNA_REPLICA", "0"),
    ] {
        assert_eq!(setting.variable(&web, key).await.as_deref(), Some(value), "{key}");
    }
    let given = setting.run(&web, &["env"]).await.stdout;
    assert!(given.lines().any(|line| line == "TOKEN=s3cret"), "{given}");
}

pub async fn a_command_can_be_cancelled(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    for once in [false, true] {
        let cancel = CancellationToken::new();
        let (_keep, input) = mpsc::channel(1);
        let (output, _receiver) = mpsc::channel::<Output>(1);
        let command = Command {
            arguments: vec!["sleep".into(), "1000".into()],
            terminal: None,
            input,
            output,
        };
        let work = async {
            if once {
                setting.runtime.run(&web, command, &cancel).await
            } else {
                setting.runtime.exec(&web.service, None, command, &cancel).await
            }
        };
        let stop = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            cancel.cancel();
        };
        let within = Duration::from_secs(8);
        let (result, ()) = tokio::time::timeout(within, async { tokio::join!(work, stop) })
            .await
            .expect("cancelling is prompt");
        assert_eq!(result.unwrap_err().code, Code::Cancelled);
    }
}

pub async fn nothing_runs_in_a_service_without_replicas(setting: &Setting) {
    let web = setting.launch("web", &[]);
    let (_keep, input) = mpsc::channel(1);
    let (output, _receiver) = mpsc::channel(1);
    let command = Command {
        arguments: vec!["true".into()],
        terminal: None,
        input,
        output,
    };
    let cancel = CancellationToken::new();
    let result = setting.runtime.exec(&web.service, None, command, &cancel).await;
    assert_eq!(result.unwrap_err().code, Code::NotFound);
}

pub async fn a_one_off_command_leaves_nothing_behind(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.network().await;
    assert_eq!(setting.run(&web, &["true"]).await.code, 0);
    assert_eq!(setting.replicas(&web).await, [], "it is no replica");
    // Nothing of it holds the network.
    setting
        .runtime
        .remove_network(&setting.scope.environment)
        .await
        .unwrap();
    assert!(!setting.observe().await.network);
}

pub async fn a_terminal_has_the_size_it_was_given(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let script = ["sh", "-c", "sleep 0.3; stty size; test -t 1"];
    let size = Some((101, 37));
    let cancel = CancellationToken::new();
    let (runtime, cancel) = (&setting.runtime, &cancel);
    let in_replica = session(&script, size, b"", |command| async move {
        runtime.exec(&web.service, None, command, cancel).await
    });
    let done = in_replica.await.unwrap();
    assert!(done.code == 0 && done.stdout.contains("37 101"), "{done:?}");
    let web = setting.launch("web", &[]);
    let once = session(&script, size, b"", |command| async move {
        runtime.run(&web, command, cancel).await
    });
    let done = once.await.unwrap();
    assert!(done.code == 0 && done.stdout.contains("37 101"), "{done:?}");
}

pub async fn standard_error_is_kept_apart(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let script = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    for done in [
        setting.exec(&web, &script).await,
        setting.run(&web, &script).await,
    ] {
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (7, "out\n", "err\n")
        );
    }
}

pub async fn much_output_arrives_whole(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let script = ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' y"];
    for done in [
        setting.exec(&web, &script).await,
        setting.run(&web, &script).await,
    ] {
        assert_eq!((done.code, done.stdout.len()), (0, 3_000_000));
    }
}
