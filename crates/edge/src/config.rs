//! How the edge is set up.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::observe::AccessSink;
use crate::tls::TlsConfig;

/// Everything the edge needs to start.
#[derive(Debug)]
pub struct EdgeConfig {
    /// Where plain HTTP is served.
    pub http: Vec<Listen>,
    /// Where HTTPS is served. Needs [`EdgeConfig::tls`].
    pub https: Vec<Listen>,
    /// Certificates. Without them the edge serves plain HTTP only.
    pub tls: Option<TlsConfig>,
    /// Worker threads; by default one a core.
    pub threads: Option<NonZeroUsize>,
    /// Plain HTTP is answered with a redirect to HTTPS where the host has a
    /// certificate. Never for `*.localhost`, addresses and ACME challenges.
    pub redirect_https: bool,
    /// The port that a redirect names, and `X-Forwarded-Port`; by default the
    /// listener's own.
    pub public_https_port: Option<u16>,
    /// Proxies in front of this one whose forwarding headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Limits on what clients may send.
    pub limits: Limits,
    /// How long the edge waits for what.
    pub timeouts: Timeouts,
    /// Where access records go.
    pub access: Option<Arc<dyn AccessSink>>,
    /// Listen, but accept nothing until `EdgeHandle::open`: so that nobody is
    /// told "unknown host" before the routes are known.
    pub closed: bool,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            http: Vec::new(),
            https: Vec::new(),
            tls: None,
            threads: None,
            redirect_https: true,
            public_https_port: None,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            access: None,
            closed: false,
        }
    }
}

/// A place to listen.
#[derive(Debug)]
pub enum Listen {
    /// Bind this address; every worker gets a listener of its own.
    Address(SocketAddr),
    /// A listener that somebody else bound (socket activation, tests).
    Bound(std::net::TcpListener),
}

/// Limits on what clients may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most bytes that a request's head may have.
    pub header_bytes: usize,
    /// The most header fields that a request may have.
    pub header_count: usize,
    /// The most bytes that a request's body may have; `None`: any number.
    pub body_bytes: Option<u64>,
    /// The most client connections at once, over all workers.
    pub connections: usize,
    /// The most HTTP/2 requests at once on one connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            header_count: 100,
            body_bytes: None,
            connections: 16_384,
            streams: 250,
        }
    }
}

/// How long the edge waits for what. The granularity is a tenth of a second.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// From the first byte of a request's head (or of a TLS handshake) to its
    /// last.
    pub header: Duration,
    /// A connection between two requests.
    pub idle: Duration,
    /// Between two bytes of a body, either way.
    pub body: Duration,
    /// From the last byte of a request to the head of the service's answer.
    pub response: Duration,
    /// To connect to a replica.
    pub connect: Duration,
    /// Between two bytes of an upgraded connection (WebSocket), either way.
    pub tunnel: Duration,
    /// An unused connection to a replica.
    pub pool: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(300),
            response: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            tunnel: Duration::from_secs(3600),
            pool: Duration::from_secs(30),
        }
    }
}

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, `192.0.2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    mask: u128,
}

impl Network {
    /// Whether the address is in the range. An IPv4 address mapped into IPv6
    /// counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.base
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not an address range such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (offset, widest) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
        let length: u32 = match length {
            Some(length) => length.parse().map_err(|_| wrong())?,
            None => widest,
        };
        if length > widest {
            return Err(wrong());
        }
        let host_bits = 128 - (offset + length);
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Ok(Self {
            base: bits(address) & mask,
            mask,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_they_say() {
        let ten: Network = "10.0.0.0/8".parse().unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(ten.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        let one: Network = "192.0.2.1".parse().unwrap();
        assert!(one.contains("192.0.2.1".parse().unwrap()));
        assert!(!one.contains("192.0.2.2".parse().unwrap()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("192.0.2.2".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
