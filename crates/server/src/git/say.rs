//! What whoever pushes is told, line by line.

use nonna_engine::Error;
use nonna_engine::words::clean;
use tokio::sync::mpsc;

/// How many lines may wait for a slow reader.
const WAITING: usize = 256;
/// The longest line, in characters.
const LONGEST: usize = 2000;

/// Takes lines.
#[derive(Clone)]
pub(crate) struct Say(mpsc::Sender<String>);

impl Say {
    /// Lines and where they come out.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Says a line; nothing in it steers the reader's terminal. Waits for a
    /// slow reader, and not for one that is gone.
    pub(crate) async fn line(&self, text: &str) {
        let line: String = clean(text).chars().take(LONGEST).collect();
        let _ = self.0.send(line).await;
    }

    /// Says what failed and how to mend it.
    pub(crate) async fn error(&self, error: &Error) {
        self.line(&format!("error: {} [{}]", error.message, error.code))
            .await;
        for detail in &error.details {
            self.line(&format!("  {detail}")).await;
        }
        if let Some(said) = &error.provider {
            for line in said.lines().take(20) {
                self.line(&format!("  {line}")).await;
            }
        }
        for line in error.hint.iter().flat_map(|hint| hint.lines()) {
            self.line(&format!("hint: {line}")).await;
        }
    }
}
