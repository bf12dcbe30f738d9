//! From one container's output into the log proxy.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nonna_engine::Result;
use nonna_engine::error::Fault;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Capture, Container, Lines, Output, Read};
use crate::store::LogProxy;

/// How long the beginning of a stack trace waits for its rest.
const TRACE_WAIT: Duration = Duration::from_millis(200);
/// How long lines are held back for that at most.
const HOLD: Duration = Duration::from_secs(1);
/// How long little is waited for more, so that busy containers cost few
/// batches.
const GATHER: Duration = Duration::from_millis(20);
/// The first and the longest pause before it is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How [`pump`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// The container has ended and everything is kept.
    All,
    /// The log proxy takes nothing any more.
    Closed,
}

/// Captures a container's output until it ends. Whatever goes wrong on the
/// way is tried again from the last position that is kept; dropping the
/// future loses nothing either.
///
/// # Errors
/// What no repetition mends.
pub async fn pump(proxy: &LogProxy, capture: &dyn Capture, container: &Container) -> Result<Pumped> {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let position = proxy.position(&container.id);
        let begun = Instant::now();
        let result = match capture.open(container, position.as_deref()).await {
            Ok(output) => run(proxy, output, container).await,
            Err(error) => Err(error),
        };
        let error = match result {
            Ok(pumped) => return Ok(pumped),
            Err(error) => error,
        };
        if proxy.is_closed() {
            return Ok(Pumped::Closed);
        }
        if error.fault == Fault::User || error.fault == Fault::Bug {
            return Err(error);
        }
        // It went on for a while: that is a new break, not the old one.
        if begun.elapsed() > LONGEST_PAUSE {
            (pause, told) = (FIRST_PAUSE, false);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, service = %container.service, replica = %container.replica, "a replica's output cannot be read; trying again");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn run(proxy: &LogProxy, mut output: Box<dyn Output>, container: &Container) -> Result<Pumped> {
    let intake = proxy.intake();
    let mut lines = Lines::new(container);
    loop {
        let mut read = output.read(&mut lines).await;
        let first = Instant::now();
        let mut last = (first, lines.batch().len());
        while matches!(read, Ok(Read::More)) && !lines.is_full() {
            let until = match lines.may_go_on.contains(&true) {
                true => (last.0 + TRACE_WAIT).min(first + HOLD),
                false => first + GATHER,
            };
            match timeout_at(until, output.read(&mut lines)).await {
                Ok(more) => read = more,
                Err(_) => break,
            }
            if lines.batch().len() > last.1 {
                last = (Instant::now(), lines.batch().len());
            }
        }
        if !lines.is_empty() {
            let batch = lines.take(&container.id, &output.position());
            // One at a time: were a later one kept and this one not, its lines
            // would be left out.
            intake.push(batch).await?.wait().await?;
            output.kept();
            let lost = lines.take_lost();
            proxy.counters().dropped_before.fetch_add(lost, Ordering::Relaxed);
        }
        if read? == Read::End {
            return Ok(Pumped::All);
        }
    }
}
