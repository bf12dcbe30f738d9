//! Identifiers of things that were planned and not made yet: a plan that is
//! shown and then carried out names the same ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nonna_model::{EnvironmentId, Name, ProjectId, ServiceId};

/// How many are remembered; beyond it all are forgotten, and a plan that was
/// shown before must be shown again.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Provisional {
    ids: Mutex<HashMap<String, String>>,
}

impl Provisional {
    fn get<T>(&self, key: String, generate: impl FnOnce() -> T) -> T
    where
        T: Clone + Into<String> + TryFrom<String>,
    {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.get(&key).and_then(|id| T::try_from(id.clone()).ok()) {
            return id;
        }
        if ids.len() >= MOST {
            ids.clear();
        }
        let id = generate();
        ids.insert(key, id.clone().into());
        id
    }

    pub(super) fn project(&self, project: &Name) -> ProjectId {
        self.get(project.to_string(), ProjectId::generate)
    }

    pub(super) fn environment(&self, project: &Name, environment: &Name) -> EnvironmentId {
        self.get(format!("{project}/{environment}"), EnvironmentId::generate)
    }

    pub(super) fn service(&self, project: &Name, environment: &Name, service: &Name) -> ServiceId {
        self.get(format!("{project}/{environment}/{service}"), ServiceId::generate)
    }

    /// Forgets the environment's: they were made, and what comes after under
    /// the same name is something else.
    pub(super) fn forget(&self, project: &Name, environment: &Name) {
        let prefix = format!("{project}/{environment}/");
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.remove(project.as_str());
        ids.remove(&format!("{project}/{environment}"));
        ids.retain(|key, _| !key.starts_with(&prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_stays_until_it_is_forgotten() {
        let ids = Provisional::default();
        let (a, b): (Name, Name) = ("shop".parse().unwrap(), "production".parse().unwrap());
        let first = ids.environment(&a, &b);
        assert_eq!(ids.environment(&a, &b), first);
        ids.forget(&a, &b);
        assert_ne!(ids.environment(&a, &b), first);
    }
}
