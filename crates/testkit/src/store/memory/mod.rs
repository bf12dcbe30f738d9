//! A store in memory: for tests of what uses a store, and the model that real
//! stores are compared with.

mod forge;
mod port;
mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};

use nonna_engine::Result;
use nonna_store::records::Installation;

use state::State;

/// A store that forgets everything when it is dropped.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store of the same installation as another, to be compared with
    /// it.
    #[must_use]
    pub fn of(installation: Installation) -> Self {
        Self(Mutex::new(State {
            installation: Some(installation),
            ..State::default()
        }))
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does all of it or nothing.
    fn write<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.read();
        let mut changed = state.clone();
        let answer = work(&mut changed)?;
        *state = changed;
        Ok(answer)
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
