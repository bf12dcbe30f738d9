//! How far what is captured was read: in memory, in the journal's frames, and
//! in a file for what the journal has given up.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use data_encoding::BASE64;

use super::{Core, Durability};
use crate::record::Mark;

/// By key.
pub(super) type Positions = BTreeMap<Arc<str>, Box<[u8]>>;

const FILE: &str = "positions.json";

/// What was written down. What cannot be read is not there: it is read again
/// from its beginning.
pub(super) fn read(folder: &Path) -> Positions {
    let Ok(bytes) = fs::read(folder.join(FILE)) else {
        return Positions::new();
    };
    let read: BTreeMap<String, String> = match serde_json::from_slice(&bytes) {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "the positions of captured output cannot be read");
            return Positions::new();
        }
    };
    read.into_iter()
        .filter_map(|(key, position)| {
            let position = BASE64.decode(position.as_bytes()).ok()?;
            Some((key.into(), position.into()))
        })
        .collect()
}

impl Core {
    pub(super) fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what a frame in the journal says.
    pub(super) fn note_positions(&self, marks: &[Mark]) {
        if marks.is_empty() {
            return;
        }
        let mut positions = self.positions();
        for mark in marks {
            positions.insert(Arc::clone(&mark.key), mark.position.clone());
        }
    }

    /// Writes all down.
    pub(super) fn write_positions(&self) -> std::io::Result<()> {
        let plain: BTreeMap<Arc<str>, String> = self
            .positions()
            .iter()
            .map(|(key, position)| (Arc::clone(key), BASE64.encode(position)))
            .collect();
        let plain: BTreeMap<&str, &String> = plain.iter().map(|(key, position)| (&**key, position)).collect();
        let part = self.folder.join("positions.json.part");
        let mut file = fs::File::create(&part)?;
        file.write_all(&serde_json::to_vec(&plain)?)?;
        if self.options.durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(&part, self.folder.join(FILE))
    }
}
