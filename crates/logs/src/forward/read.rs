//! Records of the store, from a number on, in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::run::BatchLimits;
use crate::query::{Expr, Order, Query, Scope};
use crate::search::Entry;
use crate::store::LogProxy;

/// How many records are read in one go. What is read in one go keeps the files
/// that it reads, even if they are removed meanwhile.
const GO: u64 = 100_000;

/// What reading gives.
#[derive(Debug)]
pub(super) enum Item {
    /// Records, and the number behind the last that was looked at.
    Batch(Vec<Entry>, u64),
    /// All was read up to this number.
    End(u64),
}

/// A reading under way; dropping it ends it.
pub(super) struct Reading {
    pub(super) items: mpsc::Receiver<Item>,
    cancelled: Arc<AtomicBool>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// About how much memory a record takes.
fn size(entry: &Entry) -> usize {
    let fields: usize = entry
        .fields
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    entry.line.len() + fields + size_of::<Entry>()
}

/// Reads records that match, from a number on and before another.
pub(super) fn read(
    proxy: &Arc<LogProxy>,
    expr: &Expr,
    from: u64,
    before: u64,
    limits: BatchLimits,
) -> Reading {
    let (send, items) = mpsc::channel(1);
    let cancelled = Arc::new(AtomicBool::new(false));
    let before = before.min(from.saturating_add(GO));
    let query = Query {
        order: Order::OldestFirst,
        from,
        before,
        ..Query::new(Scope::Everything, expr.clone())
    };
    let (proxy, stop) = (Arc::clone(proxy), Arc::clone(&cancelled));
    tokio::task::spawn_blocking(move || {
        let mut batch: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let searched = proxy.search_blocking(&query, &stop, |entry| {
            let size = size(&entry);
            if !batch.is_empty() && (batch.len() >= limits.records || bytes + size > limits.bytes) {
                let next = entry.number;
                bytes = 0;
                let full = std::mem::take(&mut batch);
                if send.blocking_send(Item::Batch(full, next)).is_err() {
                    return false;
                }
            }
            bytes += size;
            batch.push(entry);
            true
        });
        match searched {
            Ok(_) if stop.load(Ordering::Relaxed) => {}
            Ok(searched) => {
                if searched.damaged > 0 {
                    tracing::warn!(
                        blocks = searched.damaged,
                        "damaged blocks of logs cannot be forwarded"
                    );
                }
                if !batch.is_empty() && send.blocking_send(Item::Batch(batch, before)).is_err() {
                    return;
                }
                // Nobody listens any more: nobody to tell.
                let _ = send.blocking_send(Item::End(before));
            }
            Err(error) => tracing::warn!(%error, "logs cannot be read to forward them"),
        }
    });
    Reading { items, cancelled }
}
