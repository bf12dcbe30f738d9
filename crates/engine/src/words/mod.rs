//! Deployments in words, for whoever reads along: at a terminal, in a pipe, at
//! the other end of a push.

mod clean;
mod steps;

pub use clean::clean;
pub use steps::{Steps, done, join, previous, queued, releases, title};

/// `340 ms`, `4.2 s`, `3 min 5 s`.
#[must_use]
pub fn millis(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => {
            let seconds = millis / 1000;
            match seconds % 60 {
                0 => format!("{} min", seconds / 60),
                rest => format!("{} min {rest} s", seconds / 60),
            }
        }
    }
}
