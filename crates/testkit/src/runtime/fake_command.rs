//! The few commands that the fake understands.

use std::time::Duration;

use nonna_engine::ports::runtime::{Command, Input, Launch, Output};
use nonna_engine::{Error, Result};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::fake::FakeRuntime;

/// What a command that does not exist ends with.
const NOT_FOUND: i64 = 127;

pub(super) async fn run(
    fake: &FakeRuntime,
    launch: &Launch,
    index: Option<u32>,
    mut command: Command,
    cancel: &CancellationToken,
) -> Result<i64> {
    let arguments = std::mem::take(&mut command.arguments);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let work = async {
        let (code, output) = match words.as_slice() {
            ["true"] => (0, None),
            ["false"] => (1, None),
            ["echo", rest @ ..] => (
                0,
                Some(Output::Stdout(format!("{}\n", rest.join(" ")).into_bytes())),
            ),
            ["env"] => (0, Some(Output::Stdout(variables(launch, index).into_bytes()))),
            ["cat"] => {
                while let Some(Input::Bytes(bytes)) = command.input.recv().await {
                    let _ = command.output.send(Output::Stdout(bytes)).await;
                }
                (0, None)
            }
            ["sleep", seconds] => {
                tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap_or_default())).await;
                (0, None)
            }
            ["killall", "-9", "app"] => {
                let ended = index.is_some_and(|index| fake.end(&launch.service, launch.release, index, 137));
                (i64::from(!ended), None)
            }
            _ => (
                NOT_FOUND,
                Some(Output::Stderr(
                    format!("{}: not found\n", words.join(" ")).into_bytes(),
                )),
            ),
        };
        if let Some(output) = output {
            let _ = command.output.send(output).await;
        }
        code
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::cancelled()),
        code = work => Ok(code),
    }
}

/// What an app is given, as `env` prints it.
fn variables(launch: &Launch, index: Option<u32>) -> String {
    let mut all = launch.spec.variables.clone();
    for (key, value) in &launch.secrets {
        all.insert(key.clone(), value.expose_secret().to_owned());
    }
    all.extend([
        ("NONNA_SERVICE".to_owned(), launch.service_name.to_string()),
        (
            "NONNA_ENVIRONMENT".to_owned(),
            launch.scope.environment_name.to_string(),
        ),
        ("NONNA_RELEASE".to_owned(), launch.release.to_string()),
    ]);
    all.extend(index.map(|index| ("NONNA_REPLICA".to_owned(), index.to_string())));
    all.extend(launch.spec.port.map(|port| ("PORT".to_owned(), port.to_string())));
    all.iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect()
}
