//! Says when something changes in a folder: by inotify, with a look from time
//! to time all the same.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

/// Changes are gathered for so long: a busy writer wakes us a hundred times a
/// second and not with every line.
const GATHER: Duration = Duration::from_millis(10);
/// How often is looked where the kernel tells of changes, should it not.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often is looked where it tells nothing.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Watches folders.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Option<Arc<OwnedFd>>,
    watched: Arc<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    of: Mutex<HashMap<i32, Vec<Weak<Notify>>>>,
    ended: AtomicBool,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Weak<Notify>>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    changed: Arc<Notify>,
    told: bool,
    descriptor: Option<(i32, Arc<OwnedFd>, Arc<Watched>)>,
}

impl Watcher {
    pub(super) fn new() -> Self {
        let watched = Arc::new(Watched::default());
        let inotify = start(&watched).map_or_else(|error| {
            tracing::warn!(%error, "the kernel cannot tell of changes to files (see fs.inotify.max_user_instances); looking ten times a second instead");
            None
        }, Some);
        Self { inotify, watched }
    }

    /// Watches a folder. One that cannot be watched is looked at often.
    pub(super) fn watch(&self, folder: &Path) -> Watch {
        let changed = Arc::new(Notify::new());
        let descriptor = self.inotify.as_ref().and_then(|inotify| {
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE
                | WatchFlags::DELETE_SELF;
            // Under the lock, so that no event comes before we know of it.
            let mut watched = self.watched.lock();
            let descriptor = inotify::add_watch(&**inotify, folder, flags).ok()?;
            watched
                .entry(descriptor)
                .or_default()
                .push(Arc::downgrade(&changed));
            Some((descriptor, Arc::clone(inotify), Arc::clone(&self.watched)))
        });
        Watch {
            changed,
            told: descriptor.is_some(),
            descriptor,
        }
    }
}

impl Watch {
    /// Waits until something may have changed.
    pub(super) async fn changed(&self) {
        let longest = if self.told { LOOK_EVERY } else { POLL_EVERY };
        // Either way it is looked.
        let _ = tokio::time::timeout(longest, self.changed.notified()).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((descriptor, inotify, watched)) = self.descriptor.take() else {
            return;
        };
        let mut watched = watched.lock();
        let Some(of) = watched.get_mut(&descriptor) else {
            return;
        };
        of.retain(|notify| {
            notify.strong_count() > 0 && !Weak::ptr_eq(notify, &Arc::downgrade(&self.changed))
        });
        if of.is_empty() {
            watched.remove(&descriptor);
            // The folder may be gone, and its watch with it.
            let _ = inotify::remove_watch(&*inotify, descriptor);
        }
    }
}

fn start(watched: &Arc<Watched>) -> io::Result<Arc<OwnedFd>> {
    let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
    let (events, watched) = (Arc::clone(&inotify), Arc::clone(watched));
    std::thread::Builder::new()
        .name("logs-watch".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            while !watched.ended.load(Ordering::Relaxed) {
                if !tell(&events, &watched) {
                    return;
                }
                std::thread::sleep(GATHER);
            }
        })?;
    Ok(inotify)
}

/// Waits for what the kernel tells and passes it on; false where it tells
/// nothing any more.
fn tell(inotify: &OwnedFd, watched: &Watched) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut events = inotify::Reader::new(inotify, &mut buffer);
    let mut last = None;
    loop {
        match events.next() {
            // Too much happened: anything may have changed.
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                for notify in watched.lock().values().flatten().filter_map(Weak::upgrade) {
                    notify.notify_one();
                }
            }
            Ok(event) if last == Some(event.wd()) => {}
            Ok(event) => {
                last = Some(event.wd());
                for notify in watched.lock().get(&event.wd()).into_iter().flatten() {
                    if let Some(notify) = notify.upgrade() {
                        notify.notify_one();
                    }
                }
            }
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        if events.is_buffer_empty() {
            return true;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watched.ended.store(true, Ordering::Relaxed);
        // The end of a watch is told: that wakes the thread.
        if let Some(inotify) = &self.inotify
            && let Ok(descriptor) = inotify::add_watch(&**inotify, "/", WatchFlags::DELETE_SELF)
        {
            let _ = inotify::remove_watch(&**inotify, descriptor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_of_a_folder_are_told_to_all_who_watch_it() {
        let temp = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let watcher = Watcher::new();
        let watches = [
            watcher.watch(temp.path()),
            watcher.watch(temp.path()),
            watcher.watch(other.path()),
        ];
        assert!(watches.iter().all(|watch| watch.told));
        std::fs::write(temp.path().join("x"), "x").unwrap();
        let soon = LOOK_EVERY / 2;
        for watch in &watches[..2] {
            tokio::time::timeout(soon, watch.changed()).await.unwrap();
        }
        assert!(tokio::time::timeout(soon, watches[2].changed()).await.is_err());
        drop(watches);
        assert!(watcher.watched.lock().is_empty());
    }
}
