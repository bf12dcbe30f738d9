//! Ports and names.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nonna_api::Finding;

use super::{failed, ok, warning};
use crate::config::Config;
use crate::http::App;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many hosts are looked up.
const MOST_HOSTS: usize = 50;

/// Whether the edge's ports answer.
pub(super) fn ports(config: &Config) -> Vec<Finding> {
    [("http", config.http), ("https", config.https)]
        .into_iter()
        .filter_map(|(name, address)| Some((name, address?)))
        .filter(|(_, address)| address.port() != 0)
        .map(|(name, address)| port(name, address))
        .collect()
}

fn port(name: &str, address: SocketAddr) -> Finding {
    let check = format!("port {}", address.port());
    let here = if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        SocketAddr::new(loopback, address.port())
    } else {
        address
    };
    match TcpStream::connect_timeout(&here, CONNECT_TIMEOUT) {
        Ok(_) => ok(&check, format!("The edge listens on {address} (`{name}`).")),
        Err(error) => failed(
            &check,
            format!("Nothing answers on {here} (`{name}`): {error}."),
            "A firewall on this machine may drop it: `nft list ruleset`. Otherwise restart the server.",
        ),
    }
}

/// The addresses of this machine that others may know it by.
fn own_addresses() -> BTreeSet<IpAddr> {
    // No packet is sent: the kernel only says which address it would use.
    let outward = |bind: &str, to: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    [
        outward("0.0.0.0:0", "192.0.2.1:9"),
        outward("[::]:0", "[2001:db8::1]:9"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether the hosts of the routes point here.
pub(super) async fn names(app: &Arc<App>) -> Vec<Finding> {
    let Ok(snapshots) = app.store.snapshots().await else {
        return Vec::new();
    };
    let hosts: BTreeSet<String> = snapshots
        .iter()
        .flat_map(|s| &s.services)
        .filter_map(|s| s.current.as_ref())
        .flat_map(|c| &c.release.spec.routes)
        .map(|r| r.host.replace("*.", "nonna-check."))
        .filter(|h| h != "localhost" && !h.ends_with(".localhost"))
        .take(MOST_HOSTS)
        .collect();
    let own = own_addresses();
    let mut findings = Vec::new();
    for host in hosts {
        let check = format!("name {host}");
        let looked =
            tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host.as_str(), 80))).await;
        let found: BTreeSet<IpAddr> = match looked {
            Ok(Ok(found)) => found.map(|a| a.ip()).collect(),
            _ => BTreeSet::new(),
        };
        findings.push(judge_name(&check, &host, &found, &own));
    }
    findings
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn judge_name(check: &str, host: &str, found: &BTreeSet<IpAddr>, own: &BTreeSet<IpAddr>) -> Finding {
    if found.is_empty() {
        return failed(
            check,
            format!("{host} has no address."),
            format!("Add an A or AAAA record for it that points to {}.", list(own)),
        );
    }
    if found.iter().any(|a| own.contains(a) || a.is_loopback()) {
        return ok(check, format!("{host} points here."));
    }
    // Behind a router or a cloud's own address this cannot be told from here.
    warning(
        check,
        format!(
            "{host} points to {}, and this machine is {}.",
            list(found),
            list(own)
        ),
        "If neither a router nor a load balancer in front of it passes requests on, mend the DNS record.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn names_are_judged_by_where_they_point() {
        let own = set(&["192.0.2.7"]);
        assert_eq!(
            judge_name("n", "a.example", &set(&["192.0.2.7"]), &own).state,
            "ok"
        );
        assert_eq!(
            judge_name("n", "a.example", &set(&["192.0.2.8"]), &own).state,
            "warning"
        );
        let none = judge_name("n", "a.example", &set(&[]), &own);
        assert_eq!(none.state, "failed");
        assert!(none.hint.unwrap().contains("192.0.2.7"));
    }

    #[test]
    fn a_port_is_judged_by_whether_it_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(port("http", address).state, "ok");
        drop(listener);
        assert_eq!(port("http", address).state, "failed");
    }
}
