//! Listening sockets: opened here, or handed over by systemd, which then holds
//! them while Nonna restarts, so that connections wait instead of being
//! refused.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};

use nonna_engine::{Code, Error, Result};

/// The first descriptor that socket activation hands over.
const FIRST: RawFd = 3;

/// Sockets that were handed over.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Option<String>, SocketAddr, TcpListener)>,
}

impl Inherited {
    /// Takes what systemd handed over (`LISTEN_PID`, `LISTEN_FDS`,
    /// `LISTEN_FDNAMES`). To be called once, before anything else opens files.
    #[must_use]
    pub fn take(environment: &[(String, String)]) -> Self {
        let get = |name: &str| {
            environment
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.as_str())
        };
        let is_ours = get("LISTEN_PID").and_then(|p| p.parse::<u32>().ok()) == Some(std::process::id());
        let count = get("LISTEN_FDS")
            .and_then(|n| n.parse::<RawFd>().ok())
            .unwrap_or(0);
        if !is_ours || !(1..=64).contains(&count) {
            return Self::default();
        }
        let names: Vec<&str> = get("LISTEN_FDNAMES").unwrap_or_default().split(':').collect();
        let sockets = (0..count)
            .filter_map(|i| {
                let listener = adopt(FIRST + i)?;
                let address = listener.local_addr().ok()?;
                let name = usize::try_from(i)
                    .ok()
                    .and_then(|i| names.get(i))
                    .map(|n| (*n).to_owned());
                Some((name, address, listener))
            })
            .collect();
        Self { sockets }
    }

    /// The socket for this purpose: by name, else by address, else opened now.
    ///
    /// # Errors
    /// `Conflict` where something else listens there, with who may.
    pub fn listener(&mut self, name: &str, address: SocketAddr) -> Result<TcpListener> {
        let at = self
            .sockets
            .iter()
            .position(|(n, _, _)| n.as_deref() == Some(name))
            .or_else(|| self.sockets.iter().position(|(_, a, _)| same(*a, address)));
        let listener = match at {
            Some(at) => self.sockets.swap_remove(at).2,
            None => bind(name, address)?,
        };
        listener
            .set_nonblocking(true)
            .map_err(|e| Error::bug(format!("the socket `{name}` cannot be made non-blocking: {e}")))?;
        Ok(listener)
    }
}

fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || (a.ip().is_unspecified() && b.ip().is_unspecified()))
}

fn bind(name: &str, address: SocketAddr) -> Result<TcpListener> {
    // The standard library sets SO_REUSEADDR, so that a restart need not wait.
    TcpListener::bind(address).map_err(|error| {
        let made = Error::user(
            Code::Conflict,
            format!("Nonna cannot listen on {address} (`{name}`)."),
        )
        .said(error.to_string());
        match error.kind() {
            std::io::ErrorKind::AddrInUse => made.hint(format!(
                "Another program listens there: `ss -ltnp 'sport = :{}'` names it. Stop it, or set `{name}` to another port.",
                address.port()
            )),
            std::io::ErrorKind::PermissionDenied => made.hint(format!(
                "Ports below 1024 need root: run `nonna server install`, or set `{name}` to a higher port."
            )),
            std::io::ErrorKind::AddrNotAvailable => {
                made.hint(format!("This machine has no address {}: set `{name}` to one it has.", address.ip()))
            }
            _ => made,
        }
    })
}

#[expect(
    unsafe_code,
    reason = "socket activation hands over bare descriptors: there is no other way to take them"
)]
fn adopt(fd: RawFd) -> Option<TcpListener> {
    // SAFETY: the descriptor is only borrowed to ask what it is; where it is
    // closed the call fails with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if !rustix::net::sockopt::socket_acceptconn(borrowed).unwrap_or(false) {
        return None;
    }
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: the protocol of LISTEN_FDS gives this process, and nobody else
    // in it, the descriptors from 3 on; each is taken once, at the start.
    Some(unsafe { TcpListener::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_how_to_mend_it() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let error = Inherited::default().listener("api", address).unwrap_err();
        assert_eq!(error.code, Code::Conflict);
        assert!(error.hint.unwrap().contains(&address.port().to_string()));
    }

    #[test]
    fn descriptors_meant_for_another_process_are_left_alone() {
        let environment = [
            ("LISTEN_PID".to_owned(), "1".to_owned()),
            ("LISTEN_FDS".to_owned(), "3".to_owned()),
        ];
        assert!(Inherited::take(&environment).sockets.is_empty());
    }
}
