//! Commands in replicas, with their streams: one-off ones in a fresh replica,
//! and ones inside a replica that runs.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as Refusal;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, ResizeContainerTTYOptions, StartContainerOptions,
};
use futures_util::{Stream, StreamExt};
use nonna_engine::event::Progress;
use nonna_engine::ports::runtime::{Command, Input, Launch, Output};
use nonna_engine::{Code, Error, Result};
use nonna_model::ServiceId;
use nonna_model::labels as l;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::observe::{self, Replica};
use crate::{error, files, image, launch as body, listeners, names, stop};

/// What a terminal sends for the end of input.
const END_OF_TRANSMISSION: u8 = 4;
/// The exit code of what was killed.
const KILLED: i64 = 137;
/// How often a size is tried to be set.
const RESIZE_ATTEMPTS: u32 = 20;
/// How often, and how long apart, it is asked whether a command that closed
/// its output has ended.
const END_ATTEMPTS: u32 = 200;
const END_PAUSE: Duration = Duration::from_millis(10);

type OutputStream = Pin<Box<dyn Stream<Item = Result<LogOutput, Refusal>> + Send>>;
type InputStream = Pin<Box<dyn AsyncWrite + Send>>;

/// Why the streams of a command are not passed on any more.
enum End {
    /// It closed its output.
    Closed,
    /// Nobody wants its output.
    Unwanted,
    Cancelled,
}

/// A terminal whose size can be set.
enum Terminal<'a> {
    Container(&'a str),
    Exec(&'a str),
}

impl Terminal<'_> {
    async fn resize(&self, client: &Client, columns: u16, rows: u16) {
        // A command that has only just been started may have no terminal yet.
        for _ in 0..RESIZE_ATTEMPTS {
            match self.try_resize(client, columns, rows).await {
                Ok(()) => return,
                // It may have ended just now; a wrong size hurts nobody.
                Err(e) => tracing::debug!(error = %e, "a terminal could not be resized"),
            }
            tokio::time::sleep(END_PAUSE).await;
        }
    }

    async fn try_resize(&self, client: &Client, columns: u16, rows: u16) -> Result<(), Refusal> {
        match self {
            Self::Container(id) => {
                let options = ResizeContainerTTYOptions {
                    h: i32::from(rows),
                    w: i32::from(columns),
                };
                client.docker.resize_container_tty(id, options).await
            }
            Self::Exec(id) => {
                let options = ResizeExecOptions {
                    height: rows,
                    width: columns,
                };
                client.docker.resize_exec(id, options).await
            }
        }
    }
}

pub(crate) async fn run(
    client: &Client,
    launch: &Launch,
    command: Command,
    cancel: &CancellationToken,
) -> Result<i64> {
    image::ensure(client, launch, &Progress::discard()).await?;
    let wanted = [(l::SERVICE, launch.service.as_str())];
    stop::remove_runs(client, &wanted, stop::Runs::Ended).await?;
    let name = names::run(&launch.service);
    let options = CreateContainerOptions {
        name: Some(name.clone()),
        ..CreateContainerOptions::default()
    };
    let body = body::run(
        &client.installation,
        launch,
        &command.arguments,
        command.terminal.is_some(),
    );
    let what = format!("run a command for {}", launch.service_name);
    let made = client.docker.create_container(Some(options), body).await;
    let id = made.map_err(|e| client.refused(&what, &e))?.id;
    if let Err(e) = files::put(client, &id, launch, &what).await {
        stop::remove_container(client, &id).await?;
        return Err(e);
    }
    let ended = run_in(client, &id, command, cancel, &what).await;
    let removed = stop::remove_container(client, &id).await;
    let code = ended?;
    removed.map(|()| code)
}

