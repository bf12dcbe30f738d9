//! Fetching a branch from a forge.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use nonna_engine::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::command::{Home, run_within};
use crate::names::{ObjectId, is_name};
use crate::repository::{Repository, clear_remains, pack_sizes};

/// How long a fetch may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// What git writes at once, at most: a file that was cut off may lack that much.
const PIECE: u64 = 64 * 1024;
/// The longest address.
const MOST: usize = 1000;

/// The address of a repository, over `https`, `http` or `ssh`, with no
/// password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    text: String,
    /// How it is reached.
    pub transport: Transport,
    /// The host.
    pub host: String,
    /// The port, where one is named.
    pub port: Option<u16>,
    /// The path without a leading slash and without `.git`: `owner/name`.
    pub path: String,
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `https://…`
    Https,
    /// `http://…`
    Http,
    /// `ssh://…` or `user@host:path`
    Ssh,
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn refuse(reason: &str) -> Error {
    Error::user(
        Code::InvalidInput,
        format!("The repository's address cannot be used: {reason}."),
    )
    .hint("Write `https://forge.example.org/owner/name.git` or `git@forge.example.org:owner/name.git`.")
}

impl FromStr for RemoteUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() > MOST || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it is too long or has spaces in it"));
        }
        if text.starts_with('-') {
            return Err(refuse("it begins with `-`"));
        }
        let (transport, rest, scp) = if let Some(rest) = text.strip_prefix("https://") {
            (Transport::Https, rest, false)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Transport::Http, rest, false)
        } else if let Some(rest) = text.strip_prefix("ssh://") {
            (Transport::Ssh, rest, false)
        } else if text.contains("://") || text.contains("::") || !text.contains(':') {
            return Err(refuse("only https, http and ssh lead to a forge"));
        } else {
            (Transport::Ssh, text, true)
        };
        let split = if scp {
            rest.split_once(':')
        } else {
            rest.split_once('/')
        };
        let (authority, path) = split.ok_or_else(|| refuse("it has no path"))?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) || (transport != Transport::Ssh && user.is_some()) {
            return Err(refuse("it holds a user or a password, which others could read")
                .hint("Leave them out; give a token with `--token`, which is kept sealed."));
        }
        let word = |text: &str, more: &[char]| {
            !text.is_empty()
                && !text.starts_with(['-', '.'])
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
        };
        if user.is_some_and(|user| !word(user, &['-', '_', '.'])) {
            return Err(refuse("its user is not one"));
        }
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !scp => (
                host,
                Some(port.parse::<u16>().map_err(|_| refuse("its port is not one"))?),
            ),
            _ => (host, None),
        };
        if !word(host, &['-', '.']) {
            return Err(refuse("its host is not one"));
        }
        let path = path.trim_matches('/');
        let bare = path.strip_suffix(".git").unwrap_or(path);
        let part = |part: &str| word(part.trim_start_matches('~'), &['-', '_', '.', '+']) && part != "..";
        if bare.is_empty() || !bare.split('/').all(part) {
            return Err(refuse("its path is not one of a repository"));
        }
        Ok(Self {
            text: text.to_owned(),
            transport,
            host: host.to_ascii_lowercase(),
            port,
            path: bare.to_owned(),
        })
    }
}

impl RemoteUrl {
    /// Whether a secret may travel to it: not in the clear, but on this very
    /// machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.transport != Transport::Http || matches!(self.host.as_str(), "localhost" | "127.0.0.1")
    }

    fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// How Nonna shows who it is.
pub enum Credentials {
    /// Not at all: the repository is public.
    None,
    /// A deploy key, and the host's keys that are known (`known_hosts` lines);
    /// empty: those of the first time are taken.
    Key {
        /// The private half, as OpenSSH writes it.
        private: Zeroizing<String>,
        /// Lines of a `known_hosts` file.
        known_hosts: String,
    },
    /// A user's name and a token.
    Token {
        /// The name.
        user: String,
        /// The token.
        token: Zeroizing<String>,
    },
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The branch's commit.
    pub commit: ObjectId,
    /// The host's keys as they are known now, to be kept.
    pub known_hosts: Option<String>,
}

