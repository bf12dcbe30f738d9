//! `ports`: which one gets requests.
//!
//! A service of Nonna has one port, to which its route leads. It is the
//! published TCP port that speaks HTTP, as far as that can be told: ports that
//! databases and the like have by custom never are, 80 and what is published
//! as 80 comes first, else the first that is listed.

use super::super::yaml::{Node, Value};
use super::load::Loader;
use crate::manifest::DeclaredPort;

/// Ports that do not speak HTTP, by custom.
const OTHERS: [u16; 26] = [
    21, 22, 25, 53, 110, 143, 389, 443, 465, 587, 636, 993, 995, 1433, 1521, 1883, 3306, 4222, 5432, 5672,
    6379, 9042, 9092, 11211, 27017, 33060,
];

struct Published {
    target: u16,
    host: Option<u16>,
    tcp: bool,
    http: bool,
    node: Node,
}

/// Reads `ports` and chooses.
pub(super) fn read(loader: &mut Loader<'_, '_>, node: Option<&Node>, name: &str) -> DeclaredPort {
    let Some(node) = node else {
        return DeclaredPort::Nothing;
    };
    let Value::List(items) = &node.value else {
        if !matches!(node.value, Value::Null) {
            loader.findings.wrong_kind(node, "ports", "a list of ports");
        }
        return DeclaredPort::Nothing;
    };
    let mut published: Vec<Published> = Vec::new();
    for item in items {
        let read = match &item.value {
            Value::Scalar { text, .. } => short(text).map(|(target, host, tcp)| Published {
                target,
                host,
                tcp,
                http: false,
                node: item.clone(),
            }),
            Value::Map(_) => long(item),
            _ => None,
        };
        match read {
            Some(port) => published.push(port),
            None => loader.findings.mistake(
                item,
                "a port is written `8080:80`, `127.0.0.1:8080:80` or `80`, or as a table with `target`",
            ),
        }
    }
    let rank = |port: &Published| {
        if port.http {
            0
        } else if port.target == 80 || port.host == Some(80) {
            1
        } else {
            2
        }
    };
    let chosen = published
        .iter()
        .filter(|port| port.tcp && (port.http || !OTHERS.contains(&port.target)))
        .min_by_key(|port| rank(port))
        .map(|port| port.target);
    for port in &published {
        if port.tcp && Some(port.target) == chosen {
            continue;
        }
        let kind = if port.tcp { "" } else { "/udp" };
        let words = if port.target == 443 && port.tcp {
            "port 443 is not published: the edge speaks TLS for every route".to_owned()
        } else {
            format!(
                "port {}{kind} is not published: the other services reach it as `{name}:{}`",
                port.target, port.target
            )
        };
        loader.findings.note(&port.node, words);
    }
    chosen.map_or(DeclaredPort::Nothing, DeclaredPort::Number)
}

/// `[HOST:][PUBLISHED:]TARGET[/PROTOCOL]`; of ranges, the first.
fn short(text: &str) -> Option<(u16, Option<u16>, bool)> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let first = |range: &str| -> Option<u16> {
        range
            .split('-')
            .next()?
            .parse()
            .ok()
            .filter(|port: &u16| *port > 0)
    };
    // An IPv6 address has colons of its own.
    let mut parts = text.rsplitn(3, ':');
    let target = first(parts.next()?)?;
    let host = match parts.next() {
        None | Some("") => None,
        Some(published) => Some(first(published)?),
    };
    match protocol {
        "tcp" => Some((target, host, true)),
        "udp" | "sctp" => Some((target, host, false)),
        _ => None,
    }
}

fn long(node: &Node) -> Option<Published> {
    let number = |key: &str| {
        node.get(key)
            .and_then(Node::text)
            .and_then(|text| text.split('-').next()?.parse::<u16>().ok())
    };
    let word = |key: &str| node.get(key).and_then(Node::text);
    Some(Published {
        target: number("target").filter(|port| *port > 0)?,
        host: number("published"),
        tcp: word("protocol").is_none_or(|protocol| protocol == "tcp"),
        http: word("app_protocol").is_some_and(|protocol| protocol.starts_with("http")),
        node: node.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_form_is_read() {
        for (text, expected) in [
            ("3000", Some((3000, None, true))),
            ("8080:80", Some((80, Some(8080), true))),
            ("127.0.0.1:8080:80", Some((80, Some(8080), true))),
            ("[::1]:8080:80", Some((80, Some(8080), true))),
            ("127.0.0.1::80", Some((80, None, true))),
            ("53:53/udp", Some((53, Some(53), false))),
            ("8000-8010:9000-9010", Some((9000, Some(8000), true))),
            ("web", None),
            ("80:http", None),
            ("0", None),
            ("80/x", None),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }
}
