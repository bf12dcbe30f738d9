//! Commands in replicas, over a WebSocket.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use nonna_api::{ExecQuery, Frame, paths};
use nonna_engine::ports::runtime::{Command, Input, Launch, Output};
use nonna_engine::{Code, Error};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::failure::Answer;
use super::super::input::{OfService, Params};
use super::super::registry::{Registry, get};
use super::super::websocket::{self, Channel};
use super::super::{App, Caller};
use super::services;
use crate::auth::Permission;

/// How many pieces of input or output may wait.
const WAITING: usize = 16;
/// The most arguments, and the most bytes of them all.
const MOST_ARGUMENTS: usize = 1000;
const MOST_BYTES: usize = 64 * 1024;
/// The largest terminal.
const LARGEST_SIDE: u16 = 1000;

pub(super) fn register(registry: Registry) -> Registry {
    registry
        .add(
            get(
                paths::EXEC,
                Permission::Execute,
                "A command in a running replica, over a WebSocket.",
            )
            .query::<ExecQuery>(),
            exec,
        )
        .add(
            get(
                paths::RUN,
                Permission::Execute,
                "A command in a fresh replica, over a WebSocket.",
            )
            .query::<ExecQuery>(),
            run,
        )
}

fn arguments(query: &ExecQuery) -> Answer<Vec<String>> {
    let wrong = |message: &str| -> Error {
        Error::user(Code::InvalidInput, message)
            .hint("The query `command` is a JSON array of strings: `[\"ls\",\"-l\"]`.")
    };
    if query.command.len() > MOST_BYTES {
        return Err(wrong("`command` has more than 64 KiB.").into());
    }
    let arguments: Vec<String> = serde_json::from_str(&query.command)
        .map_err(|e| wrong(&format!("`command` is no JSON array of strings: {e}.")))?;
    if arguments.len() > MOST_ARGUMENTS {
        return Err(wrong("`command` has more than 1,000 arguments.").into());
    }
    if arguments.iter().any(|a| a.contains('\0')) {
        return Err(wrong("`command` holds a NUL character.").into());
    }
    if arguments.first().is_some_and(String::is_empty) {
        return Err(wrong("`command` names no program.").into());
    }
    Ok(arguments)
}

fn terminal(query: &ExecQuery) -> Answer<Option<(u16, u16)>> {
    if !query.tty {
        return Ok(None);
    }
    let side = |given: u16, usual: u16| if given == 0 { usual } else { given };
    if query.columns > LARGEST_SIDE || query.rows > LARGEST_SIDE {
        return Err(Error::user(
            Code::InvalidInput,
            format!("A terminal has {LARGEST_SIDE} columns and rows at most."),
        )
        .into());
    }
    Ok(Some((side(query.columns, 80), side(query.rows, 24))))
}

/// The ends of a command's streams that the socket holds.
struct Ends {
    input: mpsc::Sender<Input>,
    output: mpsc::Receiver<Output>,
}

fn command(arguments: Vec<String>, terminal: Option<(u16, u16)>) -> (Command, Ends) {
    let (input_sender, input) = mpsc::channel(WAITING);
    let (output, output_receiver) = mpsc::channel(WAITING);
    (
        Command {
            arguments,
            terminal,
            input,
            output,
        },
        Ends {
            input: input_sender,
            output: output_receiver,
        },
    )
}

async fn exec(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfService,
    Params(query): Params<ExecQuery>,
    request: Request,
) -> Answer<Response> {
    let arguments = arguments(&query)?;
    if arguments.is_empty() {
        return Err(Error::user(Code::InvalidInput, "`command` is empty: say what to run.").into());
    }
    let terminal = terminal(&query)?;
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let service = services::must(&snapshot, &at)?.id.clone();
    let (response, channel) = websocket::accept(request)?;
    audit(&app, &caller, &at, "service.exec", &arguments).await?;
    let (command, ends) = command(arguments, terminal);
    let closing = app.closing.clone();
    tokio::spawn(async move {
        let cancel = closing.child_token();
        let running = app.runtime.exec(&service, query.replica, command, &cancel);
        attend(channel, ends, running, &cancel).await;
    });
    Ok(response)
}

