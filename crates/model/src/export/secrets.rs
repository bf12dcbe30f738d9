//! What secrets are called in an export.

use std::collections::{BTreeMap, BTreeSet};

use super::ExportedEnvironment;
use crate::name::Name;

/// The variable that whoever runs the export fills in, for each service's
/// secret. Two services may have different secrets of one name, so a name that
/// several have is told apart by the service's.
pub(super) fn references(environment: &ExportedEnvironment) -> BTreeMap<(Name, String), String> {
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for service in &environment.services {
        for secret in service.release.spec.secrets.keys() {
            *users.entry(secret).or_default() += 1;
        }
    }
    let mut taken: BTreeSet<String> = users
        .iter()
        .filter(|(_, users)| **users == 1)
        .map(|(secret, _)| (*secret).to_owned())
        .collect();
    let mut out = BTreeMap::new();
    for service in &environment.services {
        for secret in service.release.spec.secrets.keys() {
            let reference = if users.get(secret.as_str()) == Some(&1) {
                secret.clone()
            } else {
                let prefix = service.name.as_str().to_ascii_uppercase().replace('-', "_");
                let mut reference = format!("{prefix}_{secret}");
                while !taken.insert(reference.clone()) {
                    reference.push('_');
                }
                reference
            };
            out.insert((service.name.clone(), secret.clone()), reference);
        }
    }
    out
}
