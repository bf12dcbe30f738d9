//! Which values are taken out of an environment's records: those that its
//! replicas were ever given while this server ran, and those that they have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use nonna_engine::Result;
use nonna_engine::ports::runtime::Launch;
use nonna_logs::LogProxy;
use nonna_store::Store;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// So many values of an environment are looked for; beyond, the oldest are let
/// go.
const MOST: usize = 2_000;

type Known = BTreeMap<String, Vec<Zeroizing<String>>>;

/// The values that are looked for.
pub(crate) struct Secrets {
    proxy: Arc<LogProxy>,
    known: Mutex<Known>,
}

impl Secrets {
    pub(crate) fn new(proxy: Arc<LogProxy>) -> Self {
        Self {
            proxy,
            known: Mutex::default(),
        }
    }

    /// Takes note of what the current releases have.
    ///
    /// # Errors
    /// `StoreUnavailable`, `SealBroken`.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<()> {
        for snapshot in store.snapshots().await? {
            let environment = format!(
                "{}/{}",
                snapshot.scope.project_name, snapshot.scope.environment_name
            );
            for service in &snapshot.services {
                let Some(current) = &service.current else { continue };
                let secrets = &current.release.spec.secrets;
                if secrets.is_empty() {
                    continue;
                }
                match store.open_secrets(&service.id, secrets).await {
                    Ok(opened) => self.add(&environment, opened.values()),
                    // What cannot be opened was not given to anybody either.
                    Err(error) => {
                        tracing::warn!(%error, service = %service.id, "the secrets of a service cannot be opened, and so not be taken out of its logs");
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes note of what a replica is about to be given.
    pub(crate) fn seen(&self, launch: &Launch) {
        if launch.secrets.is_empty() {
            return;
        }
        let environment = format!("{}/{}", launch.scope.project_name, launch.scope.environment_name);
        self.add(&environment, launch.secrets.values());
    }

    fn add<'a>(&self, environment: &str, values: impl Iterator<Item = &'a SecretString>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of = known.entry(environment.to_owned()).or_default();
        let mut changed = false;
        for value in values {
            let value = value.expose_secret();
            if !of.iter().any(|known| known.as_str() == value) {
                of.push(Zeroizing::new(value.to_owned()));
                changed = true;
            }
        }
        if !changed {
            return;
        }
        if of.len() > MOST {
            of.drain(..of.len() - MOST);
        }
        let values = of.iter().map(|value| value.as_bytes());
        if let Err(error) = self.proxy.set_secrets_of(environment, values) {
            tracing::error!(%error, environment, "secrets cannot be taken out of the logs");
        }
    }
}
