//! The route table: an immutable snapshot, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Route, Service};
use crate::error::EdgeError;

/// Where a request goes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    prefix: Box<str>,
    pub(crate) service: Arc<Service>,
    pub(crate) redirect_https: Option<bool>,
}

/// The paths of one host, longest prefix first.
#[derive(Debug, Default)]
struct Paths(Vec<Target>);

impl Paths {
    fn find(&self, path: &str) -> Option<&Target> {
        self.0.iter().find(|target| matches(&target.prefix, path))
    }
}

/// A prefix without its trailing slash matches at segment boundaries only.
fn matches(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some("") => true,
        Some(rest) => rest.starts_with('/') || prefix.is_empty(),
        None => false,
    }
}

/// A snapshot of all routes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Box<str>, Paths>,
    /// By the suffix after `*`, with its dot.
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl Table {
    /// The target of a request. `host` is in lower case without port.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Target> {
        if let Some(target) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(target);
        }
        if !self.wildcard.is_empty() {
            // The longest suffix, so the nearest wildcard, comes first.
            let mut rest = host;
            while let Some(dot) = rest.find('.') {
                if (dot > 0 || rest.len() < host.len())
                    && let Some(target) = self.wildcard.get(&rest[dot..]).and_then(|paths| paths.find(path))
                {
                    return Some(target);
                }
                rest = &rest[dot + 1..];
            }
        }
        self.any.find(path)
    }

    /// Whether any route names this host, with whatever path.
    pub(crate) fn knows(&self, host: &str) -> bool {
        if self.exact.contains_key(host) {
            return true;
        }
        let mut rest = host;
        while let Some(dot) = rest.find('.') {
            if self.wildcard.contains_key(&rest[dot..]) {
                return true;
            }
            rest = &rest[dot + 1..];
        }
        false
    }

    /// The hosts that are named without wildcard.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(AsRef::as_ref)
    }
}

/// The routes as they were set; tables are made from them.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) services: HashMap<String, (Arc<Service>, Vec<Route>)>,
}

