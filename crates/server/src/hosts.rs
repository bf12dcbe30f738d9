//! The host that every service with a port gets under the base domain.
//!
//! `web` in `production` is the project's front door: `<project>.<domain>`.
//! Every other service is `<service>--<environment>--<project>.<domain>`.
//! Names that hold two dashes themselves, and joined names longer than a DNS
//! label, get `s-…-<digest>` instead, so no two services share a host.

use data_encoding::HEXLOWER;
use nonna_model::Name;
use sha2::{Digest, Sha256};

/// The longest DNS label.
const LABEL: usize = 63;
/// How many hexadecimal digits of the digest tell joined names apart.
const DIGITS: usize = 8;

/// The service whose host is the project's own.
pub(crate) const MAIN_SERVICE: &str = "web";
/// The environment whose host is the project's own.
pub(crate) const MAIN_ENVIRONMENT: &str = "production";

/// The host of a service under the base domain.
#[must_use]
pub fn default_host(domain: &str, project: &Name, environment: &Name, service: &Name) -> String {
    if service.as_str() == MAIN_SERVICE
        && environment.as_str() == MAIN_ENVIRONMENT
        && !project.as_str().contains("--")
        && !project.as_str().starts_with("s-")
    {
        return format!("{project}.{domain}");
    }
    let joined = format!("{service}--{environment}--{project}");
    let ambiguous = [service, environment, project]
        .iter()
        .any(|name| name.as_str().contains("--"));
    // `--` at the third place is kept for encoded names (`xn--`).
    let reserved = joined.as_bytes().get(2..4) == Some(b"--");
    if joined.len() <= LABEL && !ambiguous && !reserved {
        return format!("{joined}.{domain}");
    }
    let digest = HEXLOWER.encode(&Sha256::digest(
        format!("{service}/{environment}/{project}").as_bytes(),
    ));
    // No label of the other two forms begins with `s-` and has no `--`.
    let readable: String = joined
        .replace("--", "-")
        .chars()
        .take(LABEL - DIGITS - 3)
        .collect();
    let digest: String = digest.chars().take(DIGITS).collect();
    format!("s-{}-{digest}.{domain}", readable.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn the_front_door_is_the_projects_own_host() {
        assert_eq!(
            default_host("localhost", &name("shop"), &name("production"), &name("web")),
            "shop.localhost"
        );
        assert_eq!(
            default_host("localhost", &name("shop"), &name("staging"), &name("web")),
            "web--staging--shop.localhost"
        );
    }

    #[test]
    fn no_two_services_share_a_host_and_every_label_fits() {
        let long = "a".repeat(40);
        let names = [
            "web",
            "a",
            "b",
            "a-b",
            "a--b",
            "b--a",
            "s-a",
            "production",
            "web--production--a",
            "xn",
            "ab",
            &long,
        ];
        let mut seen: HashMap<String, (&str, &str, &str)> = HashMap::new();
        for project in names {
            for environment in names {
                for service in names {
                    let host = default_host("localhost", &name(project), &name(environment), &name(service));
                    let label = host.strip_suffix(".localhost").unwrap();
                    assert!(label.len() <= 63, "{host}");
                    assert!(crate::config::settings::is_host(&host), "{host}");
                    if let Some(other) = seen.insert(host.clone(), (project, environment, service)) {
                        panic!("{host}: {other:?} and {:?}", (project, environment, service));
                    }
                }
            }
        }
    }
}