fn keep(folder: &Path, name: &str, content: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|error| {
            Error::provider(
                Code::StoreUnavailable,
                format!("{} cannot be written.", path.display()),
            )
            .said(error.to_string())
        })
}

/// Percent-encodes what stands in a credential file's line.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Home {
    /// Fetches a branch, its last commit only, and answers which commit that
    /// is. `branch` is one that the user named, never one of a message. What
    /// comes may have `most` bytes, packed.
    ///
    /// # Errors
    /// `LimitExceeded` where it has more;
    /// `NotFound` where there is no such branch; `Forbidden` where the forge
    /// refuses the key or the token; `RuntimeRefused` with git's own words.
    pub async fn fetch(
        &self,
        repository: &Repository,
        url: &RemoteUrl,
        branch: &str,
        credentials: &Credentials,
        most: u64,
    ) -> Result<Fetched> {
        if !is_name(branch) {
            return Err(Error::user(Code::InvalidInput, "No branch can have that name."));
        }
        let work = self.work()?;
        let mut settings = repository.settings();
        // Both are read by a shell, so they are fixed texts: the files are in
        // the folder that git is started in.
        match credentials {
            Credentials::None => {}
            Credentials::Key { private, known_hosts } => {
                keep(work.path(), "key", private)?;
                keep(work.path(), "known_hosts", known_hosts)?;
                let check = if known_hosts.is_empty() {
                    "accept-new"
                } else {
                    "yes"
                };
                settings.push(format!(
                    "core.sshCommand=ssh -F none -o IdentityFile=key -o IdentitiesOnly=yes -o IdentityAgent=none \
                     -o UserKnownHostsFile=known_hosts -o GlobalKnownHostsFile=none -o HashKnownHosts=no \
                     -o StrictHostKeyChecking={check} -o BatchMode=yes -o ConnectTimeout=20 \
                     -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o PermitLocalCommand=no -o ForwardAgent=no"
                ));
                settings.push("ssh.variant=ssh".to_owned());
            }
            Credentials::Token { user, token } => {
                let scheme = if url.transport == Transport::Http {
                    "http"
                } else {
                    "https"
                };
                let line = Zeroizing::new(format!(
                    "{scheme}://{}:{}@{}\n",
                    encoded(user),
                    encoded(token),
                    url.authority()
                ));
                keep(work.path(), "credentials", &line)?;
                settings.push("credential.helper=store --file=credentials".to_owned());
            }
        }
        settings.push("http.lowSpeedLimit=100".to_owned());
        settings.push("http.lowSpeedTime=60".to_owned());
        let full = format!("refs/heads/{branch}");
        let refspec = format!("+{full}:{full}");
        let arguments = [
            "fetch",
            "--quiet",
            "--force",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--end-of-options",
            url.text.as_str(),
            refspec.as_str(),
        ];
        let mut command = self.command(&settings, &repository.of(&arguments));
        command.current_dir(work.path());
        if let Err(error) = run_within(command, LIMIT, Some(most)).await {
            // Git does not always say that a file was cut off.
            let sizes = pack_sizes(&repository.path);
            let is_full = sizes.iter().any(|size| size.saturating_add(PIECE) >= most);
            clear_remains(&repository.path);
            if is_full {
                return Err(too_large(url, branch, most));
            }
            return Err(explain(&error, url, branch));
        }
        let commit = self.resolve(repository, &full).await?.ok_or_else(|| {
            Error::provider(Code::NotFound, format!("The branch {branch} was not fetched."))
        })?;
        let known_hosts = match credentials {
            Credentials::Key { .. } => std::fs::read_to_string(work.path().join("known_hosts")).ok(),
            _ => None,
        };
        Ok(Fetched { commit, known_hosts })
    }
}