impl Routes {
    /// Refuses routes that cannot be, or that another service has.
    pub(crate) fn check(&self, key: &str, routes: &[Route]) -> Result<(), EdgeError> {
        for route in routes {
            let wrong = |reason| EdgeError::Route {
                route: format!("{}{}", route.host, route.path),
                reason,
            };
            let name = route.host.strip_prefix("*.").unwrap_or(&route.host);
            if route.host != "*" {
                if name.is_empty() || name.len() > 253 {
                    return Err(wrong("a host has 1 to 253 characters"));
                }
                if !name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
                {
                    return Err(wrong(
                        "a host has lower-case letters, digits, dots and hyphens only",
                    ));
                }
                if name.split('.').any(|label| label.is_empty() || label.len() > 63) {
                    return Err(wrong("every label of a host has 1 to 63 characters"));
                }
            }
            if !route.path.starts_with('/') {
                return Err(wrong("a path begins with /"));
            }
            if route
                .path
                .bytes()
                .any(|b| !b.is_ascii_graphic() || b == b'?' || b == b'#')
            {
                return Err(wrong("a path has neither spaces nor ? nor #"));
            }
            for (other, (service, theirs)) in &self.services {
                if other != key && theirs.iter().any(|their| same(their, route)) {
                    return Err(EdgeError::Taken {
                        route: format!("{}{}", route.host, route.path),
                        owner: service.label().to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes the snapshot.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::default();
        for (service, routes) in self.services.values() {
            for route in routes {
                let paths = if route.host == "*" {
                    &mut table.any
                } else if let Some(suffix) = route.host.strip_prefix('*') {
                    table.wildcard.entry(suffix.into()).or_default()
                } else {
                    table.exact.entry(route.host.as_str().into()).or_default()
                };
                paths.0.push(Target {
                    prefix: trimmed(&route.path).into(),
                    service: Arc::clone(service),
                    redirect_https: route.redirect_https,
                });
            }
        }
        let all = table.exact.values_mut().chain(table.wildcard.values_mut());
        for paths in all.chain(std::iter::once(&mut table.any)) {
            paths.0.sort_by(|a, b| {
                b.prefix
                    .len()
                    .cmp(&a.prefix.len())
                    .then_with(|| a.prefix.cmp(&b.prefix))
            });
        }
        table
    }
}

fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn same(a: &Route, b: &Route) -> bool {
    a.host == b.host && trimmed(&a.path) == trimmed(&b.path)
}

/// The host of an authority (`host`, `host:port`, `[::1]:port`), without port
/// and trailing dot. `None` where it is not an authority.
pub(crate) fn host_of(authority: &str) -> Option<&str> {
    if authority.is_empty() || authority.len() > 260 {
        return None;
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        if inner.is_empty()
            || !inner
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
        {
            return None;
        }
        (
            &authority[..inner.len() + 2],
            after
                .strip_prefix(':')
                .or_else(|| after.is_empty().then_some(""))?,
        )
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        if host.is_empty()
            || !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        {
            return None;
        }
        (host, port)
    };
    if port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::ServiceConfig;

    fn routes(list: &[(&str, &[(&str, &str)])]) -> Routes {
        let mut routes = Routes::default();
        for (name, theirs) in list {
            let config = ServiceConfig {
                label: (*name).to_owned(),
                routes: theirs
                    .iter()
                    .map(|(host, path)| Route::new(*host, *path))
                    .collect(),
                ..ServiceConfig::default()
            };
            routes.check(name, &config.routes).unwrap();
            let list = config.routes.clone();
            routes
                .services
                .insert((*name).to_owned(), (Service::new(name, &config, 1), list));
        }
        routes
    }

    fn found(table: &Table, host: &str, path: &str) -> Option<String> {
        table
            .find(host, path)
            .map(|target| target.service.label().to_string())
    }

    #[test]
    fn the_nearest_host_and_the_longest_prefix_win() {
        let table = routes(&[
            ("root", &[("a.org", "/")]),
            ("api", &[("a.org", "/api")]),
            ("v2", &[("a.org", "/api/v2/")]),
            ("wild", &[("*.a.org", "/")]),
            ("deep", &[("*.b.a.org", "/")]),
            ("any", &[("*", "/any")]),
        ])
        .table();
        for (host, path, want) in [
            ("a.org", "/", Some("root")),
            ("a.org", "/apis", Some("root")),
            ("a.org", "/api", Some("api")),
            ("a.org", "/api/x", Some("api")),
            ("a.org", "/api/v2", Some("v2")),
            ("a.org", "/api/v2x", Some("api")),
            ("x.a.org", "/", Some("wild")),
            ("x.y.a.org", "/", Some("wild")),
            ("x.b.a.org", "/", Some("deep")),
            ("b.a.org", "/", Some("wild")),
            ("other.org", "/any/thing", Some("any")),
            ("other.org", "/", None),
            ("xa.org", "/", None),
        ] {
            assert_eq!(found(&table, host, path).as_deref(), want, "{host}{path}");
        }
        assert!(table.knows("q.a.org") && table.knows("a.org") && !table.knows("q.org"));
    }

    #[test]
    fn a_route_has_one_owner() {
        let routes = routes(&[("one", &[("a.org", "/x")])]);
        let theirs = [Route::new("a.org", "/x/")];
        assert!(matches!(
            routes.check("two", &theirs),
            Err(EdgeError::Taken { .. })
        ));
        assert!(routes.check("one", &theirs).is_ok());
        for wrong in [
            ("A.org", "/"),
            ("", "/"),
            ("a..org", "/"),
            ("a.org", "x"),
            ("a.org", "/ x"),
            ("a b", "/"),
        ] {
            assert!(
                routes.check("two", &[Route::new(wrong.0, wrong.1)]).is_err(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn hosts_are_read_from_authorities() {
        for (text, want) in [
            ("a.org", Some("a.org")),
            ("a.org:80", Some("a.org")),
            ("a.org.", Some("a.org")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a.org:x", None),
            ("a@b", None),
            ("a/b", None),
            ("", None),
            (".", None),
            ("[::1]x", None),
        ] {
            assert_eq!(host_of(text), want, "{text}");
        }
    }
}
