//! Where keys and certificates are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::error::EdgeError;

/// Keeps secrets of the edge by name. Names are short and consist of letters,
/// digits and `-_./*`; values are a few kilobytes at most.
///
/// Several processes may share one store: what one saved, another loads. A
/// store that keeps them on disk must seal them: they hold private keys.
#[async_trait]
pub trait CertificateStore: Send + Sync + std::fmt::Debug {
    /// What was saved under this name, if anything.
    ///
    /// # Errors
    /// [`EdgeError::Store`].
    async fn load(&self, name: &str) -> Result<Option<Vec<u8>>, EdgeError>;

    /// Saves, in place of what was there. When it returns, it is on disk.
    ///
    /// # Errors
    /// [`EdgeError::Store`].
    async fn save(&self, name: &str, value: &[u8]) -> Result<(), EdgeError>;

    /// Forgets. Nothing there is no error.
    ///
    /// # Errors
    /// [`EdgeError::Store`].
    async fn delete(&self, name: &str) -> Result<(), EdgeError>;
}

/// A store that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl CertificateStore for MemoryStore {
    async fn load(&self, name: &str) -> Result<Option<Vec<u8>>, EdgeError> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned())
    }

    async fn save(&self, name: &str, value: &[u8]) -> Result<(), EdgeError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), EdgeError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}
