//! What keeps a build from starving what serves: a control group for its
//! steps, and a watch over processes and disk while it runs.

mod groups;
mod watch;

use nonna_model::units::Bytes;

pub(crate) use self::groups::Driver;
pub use self::groups::{ControlGroups, Held};
pub(crate) use self::watch::Watch;

/// What the steps of all builds on an engine may use together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLimits {
    /// How much processor time builds get where services want it too, in
    /// percent of what one service gets. Where nobody else wants it they get
    /// all of it.
    pub cpu_share: u32,
    /// The most processor time, in thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// The most memory, in bytes.
    pub memory: Option<u64>,
    /// The most processes and threads.
    pub processes: Option<u32>,
    /// The most that one build may write to the engine's disk, in bytes.
    pub disk: Option<u64>,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            cpu_share: 10,
            cpu_millis: None,
            memory: None,
            processes: Some(4096),
            disk: None,
        }
    }
}

impl BuildLimits {
    /// The limits in words.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = vec![format!("{} % of a service's processor time", self.cpu_share)];
        if let Some(millis) = self.cpu_millis {
            words.push(format!("{}.{:03} cores", millis / 1000, millis % 1000));
        }
        if let Some(memory) = self.memory {
            words.push(format!("{} of memory", Bytes(memory)));
        }
        if let Some(processes) = self.processes {
            words.push(format!("{processes} processes"));
        }
        words.join(", ")
    }
}