fn too_large(url: &RemoteUrl, branch: &str, most: u64) -> Error {
    Error::user(
        Code::LimitExceeded,
        format!("The branch {branch} of {url} has more than {most} bytes, packed."),
    )
    .hint("Remove what the app does not need from the repository, or raise `build.context_limit` on the server.")
}

fn explain(error: &Error, url: &RemoteUrl, branch: &str) -> Error {
    let said = error.provider.clone().unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let better = if has(&["couldn't find remote ref"]) {
        Error::user(Code::NotFound, format!("{url} has no branch {branch}."))
    } else if has(&["cannot run ssh"]) {
        Error::provider(Code::NotFound, "There is no ssh on the server's machine.")
            .hint("Install it there: `apt-get install openssh-client`.")
    } else if has(&[
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
    ]) {
        Error::provider(
            Code::Forbidden,
            format!("{} shows another host key than the one that is known.", url.host),
        )
        .hint("If the forge really has a new key, disconnect the repository and connect it again; if not, somebody is in between.")
    } else if has(&[
        "Permission denied",
        "Authentication failed",
        "could not read Username",
        "403",
        "401",
    ]) {
        Error::provider(Code::Forbidden, format!("{url} may not be read with what Nonna has."))
            .hint("Add the deploy key to the repository on the forge, or connect it again with a token that may read it.")
    } else {
        Error::provider(error.code, format!("{url} could not be fetched.")).retry()
    };
    better.said(said)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, transport, host, port, path) in [
            (
                "https://github.com/a/b.git",
                Transport::Https,
                "github.com",
                None,
                "a/b",
            ),
            (
                "https://Forge.example.org:3000/x/y/z",
                Transport::Https,
                "forge.example.org",
                Some(3000),
                "x/y/z",
            ),
            (
                "git@github.com:a/b.git",
                Transport::Ssh,
                "github.com",
                None,
                "a/b",
            ),
            ("ssh://git@h:2222/a/b.git", Transport::Ssh, "h", Some(2222), "a/b"),
            (
                "http://127.0.0.1:81/a.git",
                Transport::Http,
                "127.0.0.1",
                Some(81),
                "a",
            ),
        ] {
            let url: RemoteUrl = text.parse().unwrap();
            assert_eq!(
                (url.transport, url.host.as_str(), url.port, url.path.as_str()),
                (transport, host, port, path),
                "{text}"
            );
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for text in [
            "",
            "a",
            "/etc/passwd",
            "file:///etc",
            "ext::sh -c touch% x",
            "-oProxyCommand=x:y",
            "https://",
            "https://host",
            "https://host/",
            "https://user:pass@host/a",
            "https://token@host/a",
            "git@-x:a/b",
            "-u@h:a",
            "git@h:../../etc",
            "https://h/a/../b",
            "https://h/a b",
            "https://h/a\nb",
            "git://h/a",
            "https://h:99999/a",
            "https://h/a?x=y",
            "ssh://git@h/-x",
            "ftp://h/a",
            "git@h:a;b",
        ] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text}");
        }
        let secret = "https://user:hunter2@host/a".parse::<RemoteUrl>().unwrap_err();
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!"http://forge/a".parse::<RemoteUrl>().unwrap().is_private());
        assert!("http://127.0.0.1/a".parse::<RemoteUrl>().unwrap().is_private());
    }

    proptest! {
        #[test]
        fn no_address_is_an_option_or_a_program(text in "\\PC*") {
            if let Ok(url) = text.parse::<RemoteUrl>() {
                let text = url.to_string();
                prop_assert!(!text.starts_with('-'));
                prop_assert!(!text.contains("::") && !text.contains(' '));
                prop_assert!(!url.host.starts_with('-'));
            }
        }
    }
}
