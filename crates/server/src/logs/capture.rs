//! Capture by the runtime's own means: works wherever the runtime can tell what
//! a replica printed.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use nonna_engine::Result;
use nonna_engine::ports::Runtime;
use nonna_engine::ports::runtime::OutputLine;
use nonna_logs::capture::{Capture, Container, Lines, Output, Read};

/// Reads what the [`Runtime`] port tells of a replica's output. The position is
/// the time of the last line, as exactly as the runtime has it.
pub(crate) struct RuntimeCapture(pub(crate) Arc<dyn Runtime>);

struct Following {
    lines: BoxStream<'static, Result<OutputLine>>,
    last: Option<i64>,
}

#[async_trait]
impl Capture for RuntimeCapture {
    async fn open(&self, container: &Container, position: Option<&[u8]>) -> Result<Box<dyn Output>> {
        let last = position
            .and_then(|bytes| bytes.try_into().ok())
            .map(i64::from_le_bytes);
        let lines = self.0.output(&container.id, last).await?;
        Ok(Box::new(Following { lines, last }))
    }
}

#[async_trait]
impl Output for Following {
    async fn read(&mut self, lines: &mut Lines) -> Result<Read> {
        match self.lines.next().await {
            Some(Ok(line)) => {
                lines.push(line.stderr, Some(line.nanos), &line.line);
                self.last = Some(line.nanos);
                Ok(Read::More)
            }
            Some(Err(error)) => Err(error),
            None => Ok(Read::End),
        }
    }

    fn position(&self) -> Vec<u8> {
        self.last
            .map(|nanos| nanos.to_le_bytes().to_vec())
            .unwrap_or_default()
    }
}
