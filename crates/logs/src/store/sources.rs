//! Which sources have records, for those who choose among them.

use std::collections::BTreeSet;
use std::sync::Arc;

use nonna_engine::{Error, Result};

use super::LogProxy;
use crate::query::Scope;
use crate::record::{Level, Source};
use crate::search::is_forgotten;
use crate::segment::data::{BlockData, Opener};

/// So many sources are told of at most.
const MOST: usize = 10_000;

/// What there are records of.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// The sources, in order.
    pub sources: Vec<Arc<Source>>,
    /// The levels that occur, of whichever of them.
    pub levels: Vec<Level>,
    /// About how many records there are, of all scopes.
    pub records: u64,
    /// In how many blocks.
    pub blocks: u64,
    /// How many bytes these blocks have on disk.
    pub bytes: u64,
}

impl LogProxy {
    /// The sources that a scope allows and that have records between two times
    /// (nanoseconds since 1970, UTC), whole blocks at a time. Blocks the
    /// thread, and reads what names the sources of each block.
    ///
    /// # Errors
    /// `Bug` where zstd cannot be set up.
    pub fn present_blocking(&self, scope: &Scope, since: i64, until: i64) -> Result<Present> {
        let snapshot = self.core.snapshot();
        let mut opener =
            Opener::new().map_err(|e| Error::bug("zstd cannot be set up.").said(e.to_string()))?;
        let (mut body, mut data) = (Vec::new(), BlockData::default());
        let mut present = Present::default();
        let mut levels = 0_u8;
        let mut sources: BTreeSet<Key> = BTreeSet::new();
        let mut add = |source: &Arc<Source>, last: u64| {
            let wanted = scope.allows(source) && !is_forgotten(&snapshot.forgotten, last, source);
            if wanted && !source.service.is_empty() && sources.len() < MOST {
                sources.insert(Key(Arc::clone(source)));
            }
        };
        for open in &snapshot.open {
            let Some(frame) = open.load() else { continue };
            present.records += frame.batch.len() as u64;
            for record in frame.batch.iter() {
                levels |= 1 << record.level as u8;
            }
            for source in frame.batch.sources() {
                add(source, frame.end());
            }
        }
        for segment in &snapshot.segments {
            for block in segment.blocks() {
                let header = &block.header;
                if header.times.1 < since || header.times.0 > until {
                    continue;
                }
                present.records += u64::from(header.count);
                present.blocks += 1;
                present.bytes += header.total();
                levels |= header.levels;
                if segment.body(&block, &mut body).is_some()
                    && opener.sources(header, &body, &mut data).is_some()
                {
                    for source in &data.sources {
                        add(source, header.end());
                    }
                }
            }
        }
        present.sources = sources.into_iter().map(|key| key.0).collect();
        present.levels = Level::ALL
            .into_iter()
            .filter(|level| *level != Level::Unknown && levels >> (*level as u8) & 1 == 1)
            .collect();
        Ok(present)
    }
}

/// Sources in the order of their names.
#[derive(PartialEq, Eq)]
struct Key(Arc<Source>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |source: &Source| {
            (
                Arc::clone(&source.service),
                Arc::clone(&source.replica),
                source.stream as u8,
            )
        };
        key(&self.0).cmp(&key(&other.0))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
