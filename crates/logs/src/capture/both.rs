//! Two outputs of one container as one.

use async_trait::async_trait;
use data_encoding::BASE64;
use nonna_engine::Result;
use serde::{Deserialize, Serialize};

use super::{Ended, Lines, Output, Read};

/// A container whose output goes two ways: into Nonna's pipes, and to the
/// engine while nobody held the pipes.
pub struct Both {
    outputs: [Box<dyn Output>; 2],
    ended: [bool; 2],
}

#[derive(Default, Serialize, Deserialize)]
struct Positions(String, String);

impl Both {
    /// The positions of both, of one that [`Output::position`] gave.
    #[must_use]
    pub fn positions(position: Option<&[u8]>) -> [Option<Vec<u8>>; 2] {
        let positions: Option<Positions> = position.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let Some(Positions(first, second)) = positions else {
            return [None, None];
        };
        [first, second].map(|text| BASE64.decode(text.as_bytes()).ok())
    }

    /// Joins them, each opened at its own position.
    #[must_use]
    pub fn new(first: Box<dyn Output>, second: Box<dyn Output>) -> Self {
        Self {
            outputs: [first, second],
            ended: [false; 2],
        }
    }

    /// Only one of the two is there.
    #[must_use]
    pub fn alone(first: Box<dyn Output>) -> Self {
        Self {
            outputs: [first, Box::new(Ended)],
            ended: [false, true],
        }
    }
}

#[async_trait]
impl Output for Both {
    async fn read(&mut self, lines: &mut Lines) -> Result<Read> {
        let before = lines.batch().len();
        loop {
            let [first, second] = &mut self.outputs;
            // Each adds what it read at once and only then answers: what one
            // has added is not lost when the other is asked no more.
            let (which, read) = match self.ended {
                [true, true] => return Ok(Read::End),
                [true, false] => (1, second.read(lines).await?),
                [false, true] => (0, first.read(lines).await?),
                [false, false] => {
                    let mut others = Lines::like(lines);
                    let (which, read) = tokio::select! {
                        read = first.read(lines) => (0, read?),
                        read = second.read(&mut others) => (1, read?),
                    };
                    lines.append(&others);
                    (which, read)
                }
            };
            self.ended[which] = read == Read::End;
            if self.ended == [true, true] {
                return Ok(Read::End);
            }
            if read == Read::More || lines.batch().len() > before {
                return Ok(Read::More);
            }
        }
    }

    fn position(&self) -> Vec<u8> {
        let [first, second] = self
            .outputs
            .each_ref()
            .map(|output| BASE64.encode(&output.position()));
        serde_json::to_vec(&Positions(first, second)).unwrap_or_default()
    }

    fn kept(&mut self) {
        for output in &mut self.outputs {
            output.kept();
        }
    }
}