async fn run_in(
    client: &Client,
    id: &str,
    command: Command,
    cancel: &CancellationToken,
    what: &str,
) -> Result<i64> {
    let options = AttachContainerOptions {
        stream: true,
        stdin: true,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
    };
    let attached = client.docker.attach_container(id, Some(options)).await;
    let attached = attached.map_err(|e| client.refused(what, &e))?;
    let output = command.output.clone();
    if let Err(e) = client
        .docker
        .start_container(id, None::<StartContainerOptions>)
        .await
    {
        return not_started(client, &output, what, &e).await;
    }
    let terminal = Terminal::Container(id);
    match pump(
        client,
        command,
        attached.output,
        attached.input,
        &terminal,
        cancel,
    )
    .await
    {
        End::Closed => {}
        End::Unwanted | End::Cancelled => return Err(Error::cancelled()),
    }
    let ended = async {
        for _ in 0..END_ATTEMPTS {
            let seen = observe::inspect(client, id).await?;
            let state = seen.and_then(|seen| seen.state);
            match state {
                Some(state) if state.running != Some(true) => {
                    return Ok(state.exit_code.unwrap_or_default());
                }
                Some(_) => tokio::time::sleep(END_PAUSE).await,
                None => break,
            }
        }
        wait(client, id, what).await
    };
    tokio::select! {
        code = ended => code,
        () = cancel.cancelled() => Err(Error::cancelled()),
        () = output.closed() => Err(Error::cancelled()),
    }
}

/// For a command that closed its output and goes on.
pub(crate) async fn wait(client: &Client, id: &str, what: &str) -> Result<i64> {
    let mut wait = std::pin::pin!(client.docker.wait_container(id, None));
    match wait.next().await {
        Some(Ok(ended)) => Ok(ended.status_code),
        Some(Err(Refusal::DockerContainerWaitError { code, .. })) => Ok(code),
        Some(Err(e)) => Err(client.refused(what, &e)),
        None => Err(Error::provider(
            Code::RuntimeRefused,
            "The command's container was removed before it ended.",
        )),
    }
}

/// A command that cannot be executed has exit codes by old custom.
async fn not_started(
    client: &Client,
    output: &mpsc::Sender<Output>,
    what: &str,
    refusal: &Refusal,
) -> Result<i64> {
    let (code, said) = cannot_start(client, what, refusal)?;
    let _ = output
        .send(Output::Stderr(format!("{said}\n").into_bytes()))
        .await;
    Ok(code)
}

/// The exit code of a command that cannot be executed, and the engine's words.
pub(crate) fn cannot_start(client: &Client, what: &str, refusal: &Refusal) -> Result<(i64, String)> {
    let said = error::words(refusal);
    if said.contains("not found") || said.contains("no such file or directory") {
        Ok((127, said))
    } else if said.contains("permission denied") || said.contains("exec format error") {
        Ok((126, said))
    } else {
        Err(client.refused(what, refusal))
    }
}

