//! `nonna exec` and `nonna run`

use std::io::{IsTerminal as _, Read as _};

use nonna_api::ExecQuery;
use nonna_client::{Output, Session, SessionInput};
use nonna_engine::{Code, Error};
use tokio::sync::mpsc;

use crate::args::{ExecArgs, RunArgs, SessionArgs};
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::Printer;
use crate::project::place_here;
use crate::terminal::{self, Modes};

/// How many bytes of standard input are sent at once.
const PIECE: usize = 16 * 1024;

/// Runs a command in a running replica.
pub(crate) async fn exec(context: &Context, args: ExecArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let query = query(&args.session, args.replica);
    let session = client.exec(&place, &service, &query).await?;
    attend(&context.printer, session, &args.session, query.tty).await
}

/// Runs a command in a fresh replica.
pub(crate) async fn run(context: &Context, args: RunArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let service = context.service(&client, &place, args.service.as_ref()).await?;
    let query = query(&args.session, None);
    let session = client.run(&place, &service, &query).await?;
    attend(&context.printer, session, &args.session, query.tty).await
}

fn query(args: &SessionArgs, replica: Option<u32>) -> ExecQuery {
    let tty =
        !args.no_tty && !args.no_stdin && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (columns, rows) = terminal::size().filter(|_| tty).unwrap_or_default();
    ExecQuery {
        command: serde_json::to_string(&args.command).unwrap_or_default(),
        tty,
        columns,
        rows,
        replica,
    }
}

/// Passes everything to and fro until the command ends.
async fn attend(printer: &Printer, session: Session, args: &SessionArgs, tty: bool) -> Result {
    let (mut input, mut output) = session.split();
    let mut typed = if args.no_stdin {
        input.end().await?;
        None
    } else {
        Some(read_stdin())
    };
    let failed = |error: std::io::Error| Error::bug("The terminal cannot be set up.").said(error.to_string());
    // Put back when this function is left, however it is left.
    let modes = if tty {
        Some(Modes::raw().map_err(failed)?)
    } else {
        None
    };
    let mut resizes = terminal::resizes().map_err(failed)?;
    let code = loop {
        tokio::select! {
            next = output.next() => match next? {
                Output::Stdout(bytes) => printer.pass_out(&bytes),
                Output::Stderr(bytes) => printer.pass_err(&bytes),
                Output::Exit(code) => break code,
            },
            piece = next_piece(&mut typed) => {
                if !send(&mut input, piece).await {
                    typed = None;
                }
            }
            _ = resizes.recv(), if tty => {
                if let Some((columns, rows)) = terminal::size() {
                    // When the connection is gone, the output says so.
                    let _ = input.resize(columns, rows).await;
                }
            }
        }
    };
    drop(modes);
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Exit(code)),
        Err(_) => Err(Error::provider(
            Code::ReplicaExited,
            format!("The command ended with {code}, which no exit code can say."),
        )
        .into()),
    }
}

/// Passes a piece of standard input on; whether more may come.
async fn send(input: &mut SessionInput, piece: Option<Vec<u8>>) -> bool {
    match piece {
        Some(bytes) => input.write(&bytes).await.is_ok(),
        None => {
            let _ = input.end().await;
            false
        }
    }
}

async fn next_piece(typed: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads standard input on a thread of its own: a terminal's read cannot be
/// interrupted, and must not hold up the end.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut piece = vec![0_u8; PIECE];
        while let Ok(count @ 1..) = stdin.read(&mut piece) {
            let Some(bytes) = piece.get(..count) else { break };
            if sender.blocking_send(bytes.to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
