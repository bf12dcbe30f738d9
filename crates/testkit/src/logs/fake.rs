//! A destination in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nonna_logs::Entry;
use nonna_logs::forward::{Destination, Failure, Parcel, Taken};

use super::{Behaviour, Got, Receiver};

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    got: BTreeMap<(Arc<str>, u64), Got>,
    asked: usize,
}

/// A destination in memory, and its own receiver. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct FakeDestination {
    state: Arc<Mutex<State>>,
}

impl FakeDestination {
    /// One that takes what comes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn got(entry: &Entry) -> Got {
    Got {
        service: entry.source.service.to_string(),
        replica: entry.source.replica.to_string(),
        time: entry.time,
        level: entry.level,
        line: String::from_utf8_lossy(&entry.line).into_owned(),
        fields: entry.fields.clone(),
    }
}

#[async_trait]
impl Destination for FakeDestination {
    fn kind(&self) -> &'static str {
        "fake"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let mut state = self.lock();
        state.asked += 1;
        let mut taken = Taken::default();
        let refuses = match &state.behaviour {
            Behaviour::Busy(after) => {
                return Err(Failure::Unavailable {
                    why: "it is busy".to_owned(),
                    after: after.map(Duration::from_secs),
                });
            }
            Behaviour::Cuts => return Err(Failure::unavailable("it closed the connection")),
            Behaviour::Forbids => return Err(Failure::unavailable("it does not let us in")),
            Behaviour::TakesAtMost(most) if parcel.entries.len() > *most => return Err(Failure::TooLarge),
            Behaviour::Takes | Behaviour::TakesAtMost(_) => None,
            Behaviour::Refuses(text) => Some(*text),
        };
        for (place, entry) in parcel.entries.iter().enumerate() {
            let record = got(entry);
            match refuses {
                Some(text) if record.line.contains(text) => {
                    taken.refused.push((place, "it is not wanted".to_owned()));
                }
                _ => {
                    state.got.insert((Arc::clone(parcel.store), entry.number), record);
                }
            }
        }
        Ok(taken)
    }
}

impl Receiver for FakeDestination {
    fn got(&self) -> Vec<Got> {
        self.lock().got.values().cloned().collect()
    }

    fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    fn answers(&self) -> bool {
        true
    }

    fn knows_twice(&self) -> bool {
        true
    }

    fn can_refuse(&self) -> bool {
        true
    }
}
