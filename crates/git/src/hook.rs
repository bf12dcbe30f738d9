//! The one hook: `nonna` itself, run by git as `pre-receive` between the
//! arrival of a push's objects, which are in quarantine then, and the moving
//! of its branches. It asks the server at a socket, passes on what the server
//! says to whoever pushes, and lets git go on or not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::tree::Quarantine;

/// What the hook is called, by git and among its own arguments.
pub const PRE_RECEIVE: &str = "pre-receive";
/// The variable that names the push.
pub const PUSH: &str = "NONNA_PUSH";
/// The variable that names the server's socket.
pub const SOCKET: &str = "NONNA_PUSH_SOCKET";
/// The most references that one push may change.
pub const MOST_UPDATES: usize = 500;
/// The largest question, in bytes.
pub const MOST_ASKED: u64 = 1024 * 1024;

/// A reference that a push wants to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// What it points to now; zeros: it is made.
    pub old: String,
    /// What it shall point to; zeros: it is deleted.
    pub new: String,
    /// Its full name.
    pub name: String,
}

/// What the hook asks, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Which push.
    pub push: String,
    /// Where its objects are.
    pub objects: String,
    /// Where the repository's are.
    pub alternates: String,
    /// What it wants.
    pub updates: Vec<Update>,
}

impl Ask {
    /// Where the push's objects are.
    #[must_use]
    pub fn quarantine(&self) -> Quarantine {
        Quarantine {
            objects: self.objects.clone(),
            alternates: self.alternates.clone(),
        }
    }
}

/// What the server answers, each as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A line for whoever pushes.
    Say(String),
    /// The branches may move.
    Accept,
    /// They may not.
    Refuse,
}

/// Reads what git tells a `pre-receive` hook.
///
/// # Errors
/// `InvalidData` where it is too much or no such line.
pub fn read_updates(input: impl Read) -> io::Result<Vec<Update>> {
    let mut updates = Vec::new();
    for line in BufReader::new(input.take(MOST_ASKED)).lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "git names a reference in a way that is not understood",
            ));
        };
        if updates.len() == MOST_UPDATES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a push may change {MOST_UPDATES} references at most: push them in several steps"),
            ));
        }
        updates.push(Update {
            old: old.to_owned(),
            new: new.to_owned(),
            name: name.to_owned(),
        });
    }
    Ok(updates)
}

/// Is the hook, where git runs this program as one; the exit code then.
#[must_use]
pub fn run_if_asked() -> Option<u8> {
    let program = std::env::args_os().next()?;
    if Path::new(&program).file_name()? != PRE_RECEIVE {
        return None;
    }
    let push = std::env::var(PUSH).ok()?;
    let socket = std::env::var_os(SOCKET)?;
    let accepted = ask(push, Path::new(&socket)).unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "nonna: the push was not accepted: {error}");
        false
    });
    Some(u8::from(!accepted))
}

fn ask(push: String, socket: &Path) -> io::Result<bool> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let ask = Ask {
        push,
        objects: variable("GIT_OBJECT_DIRECTORY"),
        alternates: variable("GIT_ALTERNATE_OBJECT_DIRECTORIES"),
        updates: read_updates(io::stdin().lock())?,
    };
    let mut stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(&ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            // Where nobody reads any more the push was given up.
            Answer::Say(text) => writeln!(io::stderr(), "{text}")?,
            Answer::Accept => return Ok(true),
            Answer::Refuse => return Ok(false),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server stopped; push again when it is back",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_git_tells_is_read() {
        let (a, b) = ("a".repeat(40), "0".repeat(40));
        let updates =
            read_updates(format!("{b} {a} refs/heads/main\n{a} {b} refs/tags/v1\n").as_bytes()).unwrap();
        assert_eq!(updates.len(), 2);
        assert_eq!(updates[1].name, "refs/tags/v1");
        assert_eq!(updates[0].new, a);
        assert!(read_updates(&b"a b\n"[..]).is_err());
        let many = format!("{b} {a} refs/heads/x\n").repeat(MOST_UPDATES + 1);
        assert!(
            read_updates(many.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("several steps")
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_updates(bytes.as_slice());
        }

        #[test]
        fn questions_are_read_again(push in ".*", name in ".*") {
            let ask = Ask { push, objects: String::new(), alternates: String::new(), updates: vec![Update { old: String::new(), new: String::new(), name }] };
            let text = serde_json::to_string(&ask).unwrap();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask);
        }
    }
}
