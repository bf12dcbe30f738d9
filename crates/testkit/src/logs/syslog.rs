//! A receiver of syslog over TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nonna_logs::protocol::syslog::{Clock, message};
use nonna_logs::protocol::syslog_frame::Framer;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::receiver::{collector, records};
use super::{Behaviour, Got, Receiver};

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    got: Vec<Got>,
}

/// A receiver on a free port of this machine; dropped, it is gone.
pub struct SyslogReceiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for SyslogReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SyslogReceiver {
    /// Starts one.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, state, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn receive(mut stream: TcpStream, state: Arc<Mutex<State>>) -> io::Result<()> {
    let mut bytes = Vec::new();
    if lock(&state).behaviour != Behaviour::Takes {
        // With bytes unread, closing resets the connection.
        let mut some = [0; 8];
        stream.read_exact(&mut some).await?;
        return Ok(());
    }
    stream.read_to_end(&mut bytes).await?;
    let clock = Clock {
        now: jiff::Timestamp::now(),
        zone: jiff::tz::TimeZone::UTC,
    };
    let mut framer = Framer::new(1024 * 1024);
    framer.push(&bytes);
    let mut out = collector();
    while let Some(frame) = framer.next() {
        message(&frame.bytes, &clock, frame.cut, &mut out);
    }
    lock(&state).got.extend(records(&mut out));
    Ok(())
}

impl Receiver for SyslogReceiver {
    fn got(&self) -> Vec<Got> {
        lock(&self.state).got.clone()
    }

    fn behave(&self, behaviour: Behaviour) {
        lock(&self.state).behaviour = behaviour;
    }

    fn answers(&self) -> bool {
        false
    }

    fn knows_twice(&self) -> bool {
        false
    }

    fn can_refuse(&self) -> bool {
        false
    }
}
