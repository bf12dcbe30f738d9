//! Where the processes of a replica listen: the fault behind most apps that
//! never become healthy.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bollard::models::ContainerInspectResponse;

use crate::client::Client;
use crate::health;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// Where the engine's own name server listens in every container.
const ENGINE_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// What is wrong with where an app listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// On the right port, but only for itself.
    Loopback(SocketAddr),
    /// Only on other ports.
    OtherPorts(BTreeSet<u16>),
    /// Nowhere.
    Nowhere,
}

/// What is wrong with where it listens, if it can be seen and something is.
pub(crate) async fn misplaced(
    client: &Client,
    seen: &ContainerInspectResponse,
    port: u16,
) -> Option<Misplaced> {
    let found = match of_process(seen) {
        Some(found) => found,
        None => by_command(client, seen.id.as_ref()?).await?,
    };
    judge(&found, port)
}

fn judge(found: &BTreeSet<SocketAddr>, port: u16) -> Option<Misplaced> {
    let (right, other): (Vec<&SocketAddr>, Vec<&SocketAddr>) = found.iter().partition(|at| at.port() == port);
    if right.iter().any(|at| !at.ip().is_loopback()) {
        return None;
    }
    Some(if let Some(at) = right.first() {
        Misplaced::Loopback(**at)
    } else if other.is_empty() {
        Misplaced::Nowhere
    } else {
        Misplaced::OtherPorts(other.iter().map(|at| at.port()).collect())
    })
}

/// Reads it from this machine's `/proc`, if the container runs on this machine.
fn of_process(seen: &ContainerInspectResponse) -> Option<BTreeSet<SocketAddr>> {
    let pid = local_pid(seen)?;
    let v4 = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let v6 = std::fs::read_to_string(format!("/proc/{pid}/net/tcp6")).unwrap_or_default();
    Some(parse(&v4).chain(parse(&v6)).collect())
}

/// The id of the container's first process on this machine. That the engine
/// runs here, and not on another machine, is seen by the process's group.
pub(crate) fn local_pid(seen: &ContainerInspectResponse) -> Option<i64> {
    let pid = seen.state.as_ref()?.pid.filter(|pid| *pid > 0)?;
    is_in_container(pid, seen.id.as_ref()?).then_some(pid)
}

/// Whether this process of this machine belongs to the container.
pub(crate) fn is_in_container(pid: i64, container: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(container))
}

/// Asks inside the container, which needs a `cat` there.
async fn by_command(client: &Client, container: &str) -> Option<BTreeSet<SocketAddr>> {
    let command = ["cat", "/proc/net/tcp", "/proc/net/tcp6"].map(String::from);
    let (_, text) = health::output_of(client, container, &command).await.ok()?;
    text.contains("local_address").then(|| parse(&text).collect())
}

fn parse(text: &str) -> impl Iterator<Item = SocketAddr> + '_ {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let at = address(local)?;
        (state == LISTEN && at.ip() != ENGINE_DNS).then_some(at)
    })
}

/// `0100007F:1F90`: 32-bit words in the machine's own byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0B00007F:9C41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   2: 020012AC:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 1
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0
";

    #[test]
    fn listening_sockets_are_read_and_the_engines_name_server_is_not_one() {
        let found: Vec<_> = parse(TCP).collect();
        assert_eq!(found, ["127.0.0.1:8080".parse().unwrap()]);
        let found: Vec<_> = parse(TCP6).collect();
        assert_eq!(found, ["[::]:3000".parse().unwrap()]);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let at = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let loopback = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(
            judge(&at(&["127.0.0.1:8080", "0.0.0.0:9000"]), 8080),
            Some(Misplaced::Loopback(loopback))
        );
        assert_eq!(
            judge(&at(&["[::]:3000", "127.0.0.1:9000"]), 8080),
            Some(Misplaced::OtherPorts(BTreeSet::from([3000, 9000])))
        );
        assert_eq!(judge(&at(&[]), 8080), Some(Misplaced::Nowhere));
        assert_eq!(judge(&at(&["[::]:8080", "127.0.0.1:8080"]), 8080), None);
    }
}