pub(crate) async fn exec(
    client: &Client,
    service: &ServiceId,
    index: Option<u32>,
    command: Command,
    cancel: &CancellationToken,
) -> Result<i64> {
    if command.arguments.is_empty() {
        return Err(Error::user(Code::InvalidInput, "No command was given.")
            .hint("Say which, as in `nonna exec web -- ls`."));
    }
    let replica = observe::running(client, service, index).await?.ok_or_else(|| {
        let which = index.map_or_else(|| "No replica".to_owned(), |index| format!("No replica {index}"));
        Error::user(Code::NotFound, format!("{which} of this service runs."))
            .hint("Look with `nonna status`; `nonna run` starts a fresh one for a command.")
    })?;
    let what = "run a command in a replica";
    let options = CreateExecOptions {
        cmd: Some(command.arguments.clone()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(command.terminal.is_some()),
        ..CreateExecOptions::default()
    };
    let made = client.docker.create_exec(&replica.id, options).await;
    let id = made.map_err(|e| client.refused(what, &e))?.id;
    let start = StartExecOptions {
        detach: false,
        tty: command.terminal.is_some(),
        output_capacity: None,
    };
    let sender = command.output.clone();
    let (output, input) = match client.docker.start_exec(&id, Some(start)).await {
        Ok(StartExecResults::Attached { output, input }) => (output, input),
        Ok(StartExecResults::Detached) => {
            return Err(Error::bug("a command was started without its streams"));
        }
        Err(e) => return not_started(client, &sender, what, &e).await,
    };
    match pump(client, command, output, input, &Terminal::Exec(&id), cancel).await {
        End::Closed => exit_code(client, &id, what).await,
        End::Unwanted | End::Cancelled => {
            kill(client, &replica, &id).await;
            Err(Error::cancelled())
        }
    }
}

async fn exit_code(client: &Client, exec: &str, what: &str) -> Result<i64> {
    let mut attempts = 0;
    loop {
        let seen = client
            .call(|docker| async move { docker.inspect_exec(exec).await })
            .await;
        let seen = match seen {
            Ok(seen) => seen,
            // The replica ended, and the command with it.
            Err(e) if error::is_missing(&e) || error::words(&e).contains("no such exec session") => {
                return Ok(KILLED);
            }
            Err(e) => return Err(client.refused(what, &e)),
        };
        match seen.exit_code {
            Some(code) if seen.running != Some(true) => return Ok(code),
            _ if attempts < END_ATTEMPTS => attempts += 1,
            code => return Ok(code.unwrap_or(-1)),
        }
        tokio::time::sleep(END_PAUSE).await;
    }
}

/// The engine's API cannot end a command; on this machine we can.
async fn kill(client: &Client, replica: &Replica, exec: &str) {
    let Ok(seen) = client.docker.inspect_exec(exec).await else {
        return;
    };
    let pid = seen.pid.filter(|_| seen.running == Some(true));
    let Some(pid) = pid.filter(|pid| listeners::is_in_container(*pid, &replica.id)) else {
        return;
    };
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid
        && let Err(e) = rustix::process::kill_process(pid, rustix::process::Signal::KILL)
    {
        tracing::debug!(error = %e, "a cancelled command could not be killed");
    }
}

/// Passes the streams on until the command closes its output.
async fn pump(
    client: &Client,
    command: Command,
    output: OutputStream,
    input: InputStream,
    terminal: &Terminal<'_>,
    cancel: &CancellationToken,
) -> End {
    let Command {
        terminal: size,
        input: incoming,
        output: sender,
        ..
    } = command;
    // Both at once: a command that does not read must not keep us from
    // reading what it writes.
    let inward = async {
        if let Some((columns, rows)) = size {
            terminal.resize(client, columns, rows).await;
        }
        pass_in(client, incoming, input, size.is_some(), terminal).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => End::Cancelled,
        end = pass_out(output, &sender) => end,
        () = sender.closed() => End::Unwanted,
        () = inward => End::Closed,
    }
}

async fn pass_out(mut output: OutputStream, sender: &mpsc::Sender<Output>) -> End {
    // A cut connection is an end as well: the exit code will tell.
    while let Some(Ok(chunk)) = output.next().await {
        let chunk = match chunk {
            LogOutput::StdErr { message } => Output::Stderr(message.into()),
            other => Output::Stdout(other.into_bytes().into()),
        };
        if sender.send(chunk).await.is_err() {
            return End::Unwanted;
        }
    }
    End::Closed
}

async fn pass_in(
    client: &Client,
    mut incoming: mpsc::Receiver<Input>,
    mut input: InputStream,
    is_terminal: bool,
    terminal: &Terminal<'_>,
) {
    let mut open = true;
    while let Some(item) = incoming.recv().await {
        let done = match item {
            Input::Resize { columns, rows } => {
                terminal.resize(client, columns, rows).await;
                continue;
            }
            Input::Bytes(bytes) if open => match input.write_all(&bytes).await {
                Ok(()) => input.flush().await,
                Err(e) => Err(e),
            },
            Input::End if open => {
                open = false;
                end_input(&mut input, is_terminal).await
            }
            Input::Bytes(_) | Input::End => continue,
        };
        // It does not read any more: that is its affair.
        if done.is_err() {
            open = false;
        }
    }
    if open {
        let _ = end_input(&mut input, is_terminal).await;
    }
    // Kept until the command ends: engines take a closed connection for a
    // lost client.
    std::future::pending::<()>().await;
}

async fn end_input(input: &mut InputStream, is_terminal: bool) -> std::io::Result<()> {
    if is_terminal {
        input.write_all(&[END_OF_TRANSMISSION]).await?;
        input.flush().await
    } else {
        input.shutdown().await
    }
}
