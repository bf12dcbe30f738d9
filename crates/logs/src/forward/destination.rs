//! What a destination is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::search::Entry;

/// Records on their way, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// The name of the store they come from: with a record's number it is the
    /// record's name in the world.
    pub store: &'a Arc<str>,
    /// The records.
    pub entries: &'a [Entry],
}

/// What a destination took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Records that it will never take, by their place in the parcel, and why.
    pub refused: Vec<(usize, String)>,
    /// How many more it will never take, of which it does not say which.
    pub unnamed: u64,
    /// Why not.
    pub why: String,
}

/// Why nothing of a parcel is known to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may be taken later: the destination is not reached, is busy, or does
    /// not let this sender in, which somebody will mend.
    Unavailable {
        /// For people. Holds no secret.
        why: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// It will never be taken as it is: send less at once.
    TooLarge,
    /// It will never be taken as it is: a record in it is not wanted.
    Refused {
        /// For people. Holds no secret.
        why: String,
    },
}

impl Failure {
    /// Not now.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable {
            why: why.into(),
            after: None,
        }
    }
}

/// Where records are sent.
///
/// The contract, which `destination_suite!` of the testkit checks:
/// - `send` answers [`Taken`] only when the destination itself said that it has
///   the records, as far as its protocol can say so.
/// - The same parcel may be sent again, whole or in parts; where the protocol
///   can tell, the records are not there twice.
/// - It neither waits between tries nor tries again: the forwarder does. It
///   gives up by itself when nothing happens.
/// - Records arrive as they are: time, service, replica, level, line, and
///   fields, as far as the protocol has a place for them.
/// - No secret is in a failure's words.
#[async_trait]
pub trait Destination: fmt::Debug + Send + Sync {
    /// What it is, as the configuration names it.
    fn kind(&self) -> &'static str;

    /// Sends.
    ///
    /// # Errors
    /// Where nothing of the parcel is known to be taken.
    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure>;
}
