//! The smart HTTP protocol (gitprotocol-http(5)): one `git` process a request,
//! fed with the request's body, its output the answer's.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use nonna_engine::{Code, Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::command::{Ending, Home, run, spawn};
use crate::hook;
use crate::pkt_line;
use crate::repository::{QUICK, Repository};

/// How long a client may send nothing while it is sending.
const STALL: Duration = Duration::from_secs(120);
/// How long all of a push or a fetch may take, its deployment too.
const LONGEST: Duration = Duration::from_secs(3 * 3600);
/// What a fetch's question may have, unpacked, in bytes.
const MOST_QUESTION: u64 = 64 * 1024 * 1024;
/// How much is still read of a push that was refused already, so that its
/// client comes to read why.
const MOST_DRAINED: u64 = 16 * 1024 * 1024 * 1024;
const PIECE: usize = 32 * 1024;

/// What is asked of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Clone and fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// The service of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "git-upload-pack" => Some(Self::UploadPack),
            "git-receive-pack" => Some(Self::ReceivePack),
            _ => None,
        }
    }

    /// Its name in paths and media types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }
}

/// The protocol's version as a client asks for it (`Git-Protocol`), if it is
/// one that may be passed on.
#[must_use]
pub fn protocol(header: &str) -> Option<&str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '=' | ':' | '.' | '-');
    (header.len() <= 64 && header.chars().all(good)).then_some(header)
}

/// What a push is given, so that its hook finds the server.
#[derive(Debug, Clone)]
pub struct PushTicket {
    /// Names the push: nobody can guess it.
    pub id: String,
    /// The server's socket.
    pub socket: PathBuf,
}

/// A request on a repository.
#[derive(Debug)]
pub struct Call<'a> {
    /// What is asked.
    pub service: Service,
    /// The repository.
    pub repository: &'a Repository,
    /// The protocol's version, see [`protocol`].
    pub protocol: Option<&'a str>,
}

impl Call<'_> {
    fn command(&self, home: &Home, settings: Vec<String>, advertise: bool) -> tokio::process::Command {
        let path = self.repository.path.display().to_string();
        let mut all = self.repository.settings();
        all.extend(settings);
        let mut arguments = vec![self.service.verb(), "--stateless-rpc"];
        if advertise {
            arguments.push("--http-backend-info-refs");
        }
        arguments.push(&path);
        let mut command = home.command(&all, &arguments);
        if let Some(protocol) = self.protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        command
    }

    /// What there is in the repository: `GET …/info/refs`.
    ///
    /// # Errors
    /// What git fails with.
    pub async fn advertise(&self, home: &Home) -> Result<Bytes> {
        let output = run(self.command(home, Vec::new(), true), QUICK).await?;
        let mut answer = Vec::with_capacity(output.len() + 64);
        // Version 2 says by itself what it is.
        let is_v2 = self.service == Service::UploadPack
            && self
                .protocol
                .is_some_and(|p| p.split(':').any(|word| word == "version=2"));
        if !is_v2 {
            let head = format!("# service={}\n", self.service.name());
            answer.extend(pkt_line::line(head.as_bytes()).unwrap_or_default());
            answer.extend_from_slice(pkt_line::FLUSH);
        }
        answer.extend(output);
        Ok(answer.into())
    }

    /// Serves a request's body; the answer's begins with git's first word.
    /// Dropping it ends git and all it has begun.
    ///
    /// # Errors
    /// What git fails with before it says anything.
    pub async fn serve<E: std::fmt::Display + Send + 'static>(
        &self,
        home: &Home,
        body: impl Stream<Item = std::result::Result<Bytes, E>> + Send + 'static,
        gzipped: bool,
        push: Option<(&PushTicket, u64)>,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let settings = push.map_or_else(Vec::new, |(_, most)| vec![format!("receive.maxInputSize={most}")]);
        let mut command = self.command(home, settings, false);
        command.stdin(std::process::Stdio::piped());
        if let Some((ticket, _)) = push {
            command
                .env(hook::PUSH, &ticket.id)
                .env(hook::SOCKET, &ticket.socket);
        }
        let mut child = spawn(command)?;
        let lost = || Error::bug("a git process has no pipes");
        let stdin = child.stdin.take().ok_or_else(lost)?;
        let stdout = child.stdout.take().ok_or_else(lost)?;
        let stderr = child.stderr.take().ok_or_else(lost)?;
        let question = if push.is_some() { u64::MAX } else { MOST_QUESTION };
        let mut answering = Answering {
            stdout,
            child: Ending(Some(child)),
            feeding: Aborting(tokio::spawn(feed(Box::pin(body), stdin, gzipped, question))),
            complaints: Aborting(tokio::spawn(complaints(stderr))),
            until: Instant::now() + LONGEST,
            first: None,
        };
        answering.first = match answering.read().await {
            Ok(first) => first,
            Err(error) => {
                return Err(Error::provider(Code::RuntimeRefused, "git failed.").said(error.to_string()));
            }
        };
        Ok(
            futures_util::stream::unfold(answering, |mut answering| async move {
                let piece = match answering.first.take() {
                    Some(first) => Ok(Some(first)),
                    None => answering.read().await,
                };
                piece.transpose().map(|piece| (piece, answering))
            })
            .boxed(),
        )
    }
}