async fn run(
    State(app): State<Arc<App>>,
    caller: Caller,
    at: OfService,
    Params(query): Params<ExecQuery>,
    request: Request,
) -> Answer<Response> {
    let arguments = arguments(&query)?;
    let terminal = terminal(&query)?;
    let snapshot = app.snapshot(&at.project, &at.environment).await?;
    let service = services::must(&snapshot, &at)?;
    let current = service.current.as_ref().ok_or_else(|| {
        Error::user(
            Code::Conflict,
            format!("The service `{}` was never deployed.", at.service),
        )
        .hint("Deploy it first: `nonna deploy`.")
    })?;
    let image = current
        .release
        .image
        .clone()
        .ok_or_else(|| Error::bug(format!("{} is current and has no image", current.release.number)))?;
    let launch = Launch {
        origin: app.store.origin(&image).await?,
        scope: snapshot.scope.clone(),
        service: service.id.clone(),
        service_name: service.name.clone(),
        release: current.release.number,
        image,
        spec: current.release.spec.clone(),
        secrets: app
            .store
            .open_secrets(&service.id, &current.release.spec.secrets)
            .await?,
    };
    let (response, channel) = websocket::accept(request)?;
    audit(&app, &caller, &at, "service.run", &arguments).await?;
    let (command, ends) = command(arguments, terminal);
    let closing = app.closing.clone();
    tokio::spawn(async move {
        let cancel = closing.child_token();
        let running = app.runtime.run(&launch, command, &cancel);
        attend(channel, ends, running, &cancel).await;
    });
    Ok(response)
}

async fn audit(app: &App, caller: &Caller, at: &OfService, action: &str, arguments: &[String]) -> Answer<()> {
    let target = format!("{}/{}/{}", at.project, at.environment, at.service);
    // The program only: people put secrets into arguments.
    let detail = arguments
        .first()
        .map(|program| program.chars().filter(|c| !c.is_control()).take(200).collect());
    app.store
        .append_audit(caller.entry(action, target, detail))
        .await?;
    Ok(())
}

/// Carries frames between the socket and the command until one of them ends.
async fn attend(
    channel: impl Future<Output = Option<Channel>>,
    ends: Ends,
    running: impl Future<Output = nonna_engine::Result<i64>>,
    cancel: &CancellationToken,
) {
    let Some(channel) = channel.await else {
        return;
    };
    let (mut sender, mut receiver) = channel.split();
    let Ends { input, mut output } = ends;
    let incoming = async {
        let mut input = Some(input);
        while let Some((frame, bytes)) = receiver.next().await {
            let piece = match frame {
                Frame::Stdin => Input::Bytes(bytes),
                Frame::StdinEnd => Input::End,
                Frame::Resize => match resize(&bytes) {
                    Some(resize) => resize,
                    None => continue,
                },
                _ => continue,
            };
            let ends = matches!(piece, Input::End);
            if let Some(open) = &input
                && (open.send(piece).await.is_err() || ends)
            {
                // The command takes no more; it may still print.
                input = None;
            }
        }
        // The client is gone.
        cancel.cancel();
    };
    let outgoing = async {
        while let Some(piece) = output.recv().await {
            let sent = match piece {
                Output::Stdout(bytes) => sender.send(Frame::Stdout, &bytes).await,
                Output::Stderr(bytes) => sender.send(Frame::Stderr, &bytes).await,
            };
            if !sent {
                cancel.cancel();
                break;
            }
        }
        sender
    };
    let work = async {
        let (result, mut sender) = tokio::join!(running, outgoing);
        match result {
            Ok(code) => {
                sender.send(Frame::Exit, &code.to_be_bytes()).await;
            }
            Err(error) => {
                let text = serde_json::to_vec(&error).unwrap_or_default();
                sender.send(Frame::Error, &text).await;
            }
        }
        sender.close().await;
    };
    tokio::pin!(incoming, work);
    tokio::select! {
        () = &mut work => {}
        () = &mut incoming => {
            // Cancelled: the command ends soon, and is cleaned up after.
            work.await;
        }
    }
}

fn resize(bytes: &[u8]) -> Option<Input> {
    let [c1, c2, r1, r2] = *bytes else { return None };
    let columns = u16::from_be_bytes([c1, c2]);
    let rows = u16::from_be_bytes([r1, r2]);
    let fits = |side: u16| (1..=LARGEST_SIDE).contains(&side);
    (fits(columns) && fits(rows)).then_some(Input::Resize { columns, rows })
}
