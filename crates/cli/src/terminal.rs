//! The terminal and its signals.

use std::io;

use nonna_engine::Error;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// Ctrl-C, and the request to end that a system sends.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From now on neither ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::bug("The process cannot listen to signals.").said(error.to_string()))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next. May be dropped and called again.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Standard input with other modes, put back when dropped.
pub(crate) struct Modes {
    before: Termios,
}

impl Modes {
    /// Every key goes through as it is.
    pub(crate) fn raw() -> io::Result<Self> {
        Self::with(Termios::make_raw)
    }

    /// What is typed is not shown.
    pub(crate) fn hidden() -> io::Result<Self> {
        // A signal would end the process before the modes are put back: Ctrl-C
        // ends the line instead, and is seen there.
        Self::with(|modes| {
            modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
            modes.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        })
    }

    fn with(change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut after = before.clone();
        change(&mut after);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &after)?;
        Ok(Self { before })
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// The terminal's columns and rows.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// Told whenever the terminal's size changes.
pub(crate) fn resizes() -> io::Result<Signal> {
    signal(SignalKind::window_change())
}

/// Asks for a line; what is typed is not shown.
pub(crate) fn ask_hidden() -> io::Result<String> {
    let modes = Modes::hidden()?;
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    drop(modes);
    read?;
    if line.contains(char::from(INTERRUPT)) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a line.
pub(crate) fn ask() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