/// A task that ends with whoever waits for it.
struct Aborting(JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Answering {
    stdout: ChildStdout,
    child: Ending,
    #[expect(dead_code, reason = "held for its drop")]
    feeding: Aborting,
    #[expect(dead_code, reason = "held for its drop")]
    complaints: Aborting,
    until: Instant,
    first: Option<Bytes>,
}

impl Answering {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = vec![0; PIECE];
        let read = tokio::time::timeout_at(self.until, self.stdout.read(&mut piece))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "git took too long"))??;
        if read > 0 {
            piece.truncate(read);
            return Ok(Some(piece.into()));
        }
        if let Some(mut child) = self.child.0.take() {
            let status = child.wait().await?;
            if !status.success() {
                tracing::debug!(%status, "git ended with a failure, which it told its client");
            }
        }
        Ok(None)
    }
}

async fn complaints(mut stderr: ChildStderr) {
    let mut text = Vec::new();
    let _ = (&mut stderr).take(16 * 1024).read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text);
    if !text.trim().is_empty() {
        tracing::debug!(said = text.trim(), "git complained");
    }
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
}

/// Passes a body on to git, unpacked. What git does not want any more is read
/// to its end and forgotten.
async fn feed<E: std::fmt::Display>(
    mut body: std::pin::Pin<Box<impl Stream<Item = std::result::Result<Bytes, E>>>>,
    stdin: ChildStdin,
    gzipped: bool,
    most: u64,
) {
    let mut stdin = Some(stdin);
    let mut unpacker = gzipped.then(|| MultiGzDecoder::new(Vec::new()));
    let (mut fed, mut drained) = (0_u64, 0_u64);
    loop {
        let piece = match tokio::time::timeout(STALL, body.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a git client's request broke off");
                break;
            }
            Err(_) => {
                tracing::debug!("a git client stopped sending");
                break;
            }
        };
        let Some(to) = stdin.as_mut() else {
            drained += piece.len() as u64;
            if drained > MOST_DRAINED {
                break;
            }
            continue;
        };
        let plain = match unpacker.as_mut() {
            None => piece,
            Some(unpacker) => {
                if unpacker.write_all(&piece).is_err() {
                    break;
                }
                Bytes::from(std::mem::take(unpacker.get_mut()))
            }
        };
        fed += plain.len() as u64;
        if fed > most || to.write_all(&plain).await.is_err() {
            stdin = None;
        }
    }
    if let (Some(mut stdin), Some(unpacker)) = (stdin, unpacker)
        && let Ok(rest) = unpacker.finish()
    {
        let _ = stdin.write_all(&rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_are_passed_on() {
        assert_eq!(protocol("version=2"), Some("version=2"));
        assert_eq!(protocol("version=1:key=value"), Some("version=1:key=value"));
        assert_eq!(protocol("version=2\nX"), None);
        assert_eq!(protocol("$(touch x)"), None);
        assert_eq!(protocol(&"a".repeat(100)), None);
    }

    #[test]
    fn services_are_two() {
        assert_eq!(Service::parse("git-upload-pack"), Some(Service::UploadPack));
        assert_eq!(Service::parse("git-receive-pack"), Some(Service::ReceivePack));
        assert_eq!(Service::parse("git-upload-archive"), None);
        assert_eq!(Service::parse("../git-upload-pack"), None);
    }
}
